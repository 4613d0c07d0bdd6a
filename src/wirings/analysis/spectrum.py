"""Spectrum: how well a layer's wiring spreads, from the singular values of its adjacency matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

_DENSE_UP_TO = 1_000_000  # entries; below this a full decomposition is quick and never fails
_DENSE_AT_MOST = 50_000_000  # entries; above this the fall-back would take minutes


@dataclass(frozen=True)
class Spectrum:
    """The two largest singular values of a layer seen as a 0/1 matrix of output and input units.

    Args:
        first, second: the singular values; for a bi-regular layer, first is sqrt(in-degree * out-degree).
        bound: ``sqrt(a - 1) + sqrt(c - 1)`` with the mean in-degree a and the mean out-degree c. No infinite family of
            bi-regular graphs has smaller second values (Feng & Li 1996).
        regular: whether all in-degrees are equal, and all out-degrees.
    """

    first: float
    second: float
    bound: float
    regular: bool

    @property
    def gap(self) -> float:
        """first - second: large where the layer mixes all inputs into all outputs."""
        return self.first - self.second

    @property
    def ratio(self) -> float:
        """second / first in [0, 1]: small is good; 1 means that the layer falls into separate parts."""
        return self.second / self.first if self.first else 1.0

    @property
    def is_ramanujan(self) -> bool:
        """Whether the layer spreads as well as its degrees allow; for irregular layers, with their mean degrees."""
        return self.first > 0 and self.second <= self.bound + 1e-9


def spectrum(topology: Topology) -> Spectrum:
    """The spectrum of one layer. In a convolution, an entry counts the kernel elements between two channels.

    Example:
        >>> s = spectrum(Topology.full((4, 9)))
        >>> round(s.first, 6), round(s.second, 6), s.is_ramanujan
        (6.0, 0.0, True)
    """
    if len(topology.shape) < 2 or not topology.numel:
        raise ValueError(f"`spectrum` needs a weight with outputs and inputs. Got shape {topology.shape}.")
    ins, outs = topology.in_degrees.cpu().numpy(), topology.out_degrees.cpu().numpy()
    bound = math.sqrt(max(ins.mean() - 1, 0.0)) + math.sqrt(max(outs.mean() - 1, 0.0))
    first, second = _two_largest(topology)
    regular = bool((ins == ins[0]).all() and (outs == outs[0]).all())
    return Spectrum(first, second, float(bound), regular)


def spectra(wiring: Wiring) -> dict[str, Spectrum]:
    """Weight name -> :func:`spectrum`, of all weights that have outputs and inputs."""
    return {name: spectrum(t) for name, t in wiring.items() if len(t.shape) > 1 and t.numel}


def _two_largest(topology: Topology) -> tuple[float, float]:
    rows, columns = topology.shape[:2]
    if not topology.nnz:
        return 0.0, 0.0
    if min(rows, columns) < 3 or rows * columns <= _DENSE_UP_TO:
        return _densely(topology)
    from scipy.sparse.linalg import ArpackError, svds

    try:
        values = svds(
            _matrix(topology), k=2, v0=np.ones(min(rows, columns)), return_singular_vectors=False, maxiter=10_000
        )
    except ArpackError as error:
        if rows * columns > _DENSE_AT_MOST:
            raise ValueError(f"`spectrum` of shape {topology.shape} did not converge: {error}.") from error
        return _densely(topology)
    second, first = sorted(values.tolist())
    return first, second


def _matrix(topology: Topology) -> object:
    """A scipy CSR matrix of output and input units; entries count kernel elements."""
    from scipy.sparse import csr_matrix

    rows, columns = topology.shape[:2]
    kernel = math.prod(topology.shape[2:])
    index = topology.index.cpu().numpy()
    row, column = index // (columns * kernel), index // kernel % columns
    return csr_matrix((np.ones(len(index)), (row, column)), shape=(rows, columns))


def _densely(topology: Topology) -> tuple[float, float]:
    mask = topology.mask.cpu().double()
    matrix: NDArray[np.float64] = (mask.flatten(2).sum(2) if mask.ndim > 2 else mask).numpy()
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(values[0]), float(values[1]) if len(values) > 1 else 0.0
