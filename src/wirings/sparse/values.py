"""Where the values of a sparse layer come from: a dense weight, or a draw that never makes one."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from wirings.core.support import Support
from wirings.core.topology import Topology

_CHUNK = 1 << 20  # values drawn at a time


def values_of(weight: Tensor, support: Support) -> nn.Parameter:
    """A dense weight's values at the connections of a support, as a parameter of their own."""
    flat = weight.detach().reshape(-1)
    kept = flat.clone() if support.backward.is_full else flat[support.backward.index.to(flat.device)]
    return nn.Parameter(kept, weight.requires_grad)


def drawn(topology: Topology, rng: Generator | None, dtype: torch.dtype | None) -> nn.Parameter:
    """Values from ``U(-b, b)`` with ``b = 1 / sqrt(fan-in)`` of each unit's own connections, a chunk at a time.

    That is torch's own law for the inputs a unit really has, so that a sparse unit starts with the variance of a dense
    one (sparse-aware initialisation; Evci et al. 2022).
    """
    rng = rng if rng is not None else torch.Generator().manual_seed(0)
    values = torch.empty(topology.nnz, dtype=dtype or torch.get_default_dtype())
    degrees = topology.in_degrees.cpu()
    ends = degrees.cumsum(0)
    for first in range(0, topology.nnz, _CHUNK):
        chunk = values[first : first + _CHUNK]
        unit = torch.searchsorted(ends, torch.arange(first, first + chunk.numel()), right=True)
        draws = torch.rand(chunk.numel(), generator=rng, dtype=torch.float64)
        chunk.copy_((2 * draws - 1) * degrees[unit].double().rsqrt_())
    return nn.Parameter(values)


def density_of(shape: tuple[int, ...], values: Tensor, used: Tensor | None) -> str:
    """How a layer's ``repr`` tells its density."""
    count = values.numel() if used is None else int(used.sum())
    return f"density={count / max(math.prod(shape), 1):.4g}"
