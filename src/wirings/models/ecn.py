"""Evenly cascaded convolutional networks (Ye, Devaraj, Maynord, Fermüller & Aloimonos 2018)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find


class ECN(nn.Module):
    """Cascade layers that correct the channels they were given, add a few new ones, and shrink the image evenly.

    With images of 32×32 and a scale of 0.75 the sides are 32 → 24 → 18 → 13 → 9 → 6 → 4: six layers.
    (first, growth) = (16, 14) has 472 thousand parameters, (36, 36) 2.94 million.

    Differs from the paper: the widths of its CIFAR runs are not known. The block is the one of the first author's
    later code (two convolutions, pre-activated), and (16, 14) is our choice for its "less than 500 thousand".

    Args:
        image_shape: (channels, height, width), at least 6 × 6.
        classes: how many logits.
        first: channels of the stem.
        growth: channels that each cascade layer adds.
        scale: factor on the image's sides after each layer, in (0, 1); the paper's 0.75.
        smallest: no layer makes a side smaller than this; 4 as in the author's code.
        width: factor on ``first`` and ``growth``.
        init: a name of `wirings.models.initialisers()`; default the author's Glorot uniform.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        first: int = 16,
        growth: int = 14,
        scale: float = 0.75,
        smallest: int = 4,
        width: float = 1.0,
        init: str = "glorot-uniform",
    ) -> None:
        super().__init__()
        owner = "ECN"
        channels, *size = checks.image_shape(owner, image_shape, smallest=6)
        checks.count(owner, "classes", classes)
        checks.count(owner, "first", first)
        checks.count(owner, "growth", growth)
        checks.count(owner, "smallest", smallest)
        checks.factor(owner, "width", width)
        if checks.factor(owner, "scale", scale) >= 1:
            raise ValueError(f"`scale` of `{owner}` must be in (0, 1). Got {scale!r}.")
        find(init)
        self.initialiser = init
        now, more = checks.scaled(first, width), checks.scaled(growth, width)
        self.conv1 = nn.Conv2d(channels, now, 3, padding=1, bias=False)
        self.cascade = nn.Sequential()
        side = (size[0], size[1])
        while min(to := (int(side[0] * scale), int(side[1] * scale))) >= smallest:
            self.cascade.append(Cascade(now, now + more, side, to, scale))
            now, side = now + more, to
        self.fc = nn.Linear(now, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.cascade(self.conv1(x)).mean((2, 3)))
        return logits


class Cascade(nn.Module):
    """One layer: the low-level stream is modulated by a residual, the new features are set beside it, both shrink."""

    def __init__(self, entering: int, leaving: int, size: tuple[int, int], to: tuple[int, int], scale: float) -> None:
        super().__init__()
        self.entering, self.shrunk = entering, to
        self.pool = math.floor(1 / scale)
        pooled = tuple(-(-n // self.pool) for n in size)
        self.adapt = pooled != to
        self.bn1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, leaving, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        out = torch.cat([out[:, : self.entering] + x, out[:, self.entering :]], dim=1)
        if self.pool >= 2:
            out = F.avg_pool2d(out, self.pool, ceil_mode=True)
        return F.adaptive_avg_pool2d(out, self.shrunk) if self.adapt else out
