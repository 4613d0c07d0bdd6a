"""Profiles: how large the weights and the gradients of each layer are, in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from wirings.core.names import bare
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Profile:
    """The sizes of some numbers: how many, how many are exactly zero, mean, spread and quantiles of ``|x|``.

    Of no numbers at all, everything but the counts is 0.
    """

    n: int
    zeros: int
    mean: float
    sd: float
    quantiles: dict[float, float]


def profile(values: Tensor, on: Topology | None = None, *, at: Iterable[float] = QUANTILES) -> Profile:
    """The profile of one tensor's magnitudes.

    Example:
        >>> p = profile(torch.tensor([-3.0, 0.0, 1.0]), at=(0.5, 1.0))
        >>> p.n, p.zeros, p.quantiles
        (3, 1, {0.5: 1.0, 1.0: 3.0})

    Args:
        values: any tensor; half precisions are read as float32.
        on: which positions count; all by default.
        at: which quantiles, in [0, 1]; between two values they are interpolated.
    """
    flat = values.detach().reshape(-1)
    if on is not None:
        flat = flat[on.index.to(flat.device)]
    sizes = flat.abs().double().cpu().numpy()
    levels = [float(q) for q in at]
    if any(not 0 <= q <= 1 for q in levels):
        raise ValueError(f"`at` of `profile` must be quantiles in [0, 1]. Got {levels}.")
    if not sizes.size:
        return Profile(0, 0, 0.0, 0.0, dict.fromkeys(levels, 0.0))
    quantiles = dict(zip(levels, np.quantile(sizes, levels).tolist(), strict=True))
    return Profile(sizes.size, int((sizes == 0).sum()), float(sizes.mean()), float(sizes.std()), quantiles)


def magnitude_profiles(
    weights: nn.Module | Mapping[str, Tensor], wiring: Wiring | None = None, *, at: Iterable[float] = QUANTILES
) -> dict[str, Profile]:
    """Weight name -> profile of its magnitudes, on the connections of a wiring where there is one.

    Args:
        weights: a model (its :func:`prunable` weights), or weight name -> tensor.
        wiring: which positions count; weights that it does not name count whole.
        at: which quantiles.
    """
    tensors = prunable(weights) if isinstance(weights, nn.Module) else weights
    levels = tuple(at)
    return {bare(name): profile(t, _of(wiring, name), at=levels) for name, t in tensors.items()}


def gradient_profiles(
    model: nn.Module, wiring: Wiring | None = None, *, at: Iterable[float] = QUANTILES
) -> dict[str, Profile]:
    """Weight name -> profile of the gradients that a backward pass left in ``.grad``; weights without one are left out.

    Args:
        model: after ``loss.backward()``.
        wiring: which positions count; weights that it does not name count whole.
        at: which quantiles.
    """
    gradients = {name: p.grad for name, p in prunable(model).items() if p.grad is not None}
    return magnitude_profiles(gradients, wiring, at=at)


def _of(wiring: Wiring | None, name: str) -> Topology | None:
    return wiring.get(bare(name)) if wiring is not None else None
