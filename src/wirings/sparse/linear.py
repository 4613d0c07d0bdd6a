"""A linear layer in sparse storage."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.kernels.index import SparseIndex
from wirings.kernels.interleaved import pays
from wirings.kernels.linear import linear_backward, linear_forward, sddmm
from wirings.kernels.stored import DTYPES
from wirings.sparse.layer import SparseLayer
from wirings.sparse.rest import Rest
from wirings.sparse.values import density_of, drawn, values_of


class SparseLinear(SparseLayer):
    """``y = x @ W.T + b`` where W exists only at its connections: memory and time in proportion to them.

    Takes and returns what ``nn.Linear`` does. Made by :func:`wirings.to_sparse` from a dense layer, or straight from a
    topology that never existed densely by :meth:`from_topology`.

    For answering one or two samples at a time, say that the values rest: ``model.eval().requires_grad_(False)``. Few
    connections a unit are then laid out sixteen units side by side (:class:`wirings.kernels.Interleaved`), which costs
    a copy of them. That copy is made anew after whatever torch notices or the layer is told: another wiring, a loaded
    checkpoint, a step in place, ``.to()``, ``train()``.

    Example:
        >>> layer = SparseLinear.from_topology(Topology.full((10**6, 10**6)).sample(1000, torch.Generator()))
        >>> layer.values.numel(), layer.weight_shape
        (1000, (1000000, 1000000))
    """

    def __init__(self, support: Support, values: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(support, values, bias)
        self.out_features, self.in_features = self.weight_shape

    @staticmethod
    def why_not(layer: nn.Linear) -> str:
        """Why a dense layer cannot be one of these; empty where it can."""
        return ""

    @classmethod
    def from_dense(cls, layer: nn.Linear, support: Support) -> SparseLinear:
        """The same layer at these connections; its bias is shared, not copied."""
        return cls(support, values_of(layer.weight, support), layer.bias).train(layer.training)

    @classmethod
    def from_topology(
        cls,
        topology: Topology,
        *,
        bias: bool = True,
        rng: Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> SparseLinear:
        """A fresh layer, each unit's values from ``U(-b, b)`` with ``b = 1 / sqrt(its own fan-in)``.

        Nothing of the size of the dense weight is ever made.

        Args:
            topology: shape ``(out, in)``.
            bias: whether there is one; it starts at zero.
            rng: where the values come from; seed 0 by default.
            dtype: of the values; torch's default dtype by default.
        """
        if len(topology.shape) != 2:
            raise ValueError(f"`topology` of `SparseLinear` must have shape (out, in). Got {topology.shape}.")
        values = drawn(topology, rng, dtype)
        start = torch.zeros(topology.shape[0], dtype=values.dtype) if bias else None
        return cls(Support.both(topology), values, start)

    def to_dense(self) -> nn.Linear:
        """An ``nn.Linear`` that computes the same; it shares the bias."""
        layer = nn.utils.skip_init(nn.Linear, self.in_features, self.out_features, bias=self.bias is not None)  # type: ignore[no-untyped-call]
        layer.weight = nn.Parameter(self.dense_weight(), self.values.requires_grad)
        if self.bias is not None:
            layer.bias = self.bias
        return layer.train(self.training)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        if self._is_dense():
            return F.linear(x, self.values.view(self.weight_shape), self.bias)
        flat = x.reshape(-1, self.in_features).contiguous()
        y = self._product(flat) if torch.is_grad_enabled() or not self._can_answer(flat) else self._answer(flat)
        return y.view(*x.shape[:-1], self.out_features)

    def train(self, mode: bool = True) -> Self:
        self._rest = Rest()  # the one moment at which writing through `.data` is noticed
        return super().train(mode)

    def _can_answer(self, x: Tensor) -> bool:
        """Whether the kernels may be called as they are: no graph, no conversion, no part of the values."""
        return (
            not torch.compiler.is_compiling()
            and self.used is None
            and x.dtype == self.values.dtype
            and x.dtype in DTYPES
            and x.is_cpu
            and not torch.is_autocast_enabled("cpu")
        )

    def _answer(self, x: Tensor) -> Tensor:
        """The result where no gradient will be asked for."""
        index, values = self.index, self.values
        laid = None
        if not (self.training or values.requires_grad) and pays(index, x.shape[0], x.itemsize):
            laid = self._rest.laid_out(index, values)
        return linear_forward(index, values, x, bias=self.bias) if laid is None else laid.forward(x, bias=self.bias)

    def _forget_all(self) -> None:
        super()._forget_all()
        self._rest = Rest()

    def extra_repr(self) -> str:
        density = density_of(self.weight_shape, self.values, self.used)
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, {density}"

    def _multiply(self, index: SparseIndex, values: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
        return linear_forward(index, values, x, bias=bias)

    def _gradients(
        self, index: SparseIndex, values: Tensor, x: Tensor, grad: Tensor, need: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        found = linear_backward(index, values, x, grad, need_x=need[0], need_bias=need[1])
        return found.x, found.values, found.bias

    def _output_like(self, x: Tensor) -> Tensor:
        return x.new_empty(x.shape[0], self.out_features)

    def gradient_at(self, index: SparseIndex, x: Tensor, grad: Tensor) -> Tensor:
        if index.nnz == math.prod(index.shape):
            return self.gradient_rows(0, index.shape[0], x, grad).reshape(-1)
        return sddmm(index, grad, x)

    def gradient_rows(self, first: int, last: int, x: Tensor, grad: Tensor) -> Tensor:
        return grad[:, first:last].T @ x
