"""One side of a comparison, made safe: finite points, units that vary, centred, in float64, its rounding known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

Activations = Tensor | ArrayLike
"""Activations, shape (points, units)."""


@dataclass(frozen=True, eq=False)
class Side:
    """Centred activations of the units that vary.

    Args:
        x: shape (rows, live units), float64, largest magnitude 1. The rows are the points, or any rotation of them:
            only inner products over the points are meant.
        points: data points.
        units: units given, dead ones included.
        rounding: size of what the rounding of the input puts into a singular value of ``x``.
        notes: what was left out, in words.
    """

    x: Tensor
    points: int
    units: int
    rounding: float
    notes: tuple[str, ...] = ()

    @property
    def live(self) -> int:
        return self.x.shape[1]

    @cached_property
    def directions(self) -> tuple[Tensor, Tensor, Tensor]:
        """The singular value decomposition, left (rows, k), values (k,) and right (k, units), down to rounding."""
        left, values, right = torch.linalg.svd(self.x, full_matrices=False)
        if not values.numel():
            return left, values, right
        precision = torch.finfo(torch.float64).eps * max(self.points, self.live)
        noise = max(self.rounding, precision * float(values[0]))
        rank = min(int((values > noise).sum()), max(self.points - 1, 0))
        # a decomposition leaves the signs open; fixed, the same data meet the same random overlaps however they came in
        signs = right.gather(1, right.abs().argmax(1, keepdim=True)).sign()
        return (left * signs.T)[:, :rank], values[:rank], (right * signs)[:rank]

    @cached_property
    def energy(self) -> float:
        """The squared Frobenius norm: the trace of the Gram matrix."""
        return float(self.x.square().sum())

    @cached_property
    def gram_energy(self) -> float:
        """The squared Frobenius norm of the Gram matrix."""
        return cross_energy(self, self)


def sides(x: Activations, y: Activations) -> tuple[Side, Side]:
    """Both sides on the points that are finite on both."""
    x, y, lost = finite_points(x, y)
    note = (f"{lost} points are not finite and were left out",) if lost else ()
    return side(x, "x", note), side(y, "y", note)


def side(x: Tensor, name: str, notes: tuple[str, ...] = ()) -> Side:
    """One side from finite activations, shape (points, units)."""
    eps = precision(x)
    x = x.to(torch.float64)
    points, units = x.shape
    if points:
        live = varies(x.amin(0), x.amax(0), eps) if units else torch.zeros(0, dtype=torch.bool)
        x = x[:, live]
    else:
        x = x[:, :0]
    size = float(x.abs().max()) if x.numel() else 1.0
    x = x / size
    norm = float(torch.linalg.vector_norm(x))
    return of_centred(x - x.mean(0) if points else x, norm, eps, points, units, name, notes)


def of_centred(
    x: Tensor, norm: float, eps: float, points: int, units: int, name: str, notes: tuple[str, ...] = ()
) -> Side:
    """A side from centred rows of the units that vary; ``norm`` is the Frobenius norm before centring."""
    live = x.shape[1]
    if points < 2:
        notes = (*notes, f"{points} points are too few to compare anything")
        x, live = x[:, :0], 0
    elif not live:
        notes = (*notes, f"{name} has no unit that varies")
    elif live < units:
        notes = (*notes, f"{units - live} of {units} units of {name} do not vary and were left out")
    if not live:
        return Side(x, points, units, 0.0, notes)
    size = float(x.abs().max())
    # rounding puts noise of about eps * rms into every entry; a random matrix of that size has this spectral norm
    rounding = eps * norm / size * (points**0.5 + live**0.5) / (points * live) ** 0.5
    return Side(x / size, points, units, rounding, notes)


def cross_energy(a: Side, b: Side) -> float:
    """``|X'Y|^2``, which is also the inner product of both Gram matrices: whichever way needs the smaller matrix."""
    if a.x.shape[0] < max(a.live, b.live):
        return float(((a.x @ a.x.T) * (b.x @ b.x.T)).sum())
    return float((a.x.T @ b.x).square().sum())


def empty(a: Side, b: Side) -> bool:
    return not (a.live and b.live)


def notes(a: Side, b: Side) -> tuple[str, ...]:
    """The notes of both sides, each once."""
    return tuple(dict.fromkeys(a.notes + b.notes))


def varies(low: Tensor, high: Tensor, eps: float) -> Tensor:
    """Which units vary by more than the rounding of their input, from their smallest and largest values."""
    return (high - low) > 4 * eps * torch.maximum(low.abs(), high.abs())


def finite_points(x: Activations, y: Activations) -> tuple[Tensor, Tensor, int]:
    """Both as CPU tensors of floats without the points that have a NaN or an infinity, and how many those were."""
    x, y = _tensor(x, "x"), _tensor(y, "y")
    if len(x) != len(y):
        raise ValueError(
            f"`x` and `y` must hold the same points, one a row. Got {len(x)} and {len(y)} rows: run both models on the "
            "same batches, and take the same positions."
        )
    good = x.isfinite().all(1) & y.isfinite().all(1)
    lost = len(x) - int(good.sum())
    return (x[good], y[good], lost) if lost else (x, y, 0)


def precision(x: Tensor) -> float:
    """The relative rounding of the numbers as they came in."""
    return float(torch.finfo(x.dtype).eps)


def _tensor(x: Activations, name: str) -> Tensor:
    tensor = x.detach().cpu() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
    if tensor.is_complex():
        raise TypeError(f"`{name}` must be real activations. Got {tensor.dtype}.")
    if tensor.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (points, units). Got {tuple(tensor.shape)}: "
            "`activations` makes points of feature maps."
        )
    return tensor if tensor.is_floating_point() else tensor.to(torch.float64)
