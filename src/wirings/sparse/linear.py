"""A linear layer in sparse storage."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.kernels.index import SparseIndex
from wirings.kernels.linear import linear_backward, linear_forward, sddmm
from wirings.sparse.layer import SparseLayer
from wirings.sparse.values import density_of, drawn, values_of


class SparseLinear(SparseLayer):
    """``y = x @ W.T + b`` where W exists only at its connections: memory and time in proportion to them.

    Takes and returns what ``nn.Linear`` does. Made by :func:`wirings.to_sparse` from a dense layer, or straight from a
    topology that never existed densely by :meth:`from_topology`.

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
        y = self._product(x.reshape(-1, self.in_features).contiguous())
        return y.view(*x.shape[:-1], self.out_features)

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
