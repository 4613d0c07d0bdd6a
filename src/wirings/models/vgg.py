"""VGG-11, 13, 16 and 19 for small images, with batch norm and one linear layer ("lottery" VGGs)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find

PLANS: dict[int, tuple[int, ...]] = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each of the five stages of 64, 128, 256, 512, 512 filters."""


class VGG(nn.Module):
    """3×3 convolutions with batch norm and ReLU in five stages, an average over what is left, one linear layer.

    Simonyan & Zisserman 2015 in the form of open_lth and SynFlow; VGG-16 for 100 classes has 14,761,664 prunable
    weights in 14 layers.

    Differs from the papers' code: convolutions have no bias (the batch norm after them takes it away again), and
    where more than 2×2 pixels are left (images above 32×32) all of them are averaged.

    Args:
        image_shape: (channels, height, width), at least 16 × 16.
        classes: how many logits.
        depth: 11, 13, 16 or 19.
        width: factor on every width; 1 is the paper's.
        gamma: how batch norm's scale begins: "ones" (SynFlow) or "uniform" on [0, 1] (open_lth).
        affine: whether batch norms have scale and shift (edge-popup and Gem-Miner: False).
        init: a name of `wirings.models.initialisers()`; default the papers' Kaiming normal (fan in).
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        depth: int = 16,
        width: float = 1.0,
        gamma: Literal["ones", "uniform"] = "ones",
        affine: bool = True,
        init: str = "kaiming-normal",
    ) -> None:
        super().__init__()
        owner = "VGG"
        if depth not in PLANS:
            raise ValueError(f"`depth` of `{owner}` must be one of {', '.join(map(str, PLANS))}. Got {depth!r}.")
        channels, *_ = checks.image_shape(owner, image_shape, smallest=16)
        checks.count(owner, "classes", classes)
        checks.factor(owner, "width", width)
        self.gamma = checks.one_of(owner, "gamma", gamma, ("ones", "uniform"))
        checks.switch(owner, "affine", affine)
        find(init)
        self.initialiser = init
        self.depth = sum(PLANS[depth])
        self.pooled = {sum(PLANS[depth][: stage + 1]) for stage in range(4)}
        stages = [n for n, many in zip((64, 128, 256, 512, 512), PLANS[depth], strict=True) for _ in range(many)]
        for i, filters in enumerate((checks.scaled(n, width) for n in stages), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, filters, 3, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(filters, affine=affine))
            channels = filters
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
            if i in self.pooled:
                x = F.max_pool2d(x, 2)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
