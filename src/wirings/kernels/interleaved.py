"""The inference layout for one or two samples: sixteen rows side by side (SELL-16).

With so few samples there is nothing to stream; each connection gathers one number. Sixteen rows of nearly equal
length, interleaved, share every vector instruction and need no sum across lanes. Rows are ordered by their number of
connections, so hardly any lane waits. The values are a copy, so this pays where they do not change between calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wirings.kernels import native
from wirings.kernels.index import SparseIndex, place_dtype
from wirings.kernels.linear import linear_forward
from wirings.kernels.stored import compiled

LANES = 16
_FEW = 1024  # bytes of values a row; with more of them single rows fill vectors as well, and memory is the limit


class Interleaved:
    """A sparse matrix laid out for `forward` on batches of one or two.

    Example:
        >>> index = SparseIndex((2, 3), torch.tensor([0, 2, 5]))
        >>> Interleaved(index, torch.tensor([1.0, 2.0, 3.0])).forward(torch.tensor([[1.0, 10.0, 100.0]]))
        tensor([[201., 300.]])

    Args:
        index: connections, shape ``(rows, columns)``.
        values: ``(nnz,)`` in the order of the index; copied.
    """

    def __init__(self, index: SparseIndex, values: Tensor) -> None:
        self.index = index
        rows = index.shape[0]
        lengths = index.pointer.diff()
        order = lengths.argsort(descending=True, stable=True)
        groups = -(-rows // LANES)
        # Lanes past the last row repeat its length, read feature 0 times 0, and are never written.
        last = order[-1:].expand(groups * LANES - rows)
        padded = lengths[torch.cat((order, last))]
        steps = padded.view(groups, LANES).amax(1) if groups else padded
        self.start = torch.zeros(groups + 1, dtype=torch.int64)
        self.start[1:] = steps.cumsum(0)
        self.length = padded.to(torch.int32)
        self.order = torch.cat((order, order.new_full((len(last),), rows))).to(torch.int32)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(rows)
        row = index.row
        step = torch.arange(index.nnz) - index.pointer[row]
        slot = (self.start[rank[row] // LANES] + step) * LANES + rank[row] % LANES
        slots = int(self.start[-1]) * LANES
        column = torch.zeros(slots, dtype=torch.int32).index_put((slot,), index.column.int())
        self.column = column.to(index.column.dtype)
        self._slot = slot.to(place_dtype(slots))
        self.refresh(values)

    def refresh(self, values: Tensor) -> None:
        """Takes other values for the same connections."""
        if values.shape != (self.index.nnz,):
            raise ValueError(f"`values` must have shape ({self.index.nnz},). Got {tuple(values.shape)}.")
        self._values = values.detach().contiguous()
        self.value = values.new_zeros(self.column.numel())
        self.value[self._slot.long()] = self._values

    def forward(self, x: Tensor, *, bias: Tensor | None = None, relu: bool = False) -> Tensor:
        """``relu(x @ W.T + bias)``; larger batches go to `linear_forward`."""
        used = compiled(x)
        batch, (rows, columns) = x.shape[0], self.index.shape
        fits = x.dim() == 2 and batch in (1, 2) and x.shape[1] == columns
        alike = all(t.dtype == x.dtype for t in (self.value, *([] if bias is None else [bias])))
        if used is None or not fits or not alike or (bias is not None and bias.shape != (rows,)):
            return linear_forward(self.index, self._values, x, bias=bias, relu=relu)
        x, bias = x.contiguous(), None if bias is None else bias.contiguous()
        y = x.new_empty(batch, rows)
        used.call(
            "sell", x.itemsize, self.column.itemsize, self.start, self.column, self.value, self.length,
            self.order, bias, relu, x, y, batch, len(self.start) - 1, rows, columns,
            native.threads(4 * batch * self.index.nnz),
        )  # fmt: skip
        return y


def pays(index: SparseIndex, batch: int, itemsize: int = 4) -> bool:
    """Whether this layout answers so many samples faster than `linear_forward` does, by more than a few percent.

    Measured with AVX-512 on an AMD EPYC at batch 1, float32: 2.2 times as fast with 41 connections a row, 1.4 with 205,
    1.15 with 287, 0.9 with 410; float64: 1.2 with 123, 0.8 with 205.
    """
    compiled = native.available() and index.device.type == "cpu"
    row = max(itemsize, 4) * index.nnz
    return compiled and 1 <= batch <= 2 and 0 < row < _FEW * index.shape[0]
