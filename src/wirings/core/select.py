"""Exact selection: always k, the highest first, ties to the lower index."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Generator, Tensor

from wirings.core.topology import Topology, check_count, positions_of
from wirings.core.wiring import Wiring


def top(scores: Tensor, k: int, on: Topology, *, ties: Generator | None = None) -> Topology:
    """The ``k`` connections of ``on`` with the highest scores.

    Example:
        >>> on = Topology.at((1, 5), [0, 2, 3, 4])
        >>> top(torch.tensor([1.0, 5.0, 1.0, 0.0]), 2, on).index.tolist()
        [0, 2]

    Args:
        scores: aligned with ``on.index``, shape ``(on.nnz,)``; or of the weight's shape where ``on`` is full.
        k: how many, in [0, on.nnz].
        on: where to choose.
        ties: break ties at random with this generator instead of to the lower index.

    Raises:
        ValueError: if ``k`` is out of range, sizes differ, or a score that matters is NaN.
    """
    if scores.numel() != on.nnz:
        raise ValueError(
            f"`scores` of `top` must have one score per position of `on` ({on.nnz}). Got {scores.numel()}."
        )
    return _taken(on, top_mask(scores.reshape(-1), k, ties=ties), int(k))


def top_global(scores: Mapping[str, Tensor], k: int, on: Wiring, *, ties: Generator | None = None) -> Wiring:
    """The ``k`` connections of a whole wiring with the highest scores, over all weights together.

    Ties go to the weight named first in ``on``, then to the lower index.

    Args:
        scores: weight name -> scores aligned with that weight's ``index``.
        k: how many, in [0, on.nnz].
        on: where to choose.
        ties: break ties at random with this generator.
    """
    missing = [name for name in on if name not in scores]
    if missing:
        raise ValueError(f"`scores` of `top_global` must cover every weight of `on`. `{missing[0]}` has none.")
    for name, topology in on.items():
        if scores[name].numel() != topology.nnz:
            raise ValueError(f"`scores` of `{name}` must have {topology.nnz} entries. Got {scores[name].numel()}.")
    if not on:
        return Wiring({})
    home = scores[next(iter(on))].device
    chosen = top_mask(torch.cat([scores[name].detach().reshape(-1).to(home) for name in on]), k, ties=ties)
    taken, start = {}, 0
    for name, topology in on.items():
        taken[name] = _taken(topology, chosen[start : start + topology.nnz])
        start += topology.nnz
    return Wiring(taken)


def top_mask(scores: Tensor, k: int, *, ties: Generator | None = None) -> Tensor:
    """A bool tensor, true at the ``k`` highest of ``scores`` (one-dimensional); the work behind :func:`top`.

    Ranks in the dtype of the scores (half precisions as float32, which keeps their order). A partition finds the k-th
    value in linear time; comparisons do the rest.
    """
    n = scores.numel()
    check_count(k, n, "top")
    if k == 0 or k == n:
        return torch.full((n,), k == n, dtype=torch.bool, device=scores.device)
    scores = scores.detach()
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if scores.device.type != "cpu":
        bad = bool(torch.isnan(scores).any())  # topk and not kthvalue: the latter is refused in deterministic mode
        few = 2 * k <= n
        side = scores.topk(k if few else n - k + 1, largest=few, sorted=False).values
        threshold = side.min() if few else side.max()
        above, level = scores > threshold, scores == threshold
    else:
        values = scores.numpy()
        ranked = np.partition(values, n - k)  # NaN sorts last, so one that matters lies among the k
        bad = ranked.dtype.kind == "f" and bool(np.isnan(ranked[n - k :].max()))
        threshold = ranked[n - k]
        chosen = values >= threshold
        if not bad and int(np.count_nonzero(chosen)) == k:
            return torch.from_numpy(chosen)
        above, level = torch.from_numpy(values > threshold), torch.from_numpy(values == threshold)
    if bad:
        raise ValueError("A selection cannot rank NaN. Got NaN among the scores; look for a diverged loss.")
    wanted = k - int(torch.count_nonzero(above))
    candidates = positions_of(level)
    if ties is not None:
        candidates = candidates[torch.randperm(candidates.numel(), generator=ties).to(candidates.device)]
    above[candidates[:wanted]] = True
    return above


def _taken(on: Topology, chosen: Tensor, k: int | None = None) -> Topology:
    """Those positions of ``on`` whose entry in ``chosen`` (aligned with ``on.index``) is true."""
    if on.is_full:
        return Topology(on.shape, mask=chosen.view(on.shape), nnz=k)
    return Topology(on.shape, index=on.index[positions_of(chosen).to(on.device)], nnz=k)
