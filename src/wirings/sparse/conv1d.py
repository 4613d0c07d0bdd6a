"""The linear layer of GPT-2 in sparse storage: its weight stands the other way round."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wirings.core.support import Support
from wirings.kernels.index import SparseIndex
from wirings.kernels.linear import linear_backward, linear_forward, sddmm
from wirings.sparse.layer import SparseLayer
from wirings.sparse.values import density_of, values_of


class SparseConv1D(SparseLayer):
    """``y = x @ W + b`` with W of shape ``(in, out)``: what ``transformers`` calls ``Conv1D``, at its connections only.

    Made by :func:`wirings.to_sparse`. Names, shapes and checkpoints stay those of the dense layer; the kernels see the
    transpose, which costs one gather of the values a pass.
    """

    def __init__(self, support: Support, values: Tensor, bias: Tensor | None, kind: type[nn.Module]) -> None:
        super().__init__(support, values, bias)
        self.nx, self.nf = self.weight_shape
        self._kind = kind

    @staticmethod
    def is_dense_equal(kind: type) -> bool:
        """Whether a type is transformers' ``Conv1D``; its package is not imported to find out."""
        return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")

    @staticmethod
    def why_not(layer: nn.Module) -> str:
        """Why a dense layer cannot be one of these; empty where it can."""
        return ""

    @classmethod
    def from_dense(cls, layer: Any, support: Support) -> SparseConv1D:  # Any: transformers is not imported
        """The same layer at these connections; its bias is shared, not copied."""
        return cls(support, values_of(layer.weight, support), layer.bias, type(layer)).train(layer.training)

    def to_dense(self) -> nn.Module:
        """A ``Conv1D`` that computes the same; it shares the bias."""
        layer = self._kind(self.nf, self.nx)
        layer.weight = nn.Parameter(self.dense_weight(), self.values.requires_grad)
        layer.register_parameter("bias", self.bias)
        return layer.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        if self._is_dense():
            y = x @ self.values.view(self.weight_shape)
            return y if self.bias is None else y + self.bias
        y = self._product(x.reshape(-1, self.nx).contiguous())
        return y.view(*x.shape[:-1], self.nf)

    def extra_repr(self) -> str:
        return f"nx={self.nx}, nf={self.nf}, {density_of(self.weight_shape, self.values, self.used)}"

    def _turned(self, index: SparseIndex) -> tuple[SparseIndex, Tensor]:
        """The transposed index, and where each of its connections stands in the index itself."""
        known: tuple[SparseIndex, SparseIndex, Tensor] | None = self.__dict__.get("_turn")
        if known is None or known[0] is not index:
            rows, columns = index.shape
            flat, place = (index.column.long() * rows + index.row).sort()
            known = self.__dict__["_turn"] = (index, SparseIndex((columns, rows), flat), place)
        return known[1], known[2]

    def _multiply(self, index: SparseIndex, values: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
        turned, place = self._turned(index)
        return linear_forward(turned, values[place], x, bias=bias)

    def _gradients(
        self, index: SparseIndex, values: Tensor, x: Tensor, grad: Tensor, need: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        turned, place = self._turned(index)
        found = linear_backward(turned, values[place], x, grad, need_x=need[0], need_bias=need[1])
        return found.x, torch.empty_like(found.values).index_copy_(0, place, found.values), found.bias

    def _output_like(self, x: Tensor) -> Tensor:
        return x.new_empty(x.shape[0], self.nf)

    def _outputs(self) -> int:
        return self.nf

    def gradient_at(self, index: SparseIndex, x: Tensor, grad: Tensor) -> Tensor:
        if index.nnz == index.shape[0] * index.shape[1]:
            return self.gradient_rows(0, index.shape[0], x, grad).reshape(-1)
        return sddmm(index, x, grad)

    def gradient_rows(self, first: int, last: int, x: Tensor, grad: Tensor) -> Tensor:
        return x[:, first:last].T @ grad
