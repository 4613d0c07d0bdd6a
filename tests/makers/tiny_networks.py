"""Tiny networks that the tests of pruning at initialisation share, drawn without touching the global random state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@contextmanager
def same_afterwards(*models: nn.Module) -> Iterator[None]:
    """Weights, buffers (signs of zero too), gradients, flags, hooks, random state, default dtype: all as before."""
    before = [_looks(model) for model in models]
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    ids = [[id(p) for p in model.parameters()] for model in models]
    yield
    assert [_looks(model) for model in models] == before
    assert [[id(p) for p in model.parameters()] for model in models] == ids
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with Kaiming-normal weights from its own generator, and biases zero."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                draw = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
                parameter.copy_(draw * math.sqrt(2 / math.prod(parameter.shape[1:])))
            elif not bool((parameter == 1).all()):
                parameter.zero_()
    return model


def built(make: type[nn.Module], *args: object) -> nn.Module:
    """A module built without a draw from the global random state."""
    with torch.random.fork_rng(devices=[]):
        return drawn(make(*args))


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *sizes: int, bias: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = F.relu(x) if i + 1 < len(self.layers) else x
        return x


class SmallVGG(nn.Module):
    """Three convolutions with batch norm and pooling, and a classifier that reads 2 x 2 pixels of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv3, self.bn3 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(64, 5)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.avg_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        out: Tensor = self.fc(self.dropout(x.flatten(1)))
        return out


class SmallResNet(nn.Module):
    """A stem, a block over an identity, a block over a 1 x 1 convolution, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.a1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.around = nn.Identity()
        self.b1, self.bn3 = nn.Conv2d(8, 16, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(16)
        self.b2, self.bn4 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.shortcut = nn.Conv2d(8, 16, 1, stride=2, bias=False)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.bn2(self.a2(F.relu(self.bn1(self.a1(x))))) + self.around(x))
        x = F.relu(self.bn4(self.b2(F.relu(self.bn3(self.b1(x))))) + self.shortcut(x))
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


def _looks(model: nn.Module) -> list[object]:
    """Everything about a model that a caller can see, comparable with ``==``."""
    tensors = [(n, t.detach().clone().view(-1).view(torch.uint8).tolist()) for n, t in model.state_dict().items()]
    gradients = [p.grad is None for p in model.parameters()]
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return [tensors, gradients, flags, [p.requires_grad for p in model.parameters()]]
