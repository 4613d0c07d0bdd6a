"""The index of a sparse matrix as the kernels read it: compressed rows, their transpose, and how the two permute.

Everything a kernel will trust is checked here, once, when an index is built: range, order, number. The values of a
sparse weight are a plain 1-D tensor in the order of the index, which is ascending flat order (row by row).
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from wirings.kernels import native

_MOST_FEATURES = 2**31 - 1


class Transposed(NamedTuple):
    """The same connections column by column: rows ascend within a column.

    ``place[k]`` is where the k-th of them stands in the index itself: ``values[place]`` are the values in this order.
    """

    pointer: Tensor  # (columns + 1,) int64
    row: Tensor  # (nnz,) uint16 or int32
    place: Tensor  # (nnz,) int32 or int64


class SparseIndex:
    """Where the connections of a matrix of shape ``(rows, columns)`` are; immutable.

    A linear weight is ``(out, in)``; a convolution's ``(out, in / groups, height, width)`` weight is read as
    ``(out, in / groups * height * width)``, which keeps its flat index.

    Example:
        >>> index = SparseIndex((2, 3), torch.tensor([0, 2, 5]))  # entries (0, 0), (0, 2), (1, 2)
        >>> index.pointer.tolist(), index.column.tolist()
        ([0, 2, 3], [0, 2, 2])

    Args:
        shape: rows and columns, each at most 2**31 - 1.
        flat: ``row * columns + column`` of every connection, int64, strictly ascending.

    Raises:
        ValueError: an entry outside the shape, out of order or double.
        TypeError: `flat` is not a 1-D int64 tensor.
    """

    __slots__ = ("__dict__", "column", "nnz", "pointer", "shape")

    def __init__(self, shape: tuple[int, int], flat: Tensor) -> None:
        rows, columns = _checked_shape(shape)
        if not isinstance(flat, Tensor) or flat.dtype != torch.int64 or flat.dim() != 1:
            got = f"{flat.dtype} {tuple(flat.shape)}" if isinstance(flat, Tensor) else type(flat).__name__
            raise TypeError(f"`flat` of `SparseIndex` must be a 1-D int64 tensor. Got {got}.")
        self.shape = (rows, columns)
        self.nnz = flat.numel()
        self.pointer, self.column = _compress(flat.contiguous(), rows, columns)

    @cached_property
    def transposed(self) -> Transposed:
        """The index column by column, built by counting sort when first asked for."""
        return _transpose(self)

    @cached_property
    def row(self) -> Tensor:
        """The row of every connection, int64, shape ``(nnz,)``."""
        rows = torch.arange(self.shape[0], device=self.pointer.device)
        return rows.repeat_interleave(self.pointer.diff(), output_size=self.nnz)

    def flat(self) -> Tensor:
        """The flat index this was built from, int64."""
        return self.row * self.shape[1] + self.column.long()

    @property
    def device(self) -> torch.device:
        return self.pointer.device

    def to(self, device: torch.device | str) -> SparseIndex:
        """This index on another device."""
        moved = SparseIndex.__new__(SparseIndex)
        moved.shape, moved.nnz = self.shape, self.nnz
        moved.pointer, moved.column = self.pointer.to(device), self.column.to(device)
        return moved

    def __reduce__(self) -> tuple[object, ...]:
        # Copies and pickles are built, and so checked, anew; torch cannot pickle uint16 tensors anyway.
        return SparseIndex, (self.shape, self.flat())

    def __repr__(self) -> str:
        return f"SparseIndex(shape={self.shape}, nnz={self.nnz})"


def index_dtype(extent: int) -> torch.dtype:
    """The narrowest of uint16 and int32 that numbers ``extent`` features."""
    return torch.uint16 if extent <= 65536 else torch.int32


def place_dtype(nnz: int) -> torch.dtype:
    """The narrowest of int32 and int64 that numbers ``nnz`` connections."""
    return torch.int32 if nnz <= _MOST_FEATURES else torch.int64


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or not all(isinstance(n, int) and 0 <= n <= _MOST_FEATURES for n in shape):
        raise ValueError(f"`shape` of `SparseIndex` must be two numbers in [0, {_MOST_FEATURES}]. Got {tuple(shape)}.")
    return shape


def _compress(flat: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    used = native.library() if flat.device.type == "cpu" else None
    if used is None:
        return _compress_in_torch(flat, rows, columns)
    pointer = torch.empty(rows + 1, dtype=torch.int64)
    column = torch.empty(flat.numel(), dtype=index_dtype(columns))
    wrong = used.call("compress", column.itemsize, flat, flat.numel(), rows, columns, pointer, column)
    if wrong:
        raise _misplaced(flat, wrong - 1, rows, columns)
    return pointer, column


def _compress_in_torch(flat: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    wrong = (flat < 0) | (flat >= rows * columns)
    wrong[1:] |= flat[1:] <= flat[:-1]
    if wrong.any():
        raise _misplaced(flat, int(wrong.nonzero()[0]), rows, columns)
    row = flat.div(max(columns, 1), rounding_mode="floor")
    pointer = torch.zeros(rows + 1, dtype=torch.int64, device=flat.device)
    pointer[1:] = torch.bincount(row, minlength=rows).cumsum(0)
    return pointer, (flat - row * columns).to(index_dtype(columns))


def _misplaced(flat: Tensor, at: int, rows: int, columns: int) -> ValueError:
    entry = int(flat[at])
    if not 0 <= entry < rows * columns:
        return ValueError(f"entry {at} of the index is {entry}, outside a weight of shape ({rows}, {columns}).")
    before = int(flat[at - 1])
    kind = "twice in the index" if entry == before else f"out of order: entry {at} is {entry} after {before}"
    return ValueError(
        f"connection {entry} is {kind}; an index must ascend strictly. Sort it with `torch.unique(index)` first."
    )


def _transpose(index: SparseIndex) -> Transposed:
    rows, columns = index.shape
    used = native.library() if index.device.type == "cpu" else None
    if used is None:
        place = index.column.long().argsort(stable=True)
        pointer = torch.zeros(columns + 1, dtype=torch.int64, device=index.device)
        pointer[1:] = torch.bincount(index.column.long(), minlength=columns).cumsum(0)
        return Transposed(pointer, index.row[place].to(index_dtype(rows)), place.to(place_dtype(index.nnz)))
    pointer = torch.empty(columns + 1, dtype=torch.int64)
    row = torch.empty(index.nnz, dtype=index_dtype(rows))
    place = torch.empty(index.nnz, dtype=place_dtype(index.nnz))
    used.call(
        "transpose", index.column.itemsize, row.itemsize, place.itemsize, index.pointer, index.column,
        rows, columns, pointer, row, place,
    )  # fmt: skip
    return Transposed(pointer, row, place)
