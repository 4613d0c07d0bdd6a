"""A topology as a layer's buffers hold it: compressed rows, and which of what trains is used."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wirings.core.errors import WiringError
from wirings.core.support import Support
from wirings.core.topology import Topology


def members(whole: Topology, part: Topology) -> Tensor:
    """For each connection of ``whole``: is it in ``part``, which lies within it?"""
    if whole.is_full:
        return part.mask.reshape(-1)
    index = whole.index
    result = torch.zeros(index.numel(), dtype=torch.bool, device=index.device)
    result[torch.searchsorted(index, part.index.to(index.device))] = True
    return result


def checked_support(
    prefix: str, shape: tuple[int, ...], pointer: Tensor, column: Tensor, used: Tensor | None, nnz: int
) -> Support:
    """A topology from a checkpoint, after every check that a kernel relies on."""
    rows, columns = shape[0], math.prod(shape[1:])
    whole = (
        pointer.dtype == torch.int64
        and pointer.shape == (rows + 1,)
        and column.dtype in (torch.int32, torch.int64)
        and column.shape == (nnz,)
        and int(pointer[0]) == 0
        and int(pointer[-1]) == nnz
        and bool((pointer.diff() >= 0).all())
        and (nnz == 0 or (int(column.min()) >= 0 and int(column.max()) < columns))
        and (used is None or (used.dtype == torch.bool and used.shape == (nnz,)))
    )
    flat = torch.empty(0, dtype=torch.int64)
    if whole:
        row = torch.arange(rows, device=column.device).repeat_interleave(pointer.diff(), output_size=nnz)
        flat = row * columns + column
        whole = bool((flat[1:] > flat[:-1]).all())
    if not whole:
        raise WiringError(
            f"`{prefix}pointer` and `{prefix}column` are no topology of shape {shape} with {nnz} connections. "
            "The checkpoint is damaged, or the buffers were averaged (`use_buffers=False` leaves them alone)."
        )
    backward = Topology.at(shape, flat, trusted=True)
    return Support.both(backward) if used is None else Support(Topology.at(shape, flat[used], trusted=True), backward)
