"""Centred kernel alignment: whether both representations find the same pairs of points alike.

All of it follows from three things that a pair of centred sides X, Y has: the inner product of the two Gram matrices,
that of their diagonals, and their traces. The noise floor is exact: the mean over all ways to pair the points of one
side with those of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wirings.analysis.similarity.result import Similarity
from wirings.analysis.similarity.side import Activations, Side, cross_energy, empty, notes, sides


def linear_cka(x: Activations, y: Activations) -> Similarity:
    """Linear CKA, ``|Y'X|^2 / (|X'X| |Y'Y|)`` with centred units (Kornblith et al. 2019, eq. 3).

    Invariant to rotations and to one scale a side, not to other linear maps. Biased upwards where the points are not
    many more than the units: see the noise floor, or take `debiased_cka`.

    Args:
        x, y: activations, shape (points, units), the same points.
    """
    return linear_cka_of(*sides(x, y))


def debiased_cka(x: Activations, y: Activations) -> Similarity:
    """CKA with the unbiased estimator of HSIC (Nguyen, Raghu & Kornblith 2021, eq. 3 and 4): 0 on average by chance.

    For few points; needs four. May be slightly negative. Averaged over minibatches: `StreamingCKA("minibatch")`.

    Args:
        x, y: activations, shape (points, units), the same points.
    """
    return debiased_cka_of(*sides(x, y))


def rbf_cka(x: Activations, y: Activations, *, bandwidth: float = 0.8) -> Similarity:
    """CKA with Gaussian kernels whose width is a share of the median distance between points (Kornblith et al. 2019).

    Needs memory for points x points numbers.

    Args:
        x, y: activations, shape (points, units), the same points.
        bandwidth: standard deviation of the kernel over the median distance; a neutral default.
    """
    if not 0 < bandwidth < float("inf"):
        raise ValueError(f"`bandwidth` of `rbf_cka` must be a finite number above 0. Got {bandwidth!r}.")
    return rbf_cka_of(*sides(x, y), bandwidth=bandwidth)


def linear_cka_of(a: Side, b: Side) -> Similarity:
    """`linear_cka` of sides already made."""
    if empty(a, b):
        return _nothing("cka", a, b)
    size = (a.gram_energy * b.gram_energy) ** 0.5
    return _result("cka", a, b, min(cross_energy(a, b) / size, 1.0), a.energy * b.energy / ((a.points - 1) * size))


def debiased_cka_of(a: Side, b: Side) -> Similarity:
    """`debiased_cka` of sides that still hold their points."""
    if empty(a, b):
        return _nothing("debiased_cka", a, b)
    if a.points < 4:
        return _nothing("debiased_cka", a, b, f"{a.points} points: the unbiased estimator needs four")
    left, right = a.x.square().sum(1), b.x.square().sum(1)
    pair = Moments(cross_energy(a, b), float(left @ right), a.energy, b.energy, a.points)
    own = Moments(a.gram_energy, float(left @ left), a.energy, a.energy, a.points)
    other = Moments(b.gram_energy, float(right @ right), b.energy, b.energy, b.points)
    value = alignment(pair.hsic, own.own_hsic, other.own_hsic)
    if value is None:
        return _nothing("debiased_cka", a, b, "all pairs of points of one side are equally alike")
    return _result("debiased_cka", a, b, value, 0.0)


def rbf_cka_of(a: Side, b: Side, *, bandwidth: float = 0.8) -> Similarity:
    """`rbf_cka` of sides that still hold their points."""
    if empty(a, b):
        return _nothing("rbf_cka", a, b)
    k, l = _gaussian(a.x, bandwidth), _gaussian(b.x, bandwidth)
    size = float(k.norm() * l.norm())
    value = min(max(float((k * l).sum()) / size, 0.0), 1.0)
    return _result("rbf_cka", a, b, value, float(k.trace() * l.trace()) / ((a.points - 1) * size))


@dataclass(frozen=True)
class Moments:
    """What the unbiased HSIC of a pair of centred sides is made of.

    Args:
        gram: inner product of the Gram matrices, ``|X'Y|^2``.
        diagonal: inner product of their diagonals, the sum over points of ``|x|^2 |y|^2``.
        trace_x, trace_y: sums over points of ``|x|^2`` and of ``|y|^2``.
        points: how many, at least 4.
    """

    gram: float
    diagonal: float
    trace_x: float
    trace_y: float
    points: int

    @property
    def hsic(self) -> float:
        """The unbiased estimator of Song et al. 2012 (eq. 5), which becomes this short where the points are centred.

        It is ``tr KL + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1``, over n(n-3), K and L without their diagonals. Rows
        of the full centred matrices sum to zero, so those of K sum to minus the diagonal.
        """
        n = self.points
        chance = self.trace_x * self.trace_y / ((n - 1) * (n - 2))
        return (self.gram - self.diagonal * n / (n - 2) + chance) / (n * (n - 3))

    @property
    def own_hsic(self) -> float:
        """The same for a side with itself, which is never negative: zero where only rounding is left."""
        n = self.points
        rounding = 64 * torch.finfo(torch.float64).eps * self.gram
        return self.hsic if self.hsic * n * (n - 3) > rounding else 0.0


def alignment(pair: float, own: float, other: float) -> float | None:
    """The normalised HSIC; None where one side has none of its own."""
    if own <= 0 or other <= 0:
        return None
    return float(min(max(pair / (own * other) ** 0.5, -1.0), 1.0))


def _gaussian(x: Tensor, bandwidth: float) -> Tensor:
    """The centred Gaussian kernel matrix; where most points coincide, the median is taken over those that do not."""
    n = len(x)
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    apart = distance[torch.ones(n, n, dtype=torch.bool).triu(1)]
    middle = float(apart.median())
    if middle == 0:
        middle = float(apart[apart > 0].median())
    kernel = torch.exp(-0.5 * (distance / (bandwidth * middle)).square())
    kernel = kernel - kernel.mean(0)
    return kernel - kernel.mean(1, keepdim=True)


def _nothing(measure: str, a: Side, b: Side, *why: str) -> Similarity:
    return Similarity(0.0, measure, (a.live, b.live), a.points, (a.units, b.units), 0.0, (*notes(a, b), *why))


def _result(measure: str, a: Side, b: Side, value: float, floor: float) -> Similarity:
    return Similarity(value, measure, (a.live, b.live), a.points, (a.units, b.units), floor, notes(a, b))
