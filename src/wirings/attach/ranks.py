"""Several processes that train one network: equal weights at the start, equal gradients to rank, equal wirings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from wirings.core.errors import WiringError
from wirings.core.wiring import Wiring

_ODD = 0x9E3779B97F4A7C15 - (1 << 64)  # an odd constant that fits int64; sums wrap around, as a hash wants


def together() -> bool:
    """Whether this process trains in a group."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    for tensor in tensors:
        whole = tensor.contiguous()
        dist.broadcast(whole, src=0)
        if whole is not tensor:
            tensor.copy_(whole)


def averaged(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their mean over the ranks; DDP has made them equal already, other loops may not."""
    for tensor in tensors:
        whole = tensor.contiguous()
        dist.all_reduce(whole)
        whole.div_(dist.get_world_size())
        if whole is not tensor:
            tensor.copy_(whole)


def check_same(wiring: Wiring, step: int) -> None:
    """Refuse to go on where ranks hold different wirings."""
    digest = torch.zeros(1, dtype=torch.int64, device=next(iter(wiring.values())).device)
    for topology in wiring.values():
        mixed = (topology.index + 1) * _ODD
        digest = digest * 31 + (mixed ^ (mixed >> 29)).sum().to(digest.device)
    low, high = digest.clone(), digest.clone()
    dist.all_reduce(low, op=dist.ReduceOp.MIN)
    dist.all_reduce(high, op=dist.ReduceOp.MAX)
    if not torch.equal(low, high):
        raise WiringError(
            f"The ranks hold different wirings after step {step}. Attach with the same seed on every rank, and wrap "
            "the model in DistributedDataParallel, or average the gradients before the step."
        )
