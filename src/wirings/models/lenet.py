"""LeNet-5 three ways: the two TensorFlow forms of Alford et al. (2019) and Caffe's."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wirings.models import checks
from wirings.models.init import find


class LeNet5(nn.Module):
    """LeNet-5 as Alford, Robinett, Milechin & Kepner (2019) trained it, on MNIST or CIFAR-10.

    MNIST: conv 5×5 → ReLU → pool 2×2 → LRN → conv 5×5 → ReLU → LRN → pool 2×2 → 384 → classes; 970,140 weights.
    CIFAR-10 (24×24 crops): conv → ReLU → pool 3×3/2 → LRN → conv → ReLU → pool 3×3/2 → 384 → classes; 721,540
    weights (the second LRN was computed in their code, but nothing read it). TensorFlow's SAME padding throughout.

    Example:
        >>> model = LeNet5(image_shape=(1, 28, 28), relu_logits=True)     # faithful
        >>> sum(p.numel() for n, p in model.named_parameters() if n.endswith("weight"))
        970140

    Args:
        image_shape: (channels, height, width).
        classes: how many logits.
        variant: "mnist", "cifar10", or "auto": "mnist" for one channel, else "cifar10".
        width: factor on the widths 20, 50 and 384; 1 is the paper's.
        conv2_width: a further factor on the filters of ``conv2`` (the size-constant networks of the paper).
        relu_logits: ReLU on the logits too. True is what the paper ran: classes can die, which makes its plateaus
            at 90, 80, 70 % of MNIST. False, the default, is the control.
        init: a name of `wirings.models.initialisers()`; default the paper's truncated normals.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
        variant: Literal["auto", "mnist", "cifar10"] = "auto",
        width: float = 1.0,
        conv2_width: float = 1.0,
        relu_logits: bool = False,
        init: str = "truncated-normal",
    ) -> None:
        super().__init__()
        owner = "LeNet5"
        channels, *size = checks.image_shape(owner, image_shape)
        checks.count(owner, "classes", classes)
        checks.one_of(owner, "variant", variant, ("auto", "mnist", "cifar10"))
        checks.factor(owner, "width", width)
        checks.factor(owner, "conv2_width", conv2_width)
        self.relu_logits = checks.switch(owner, "relu_logits", relu_logits)
        find(init)
        self.initialiser = init
        self.variant = variant if variant != "auto" else ("mnist" if channels == 1 else "cifar10")
        first, second = checks.scaled(20, width), checks.scaled(50, width * conv2_width)
        hidden = checks.scaled(384, width)
        kernel = 2 if self.variant == "mnist" else 3

        self.conv1 = nn.Conv2d(channels, first, 5, padding=2)
        self.pool1 = SamePool(kernel, 2, (size[0], size[1]))
        self.conv2 = nn.Conv2d(first, second, 5, padding=2)
        self.pool2 = SamePool(kernel, 2, self.pool1.out)
        # TensorFlow's lrn(depth_radius=4, alpha=.001/9) sums nine channels; torch divides alpha by the nine itself
        self.lrn = nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
        self.fc1 = nn.Linear(second * math.prod(self.pool2.out), hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lrn(self.pool1(F.relu(self.conv1(x))))
        x = F.relu(self.conv2(x))
        if self.variant == "mnist":
            x = self.lrn(x)
        x = self.pool2(x)
        x = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return F.relu(x) if self.relu_logits else x


class SamePool(nn.Module):
    """Max-pooling with TensorFlow's SAME padding: ⌈size / stride⌉ outputs, the odd pixel of padding at the end.

    Example:
        >>> SamePool(3, 2, (24, 24)).padding      # left, right, top, bottom
        (0, 1, 0, 1)
    """

    def __init__(self, kernel: int, stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.out = (-(-size[0] // stride), -(-size[1] // stride))
        (top, bottom), (left, right) = (self._split(n, o) for n, o in zip(size, self.out, strict=True))
        self.padding = (left, right, top, bottom)

    def _split(self, size: int, out: int) -> tuple[int, int]:
        missing = max((out - 1) * self.stride + self.kernel - size, 0)
        return missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = F.pad(x, self.padding, value=-math.inf)
        return F.max_pool2d(x, self.kernel, self.stride)


class LeNet5Caffe(nn.Module):
    """Caffe's LeNet-5: conv 5×5×20 → pool 2 → conv 5×5×50 → pool 2 → 500 → ReLU → classes; 430,500 weights.

    The convolutions are "valid" and have no ReLU after them, as in Caffe's example.

    Args:
        image_shape: (channels, height, width), at least 16 × 16.
        classes: how many logits.
        width: factor on the widths 20, 50 and 500; 1 is Caffe's.
        init: a name of `wirings.models.initialisers()`; default Caffe's "xavier", U(±√(3 / fan_in)).
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
        width: float = 1.0,
        init: str = "caffe-xavier",
    ) -> None:
        super().__init__()
        owner = "LeNet5Caffe"
        channels, height, broad = checks.image_shape(owner, image_shape, smallest=16)
        checks.count(owner, "classes", classes)
        checks.factor(owner, "width", width)
        find(init)
        self.initialiser = init
        first, second, hidden = (checks.scaled(n, width) for n in (20, 50, 500))
        rows, columns = (((n - 4) // 2 - 4) // 2 for n in (height, broad))
        self.conv1 = nn.Conv2d(channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc1 = nn.Linear(second * rows * columns, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits
