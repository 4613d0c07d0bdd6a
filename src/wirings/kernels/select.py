"""Exact selection: the k highest of many scores, and the k strongest entries of a gradient that is never held whole.

Exactly k are chosen; ties go to the lower index; a NaN is refused, since it has no rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wirings.kernels import native, reference

_BLOCK = 2**20  # gradient entries held at a time


def top_mask(scores: Tensor, k: int, *, absolute: bool = False) -> Tensor:
    """A bool tensor shaped as ``scores`` with exactly ``k`` set: the highest, ties to the lower flat index.

    Example:
        >>> top_mask(torch.tensor([1.0, -3.0, 2.0, 2.0]), 2, absolute=True)
        tensor([False,  True,  True, False])

    Args:
        scores: floating point, any shape.
        k: how many, in [0, number of scores].
        absolute: whether to rank by magnitude (no copy of the magnitudes is made).
    """
    flat, used = _ranked(scores, k)
    mask = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    if k == 0:
        return mask.view(scores.shape)
    if used is None:
        mask[reference.top_index(flat, k, absolute)] = True
    elif used.call("top_mask", flat.itemsize, flat, flat.numel(), k, absolute, mask, _team(flat)):
        raise _not_a_number()
    return mask.view(scores.shape)


def top_index(scores: Tensor, k: int, *, absolute: bool = False) -> Tensor:
    """The flat indices of the ``k`` highest scores, ascending; ties to the lower index."""
    flat, used = _ranked(scores, k)
    if used is None:
        return reference.top_index(flat, k, absolute)
    index = torch.empty(k, dtype=torch.int64)
    arguments = (flat.itemsize, flat, flat.numel(), k, absolute, index, _team(flat))
    if k and used.call("top_index", *arguments):
        raise _not_a_number()
    return index


def strongest_gradient(grad: Tensor, x: Tensor, k: int, *, skip: Tensor | None = None) -> Tensor:
    """Where the gradient ``grad.T @ x`` of a dense linear weight is largest in magnitude, without ever holding it.

    The gradient is computed a block of rows at a time and only what may still be among the ``k`` strongest is kept.

    Args:
        grad: gradient of the layer's output, ``(batch, out)``.
        x: its input, ``(batch, in)``.
        k: how many positions.
        skip: flat positions left out (those already connected), int64, ascending.

    Returns:
        The ``k`` flat positions, ascending; ties to the lower.
    """
    if grad.dim() != 2 or x.dim() != 2 or grad.shape[0] != x.shape[0]:
        shapes = f"{tuple(grad.shape)} and {tuple(x.shape)}"
        raise ValueError(f"`grad` and `x` must be (batch, out) and (batch, in). Got {shapes}.")
    rows, columns = grad.shape[1], x.shape[1]

    def blocks() -> Iterator[tuple[int, Tensor]]:
        high = max(1, _BLOCK // max(1, columns))
        for r in range(0, rows, high):
            yield r * columns, grad[:, r : r + high].T @ x

    return strongest(blocks(), rows * columns, k, skip=skip)


def strongest_conv_gradient(
    grad: Tensor,
    x: Tensor,
    kernel: tuple[int, int],
    k: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    skip: Tensor | None = None,
) -> Tensor:
    """`strongest_gradient` of a convolution's dense weight, a block of output channels at a time.

    Args:
        grad: gradient of the output, ``(batch, out, height, width)``.
        x: the input, ``(batch, in, height, width)``.
        kernel: height and width of the kernel.
    """
    out, group_out, group_in = grad.shape[1], grad.shape[1] // groups, x.shape[1] // groups
    row = group_in * kernel[0] * kernel[1]

    def blocks() -> Iterator[tuple[int, Tensor]]:
        high = max(1, min(group_out, _BLOCK // row))
        for group in range(groups):
            part = x[:, group * group_in : (group + 1) * group_in]
            for c in range(group * group_out, (group + 1) * group_out, high):
                some = grad[:, c : min(c + high, (group + 1) * group_out)]
                like = grad.new_empty(some.shape[1], group_in, *kernel)
                _, dense = reference.conv_backward(like, part, some, stride, padding, 1, (False, True))
                assert dense is not None
                yield c * row, dense

    return strongest(blocks(), out * row, k, skip=skip)


def strongest(blocks: Iterator[tuple[int, Tensor]], numel: int, k: int, *, skip: Tensor | None = None) -> Tensor:
    """The ``k`` flat positions of largest magnitude among blocks ``(first flat position, entries)`` in flat order.

    A running threshold, the k-th best so far, keeps all but a few entries of later blocks out. A later entry that only
    equals the threshold loses the tie, so the answer is that of one selection over all.
    """
    skip = torch.empty(0, dtype=torch.int64) if skip is None else skip
    if skip.dtype != torch.int64 or skip.dim() != 1 or (skip.numel() > 1 and not bool((skip[1:] > skip[:-1]).all())):
        raise ValueError("`skip` must be an ascending 1-D int64 tensor of flat positions.")
    if not 0 <= k <= numel - skip.numel():
        raise ValueError(f"`k` must be in [0, {numel - skip.numel()}], the positions that are free. Got {k}.")
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=skip.device)
    bar, sizes, places = -1.0, [], []
    held = 0
    for first, block in blocks:
        some, where = _above(block.reshape(-1), first, bar, skip)
        sizes.append(some)
        places.append(where)
        held += some.numel()
        if held > 2 * k:
            sizes, places = _narrowed(sizes, places, k)
            held, bar = k, float(sizes[0].min())
    return _narrowed(sizes, places, k)[1][0]


def _narrowed(sizes: list[Tensor], places: list[Tensor], k: int) -> tuple[list[Tensor], list[Tensor]]:
    size, place = torch.cat(sizes), torch.cat(places)
    best = top_index(size, k)
    return [size[best]], [place[best]]


def _above(entries: Tensor, first: int, bar: float, skip: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitudes above the bar and their flat positions, ascending, without those skipped."""
    ends = torch.tensor([first, first + entries.numel()], device=skip.device)
    begin, end = torch.searchsorted(skip, ends).tolist()
    here = skip[begin:end]
    used = native.library() if _compiled(entries) else None
    if used is None:
        size = entries.abs()
        if bool(size.isnan().any()):
            raise _not_a_number()
        chosen = size > bar
        chosen[here - first] = False
        place = chosen.nonzero().squeeze(1)
        return size[place], place + first
    entries = entries.contiguous()
    room = entries.numel()
    size, place = torch.empty_like(entries), torch.empty(room, dtype=torch.int64)
    found = used.call(
        "collect", entries.itemsize, entries, entries.numel(), first, bar, here, here.numel(), size, place,
        room,
    )  # fmt: skip
    if found < 0:
        raise _not_a_number()
    return size[:found].clone(), place[:found].clone()


def _ranked(scores: Tensor, k: int) -> tuple[Tensor, native.Library | None]:
    if not scores.is_floating_point():
        raise TypeError(f"`scores` must be floating point. Got {scores.dtype}.")
    if not 0 <= k <= scores.numel():
        raise ValueError(f"`k` must be in [0, {scores.numel()}], the number of scores. Got {k}.")
    flat = scores.detach().reshape(-1).contiguous()
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    used = native.library() if _compiled(flat) else None
    if used is None and bool(flat.isnan().any()):
        raise _not_a_number()
    return flat, used


def _compiled(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def _team(flat: Tensor) -> int:
    return native.threads(16 * flat.numel())


def _not_a_number() -> ValueError:
    return ValueError("a score is NaN, which has no rank; look for the step at which the loss became NaN.")
