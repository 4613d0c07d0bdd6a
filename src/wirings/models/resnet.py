"""Residual networks for small images: ResNet-18 with a CIFAR stem, and He et al.'s ResNet-20, 32 and 56."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find

PLANS: dict[int, tuple[tuple[int, ...], int]] = {
    18: ((64, 128, 256, 512), 2),
    20: ((16, 32, 64), 3),
    32: ((16, 32, 64), 5),
    56: ((16, 32, 64), 9),
}
"""Depth -> (filters of each stage, blocks in each stage)."""


class ResNet(nn.Module):
    """A 3×3 stem, stages of two-convolution blocks, a global average and one linear layer (He et al. 2016).

    Prunable weights for ten classes of 3×32×32 images: ResNet-18 11,164,352; ResNet-20 268,336 with identity
    shortcuts and 270,896 with convolutions.

    Args:
        image_shape: (channels, height, width).
        classes: how many logits.
        depth: 18 (stages 64 to 512) or 20, 32, 56 (stages 16, 32, 64).
        shortcut: how a block that halves the image reaches over: "identity" (He et al.'s option A: every second
            pixel, missing channels zero) or "conv" (1×1 convolution and batch norm: option B, open_lth). Default:
            "conv" for ResNet-18, "identity" for the others.
        width: factor on every width; 1 is the paper's.
        gamma: how batch norm's scale begins: "ones" or "uniform" on [0, 1] (open_lth).
        affine: whether batch norms have scale and shift (edge-popup and Gem-Miner: False).
        init: a name of `wirings.models.initialisers()`; default Kaiming normal (fan in).
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        depth: int = 20,
        shortcut: Literal["identity", "conv"] | None = None,
        width: float = 1.0,
        gamma: Literal["ones", "uniform"] = "ones",
        affine: bool = True,
        init: str = "kaiming-normal",
    ) -> None:
        super().__init__()
        owner = "ResNet"
        if depth not in PLANS:
            raise ValueError(f"`depth` of `{owner}` must be one of {', '.join(map(str, PLANS))}. Got {depth!r}.")
        channels, *_ = checks.image_shape(owner, image_shape)
        checks.count(owner, "classes", classes)
        checks.factor(owner, "width", width)
        shortcut = shortcut or ("conv" if depth == 18 else "identity")
        checks.one_of(owner, "shortcut", shortcut, ("identity", "conv"))
        self.gamma = checks.one_of(owner, "gamma", gamma, ("ones", "uniform"))
        checks.switch(owner, "affine", affine)
        find(init)
        self.initialiser = init
        plan, blocks = PLANS[depth]
        filters = [checks.scaled(n, width) for n in plan]
        self.stages = len(filters)
        self.conv1 = nn.Conv2d(channels, filters[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters[0], affine=affine)
        entering = filters[0]
        for stage, leaving in enumerate(filters, start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                layer.append(Block(entering, leaving, stride, conv_shortcut=shortcut == "conv", affine=affine))
                entering = leaving
            self.add_module(f"layer{stage}", layer)
        self.fc = nn.Linear(entering, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Block(nn.Module):
    """Two 3×3 convolutions with batch norm, and the way over them."""

    def __init__(self, entering: int, leaving: int, stride: int, *, conv_shortcut: bool, affine: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving, affine=affine)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving, affine=affine)
        self.shortcut: nn.Module
        if stride == 1 and entering == leaving:
            self.shortcut = nn.Identity()
        elif conv_shortcut:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("conv", nn.Conv2d(entering, leaving, 1, stride=stride, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(leaving, affine=affine))
        else:
            self.shortcut = ZeroPadShortcut(stride, leaving - entering)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ZeroPadShortcut(nn.Module):
    """Option A of He et al. 2016: every ``stride``-th pixel, and zeros for the channels that are missing."""

    def __init__(self, stride: int, missing: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, missing

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
