"""What the common suites share: a sentence for everything that does not hold, and a small network to try it on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wirings.core.streams import stream


def must(holds: bool, sentence: str) -> None:
    """Raise ``AssertionError`` with a sentence; unlike ``assert``, also under ``python -O``."""
    if not holds:
        raise AssertionError(sentence)


def small_network(seed: int = 0) -> nn.Module:
    """A convolution and two linear layers in float64; every side is a multiple of four, so that any form fits."""
    return _drawn(
        nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)), seed
    )


def small_linear_network(seed: int = 0) -> nn.Module:
    """Three linear layers in float64 for the same inputs; smooth, so that no two connections tie."""
    return _drawn(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)), seed
    )


def small_batch(step: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """Inputs and labels of one step, the same ones each time it is asked."""
    rng = stream(7, "batch", step)
    inputs = torch.randn(size, 4, 4, 4, generator=rng, dtype=torch.float64)
    return inputs, (inputs[:, 0, 0, :2] > 0).long() @ torch.tensor([2, 1])


def _drawn(model: nn.Module, seed: int) -> nn.Module:
    rng = stream(seed, "init")
    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) / p[0].numel() ** 0.5)
    return model
