"""How well one representation can be rotated onto the other."""

from __future__ import annotations

import torch
from torch import Tensor

from wirings.analysis.similarity.noise import noise_floor
from wirings.analysis.similarity.result import Similarity
from wirings.analysis.similarity.side import Activations, Side, empty, notes, sides


def procrustes(x: Activations, y: Activations) -> Similarity:
    """Nuclear norm of ``X'Y``, both centred and of Frobenius norm 1: 1 where a rotation and a scale make one the other.

    Ding, Denain & Steinhardt 2021. Their distance, ``|X|^2 + |Y|^2 - 2 |X'Y|_*``, is ``2 * (1 - value)``.
    Differs from the paper: told as a similarity, like all measures here. Sides of different width are compared as if
    the narrower one had units that are always zero.

    Args:
        x, y: activations, shape (points, units), the same points.
    """
    return procrustes_of(*sides(x, y))


def procrustes_of(a: Side, b: Side) -> Similarity:
    """`procrustes` of sides already made."""
    if empty(a, b):
        return Similarity(0.0, "procrustes", (0, 0), a.points, (a.units, b.units), 0.0, notes(a, b))
    left, values_a, _ = a.directions
    right, values_b, _ = b.directions
    stretch = values_a[:, None] * values_b / (values_a.norm() * values_b.norm())

    def rotated(overlap: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(overlap * stretch)
        return values.sum(-1).clamp(max=1)

    k1, k2 = len(values_a), len(values_b)
    return Similarity(
        value=float(rotated((left.T @ right)[None])[0]),
        measure="procrustes",
        directions=(k1, k2),
        points=a.points,
        units=(a.units, b.units),
        noise_floor=noise_floor(rotated, k1, k2, a.points),
        notes=notes(a, b),
    )
