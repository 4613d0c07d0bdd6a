"""What chance alone gives: subspaces that lie at random in the space of points, drawn without drawing the points.

Two independent Gaussian samples of n points span subspaces in uniformly random position. All that the CCA family and
Procrustes see of them is the overlap of two orthonormal bases, a k1 x k2 matrix; it is drawn directly, in time and
memory that do not depend on n.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from wirings.core.streams import derived_seed


def noise_floor(statistic: Callable[[Tensor], Tensor], k1: int, k2: int, points: int) -> float:
    """The expected ``statistic`` of a random overlap, by Monte Carlo with a fixed seed.

    For k1 = k2 = k much smaller than n the mean canonical correlation is about 0.85 sqrt(k / n). Many correlations
    average themselves out, so few draws serve where k is large.

    Args:
        statistic: from overlaps (draws, k1, k2) to values (draws,).
        k1, k2: dimensions of the two subspaces, each less than ``points``.
        points: data points; centring takes one dimension.
    """
    draws = min(400, max(2, 512 // min(k1, k2)))
    rng = np.random.default_rng(derived_seed(0, "noise floor", points, k1, k2))
    return float(statistic(random_overlaps(k1, k2, points - 1, draws, rng)).mean())


def random_overlaps(k1: int, k2: int, dimension: int, draws: int, rng: np.random.Generator) -> Tensor:
    """``U'V`` of orthonormal bases of random k1- and k2-dimensional subspaces, shape (draws, k1, k2).

    U may be the first k1 axes. V is the orthonormal factor G R^-1 of a Gaussian (dimension, k2) matrix G, of which only
    the first k1 rows are wanted: the others enter through R alone, and so through their own triangular factor, whose
    entries are independent (Bartlett 1933): chi on the diagonal, normal above.
    """
    if k2 > k1:
        return random_overlaps(k2, k1, dimension, draws, rng).mT
    seen = torch.from_numpy(rng.standard_normal((draws, k1, k2)))
    rest = min(dimension - k1, k2)
    triangle = np.triu(rng.standard_normal((draws, rest, k2)), 1)
    diagonal = np.arange(rest)
    triangle[:, diagonal, diagonal] = np.sqrt(rng.chisquare(dimension - k1 - diagonal, (draws, rest)))
    basis: Tensor = torch.linalg.qr(torch.cat([seen, torch.from_numpy(triangle)], dim=1))[0]
    return basis[:, :k1]
