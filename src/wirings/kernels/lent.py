"""Large buffers for activations, lent and taken back, so that their memory stays mapped from step to step.

An allocator gives tens of megabytes back to the system as soon as they are free, and the next step pays for every page
of them again: at batch 128 that took longer than the products of a 99 % sparse convolution. Together, buffers that are
lent and buffers that wait take little more than what was lent at the most (:data:`ROOM`), so that evaluating on other
batches costs no memory of its own; and no more than :data:`MOST` is kept while nobody uses it.
"""

from __future__ import annotations

import weakref
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEAST = 1 << 20
"""Bytes from which on a buffer is kept; smaller ones the allocator keeps by itself."""

MOST = 1 << 30
"""Bytes that are kept at most while nobody uses them."""

ROOM = 1.75
"""What may lie in memory, as a multiple of what was lent at the most, before what waited longest is given up. So little
that evaluating adds nothing to training; with less, steps of small convolutional networks would wait for memory."""

_LINE = 64  # bytes of a cache line
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_kept: dict[int, list[_Bytes]] = {}  # by size; the one that was used last comes last
_loans: dict[int, _Loan] = {}
_most = 0  # bytes that were lent when memory was last asked for, at the most


def lent(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised contiguous tensor, on a cache line; its memory comes back here when nobody holds it any more."""
    size = prod(shape) * dtype.itemsize
    if size < LEAST:
        return torch.empty(shape, dtype=dtype)
    try:
        shelf = _kept.pop(size)
        _kept[size] = shelf
        buffer = shelf.pop()
    except (KeyError, IndexError):
        _make_room(size)
        buffer = np.empty(size + _LINE, dtype=np.uint8)
        buffer = buffer[-buffer.ctypes.data % _LINE :][:size]
    handed = buffer[:]  # torch holds this very array for as long as a tensor uses the memory, and nobody else does
    loan = _Loan(handed, _take_back)
    loan.buffer = buffer
    _loans[id(loan)] = loan
    return torch.from_numpy(handed).view(dtype).view(shape)


def _make_room(more: int) -> None:
    """Gives up what waited longest, where so many more bytes would be too many."""
    global _most
    used = more + sum(loan.buffer.nbytes for loan in list(_loans.values()))
    _most = max(_most, used)
    spare = used + kept() - ROOM * _most
    for size, shelf in list(_kept.items()):
        while spare > 0 and shelf:
            shelf.pop()
            spare -= size


def kept() -> int:
    """Bytes that wait to be lent again."""
    return sum(size * len(shelf) for size, shelf in list(_kept.items()))


def forget() -> None:
    """Give everything that waits back to the system."""
    global _most
    _kept.clear()
    _most = 0


class _Loan(weakref.ref[_Bytes]):
    """Notices that nobody holds an array any more."""

    __slots__ = ("buffer",)
    buffer: _Bytes


def _take_back(loan: Any) -> None:
    del _loans[id(loan)]
    size = loan.buffer.nbytes
    if kept() + size > MOST:
        _kept.clear()  # shapes of another batch or model, most likely
    if size <= MOST:
        _kept.setdefault(size, []).append(loan.buffer)
