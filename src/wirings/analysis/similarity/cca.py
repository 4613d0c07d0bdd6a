"""Canonical correlations of two representations: CCA, SVCCA, PWCCA.

All three see two orthonormal bases of the space of points, U of one side and V of the other, through their overlap U'V,
whose singular values are the canonical correlations. They are computed from singular value decompositions of the data,
never from covariances, so that no small eigenvalue is ever inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from wirings.analysis.similarity.noise import noise_floor
from wirings.analysis.similarity.result import Similarity
from wirings.analysis.similarity.side import Activations, Side, notes, sides


def cca(x: Activations, y: Activations, *, take: Literal["mean", "max"] = "mean") -> Similarity:
    """The mean (or the largest) canonical correlation of two sets of units (Hotelling 1936).

    Invariant to every invertible linear map of either side. ``correlations`` of the result has them all.

    Args:
        x, y: activations, shape (points, units), the same points. Take 5 to 10 times as many points as units: with
            fewer points than units of both together, correlations of 1 are forced, which the noise floor shows and a
            note says.
        take: the mean over min(k1, k2) correlations, or the largest.
    """
    return cca_of(*sides(x, y), take=take)


def svcca(x: Activations, y: Activations, *, variance: float = 0.99) -> Similarity:
    """Mean canonical correlation of the directions that carry most of the variance (Raghu et al. 2017).

    Each side keeps the fewest singular directions whose squared singular values sum to ``variance`` of the whole.
    Differs from the code published with the paper: no truncation of the correlations, no ridge, no fixed number of
    directions.

    Args:
        x, y: activations, shape (points, units), the same points.
        variance: share of the variance kept, in (0, 1]; 0.99 in the paper.
    """
    check_variance(variance)
    return svcca_of(*sides(x, y), variance=variance)


def pwcca(x: Activations, y: Activations) -> Similarity:
    """Canonical correlations weighted by how much of the representation each accounts for (Morcos et al. 2018, eq. 3).

    The weight of the i-th is the sum over units of the absolute inner product of the i-th canonical variate with the
    unit, on the side with fewer directions (``x`` where both have as many): with equal counts it is not symmetric.
    Absolute values over units see the axes: rotating the weighing side changes the weights, permuting it does not.
    """
    return pwcca_of(*sides(x, y))


def cca_of(a: Side, b: Side, *, take: Literal["mean", "max"] = "mean") -> Similarity:
    """`cca` of sides already made."""
    if take not in ("mean", "max"):
        raise ValueError(f'`take` of `cca` must be "mean" or "max". Got {take!r}.')
    statistic = _mean_correlation if take == "mean" else _largest_correlation
    return _through_overlap("cca" if take == "mean" else "cca_max", a, b, _all(a), _all(b), statistic)


def svcca_of(a: Side, b: Side, *, variance: float = 0.99) -> Similarity:
    """`svcca` of sides already made."""
    check_variance(variance)
    return _through_overlap("svcca", a, b, _leading(a, variance), _leading(b, variance), _mean_correlation)


def pwcca_of(a: Side, b: Side) -> Similarity:
    """`pwcca` of sides already made."""
    k1, k2 = _all(a), _all(b)
    _, values, right = (a if k1 <= k2 else b).directions
    units = values[:, None] * right  # the units of the smaller side in its own directions, (k, units)

    def weighted(overlap: Tensor) -> Tensor:
        variates, rho, _ = torch.linalg.svd(overlap if k1 <= k2 else overlap.mT, full_matrices=False)
        weights = (variates.mT @ units).abs().sum(-1)
        value: Tensor = (weights * rho.clamp(max=1)).sum(-1) / weights.sum(-1)
        return value

    return _through_overlap("pwcca", a, b, k1, k2, weighted)


def _through_overlap(
    measure: str, a: Side, b: Side, k1: int, k2: int, statistic: Callable[[Tensor], Tensor]
) -> Similarity:
    remarks = notes(a, b)
    if not (k1 and k2):
        return Similarity(0.0, measure, (k1, k2), a.points, (a.units, b.units), 0.0, remarks)
    for side, k, name in ((a, k1, "x"), (b, k2, "y")):
        rank = _all(side)
        if k == rank < side.live:
            remarks = (*remarks, f"{side.live} varying units of {name} span {rank} directions")
    forced = k1 + k2 - (a.points - 1)
    if forced > 0:
        remarks = (*remarks, f"too few points for {k1} + {k2} directions: {forced} correlations are 1 by force")
    overlap = a.directions[0][:, :k1].T @ b.directions[0][:, :k2]
    return Similarity(
        value=float(statistic(overlap[None])[0]),
        measure=measure,
        directions=(k1, k2),
        points=a.points,
        units=(a.units, b.units),
        noise_floor=noise_floor(statistic, k1, k2, a.points),
        notes=remarks,
        correlations=tuple(_correlations(overlap).tolist()),
    )


def _all(side: Side) -> int:
    return len(side.directions[1])


def _leading(side: Side, variance: float) -> int:
    """The smallest k whose squared singular values reach the share; a hair less is enough, or rounding would decide."""
    energy = side.directions[1].square()
    if not len(energy):
        return 0
    reached = energy.cumsum(0) >= variance * (1 - 1e-12) * energy.sum()
    return int(reached.to(torch.uint8).argmax()) + 1


def _mean_correlation(overlap: Tensor) -> Tensor:
    return _correlations(overlap).mean(-1)


def _largest_correlation(overlap: Tensor) -> Tensor:
    return _correlations(overlap)[..., 0]


def _correlations(overlap: Tensor) -> Tensor:
    rho: Tensor = torch.linalg.svdvals(overlap)
    return rho.clamp(0, 1)


def check_variance(variance: float) -> None:
    """Refuse a share that is none."""
    if not 0 < variance <= 1:
        raise ValueError(f"`variance` of `svcca` must be in (0, 1]. Got {variance!r}.")
