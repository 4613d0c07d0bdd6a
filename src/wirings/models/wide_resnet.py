"""Wide residual networks (Zagoruyko & Komodakis 2016); WRN-22-2 is RigL's CIFAR benchmark."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find


class WideResNet(nn.Module):
    """Pre-activation blocks in three stages of 16k, 32k, 64k filters behind a stem of 16.

    Args:
        image_shape: (channels, height, width).
        classes: how many logits.
        depth: 6 n + 4, with n blocks a stage; 22 is RigL's.
        widen: the factor k of the name WRN-depth-k; 2 is RigL's.
        width: a further factor on every width, the stem's too; 1 is the paper's.
        gamma: how batch norm's scale begins: "ones" or "uniform" on [0, 1].
        affine: whether batch norms have scale and shift.
        init: a name of `wirings.models.initialisers()`; default Kaiming normal (fan in).
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        depth: int = 22,
        widen: float = 2,
        width: float = 1.0,
        gamma: Literal["ones", "uniform"] = "ones",
        affine: bool = True,
        init: str = "kaiming-normal",
    ) -> None:
        super().__init__()
        owner = "WideResNet"
        checks.count(owner, "depth", depth)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"`depth` of `{owner}` must be 6 n + 4: 10, 16, 22, 28, ... Got {depth!r}.")
        channels, *_ = checks.image_shape(owner, image_shape)
        checks.count(owner, "classes", classes)
        checks.factor(owner, "widen", widen)
        checks.factor(owner, "width", width)
        self.gamma = checks.one_of(owner, "gamma", gamma, ("ones", "uniform"))
        checks.switch(owner, "affine", affine)
        find(init)
        self.initialiser = init
        entering = checks.scaled(16, width)
        self.conv1 = nn.Conv2d(channels, entering, 3, padding=1, bias=False)
        for stage, plain in enumerate((16, 32, 64), start=1):
            leaving = checks.scaled(plain, widen * width)
            layer = nn.Sequential()
            for block in range((depth - 4) // 6):
                layer.append(PreBlock(entering, leaving, 2 if stage > 1 and block == 0 else 1, affine=affine))
                entering = leaving
            self.add_module(f"layer{stage}", layer)
        self.bn = nn.BatchNorm2d(entering, affine=affine)
        self.fc = nn.Linear(entering, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in (1, 2, 3):
            x = getattr(self, f"layer{stage}")(x)
        logits: Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return logits


class PreBlock(nn.Module):
    """Norm, ReLU, 3×3 convolution, twice; where the shape changes a 1×1 convolution reaches over."""

    def __init__(self, entering: int, leaving: int, stride: int, *, affine: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(entering, affine=affine)
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving, affine=affine)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or entering != leaving:
            self.shortcut = nn.Conv2d(entering, leaving, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        over = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + over
