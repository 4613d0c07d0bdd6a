"""A convolution in sparse storage."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.kernels.conv import ConvIndex, conv_backward, conv_forward
from wirings.kernels.index import SparseIndex
from wirings.kernels.stored import computed
from wirings.kernels.work import LANES, outputs, route
from wirings.sparse.layer import SparseLayer
from wirings.sparse.planes import PlaneImages, convolved
from wirings.sparse.values import density_of, drawn, values_of

_LIGHT = 128  # weights for each channel read or written: packing a pixel of one costs about what so many products lose


class SparseConv2d(SparseLayer):
    """A 2-D convolution whose kernels exist only at their connections; no input is ever unfolded.

    Takes and returns what ``nn.Conv2d`` does, in either memory format. Stride 1 or 2, one padding of zeros for all
    sides, groups up to depthwise, no dilation. Made by :func:`wirings.to_sparse`, or by :meth:`from_topology`.

    Example:
        >>> layer = SparseConv2d.from_topology(Topology.full((8, 4, 3, 3)).sample(20, torch.Generator()), padding=1)
        >>> layer(torch.zeros(2, 4, 6, 6)).shape
        torch.Size([2, 8, 6, 6])
    """

    def __init__(
        self,
        support: Support,
        values: Tensor,
        bias: Tensor | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> None:
        # before the base class, which makes the first index
        self._geometry = {"stride": stride, "padding": padding, "groups": groups}
        super().__init__(support, values, bias)
        self.out_channels, self.kernel_size = self.weight_shape[0], self.weight_shape[2:]
        self.in_channels = self.weight_shape[1] * groups

    @staticmethod
    def why_not(layer: nn.Conv2d) -> str:
        """Why a dense layer cannot be one of these; empty where it can."""
        if layer.padding_mode != "zeros":
            return f"its padding mode is {layer.padding_mode!r}, and the kernels pad with zeros only"
        if set(layer.dilation) != {1}:
            return f"its dilation is {tuple(layer.dilation)}, and the kernels have none"
        if len(set(layer.stride)) > 1 or layer.stride[0] not in (1, 2):
            return f"its stride is {tuple(layer.stride)}, and the kernels know 1 and 2, the same both ways"
        if _padding(layer) is None:
            return f"its padding is {layer.padding!r}, and the kernels pad all sides alike"
        return ""

    @classmethod
    def from_dense(cls, layer: nn.Conv2d, support: Support) -> SparseConv2d:
        """The same layer at these connections; its bias is shared, not copied."""
        padding = _padding(layer)
        assert padding is not None, "asked `why_not` before"
        values = values_of(layer.weight, support)
        made = cls(support, values, layer.bias, stride=layer.stride[0], padding=padding, groups=layer.groups)
        return made.train(layer.training)

    @classmethod
    def from_topology(
        cls,
        topology: Topology,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        rng: Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> SparseConv2d:
        """A fresh layer, each unit's values from ``U(-b, b)`` with ``b = 1 / sqrt(its own fan-in)``.

        Args:
            topology: shape ``(out, in / groups, height, width)``.
            stride: 1 or 2.
            padding: zeros on every side.
            groups: blocks of channels that do not see each other.
            bias: whether there is one; it starts at zero.
            rng: where the values come from; seed 0 by default.
            dtype: of the values; torch's default dtype by default.
        """
        if len(topology.shape) != 4:
            raise ValueError(
                f"`topology` of `SparseConv2d` must have shape (out, in / groups, height, width). Got {topology.shape}."
            )
        values = drawn(topology, rng, dtype)
        start = torch.zeros(topology.shape[0], dtype=values.dtype) if bias else None
        return cls(Support.both(topology), values, start, stride=stride, padding=padding, groups=groups)

    def to_dense(self) -> nn.Conv2d:
        """An ``nn.Conv2d`` that computes the same; it shares the bias."""
        sizes = (self.in_channels, self.out_channels, self.kernel_size)
        layer = nn.utils.skip_init(nn.Conv2d, *sizes, bias=self.bias is not None, **self._geometry)  # type: ignore[no-untyped-call]
        layer.weight = nn.Parameter(self.dense_weight(), self.values.requires_grad)
        if self.bias is not None:
            layer.bias = self.bias
        return layer.train(self.training)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        dense = self._is_dense()
        if (not dense or self._is_light() or self._is_short(x)) and (images := convolved(self, x)) is not None:
            return images  # type: ignore[return-value]  # a tensor to whoever asks, inside `keep_planes`
        x = x.tensor() if isinstance(x, PlaneImages) else x
        if dense:
            return F.conv2d(x, self.values.view(self.weight_shape), self.bias, **self._geometry)
        batch = x if x.dim() == 4 else x.unsqueeze(0)
        y = self._product(batch.contiguous(memory_format=_format(batch)))
        return y if x.dim() == 4 else y.squeeze(0)

    def _is_light(self) -> bool:
        """Whether, nothing missing, the sparse kernels still cost less than leaving planes and coming back would."""
        return self.values.numel() <= _LIGHT * (self.in_channels + self.out_channels)

    def _is_short(self, x: Tensor) -> bool:
        """Whether, nothing missing, Winograd's algorithm serves, which torch's own product does not use."""
        if x.dim() != 4 or torch.compiler.is_compiling():
            return False
        stride, groups, panels = self._geometry["stride"], self._geometry["groups"], -(-x.shape[0] // LANES)
        shape, output = tuple(self.weight_shape), self._output_size(x)
        way = route(self.values.numel(), shape, output=output, panels=panels, stride=stride, groups=groups)
        return way == "winograd"

    def extra_repr(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self._geometry.items())
        density = density_of(self.weight_shape, self.values, self.used)
        kernel = tuple(self.kernel_size)
        return f"{self.in_channels}, {self.out_channels}, {kernel}, {told}, bias={self.bias is not None}, {density}"

    def index_of(self, flat: Tensor) -> ConvIndex:
        out, inner, height, width = self.weight_shape
        return ConvIndex((out, inner, height, width), flat, **self._geometry)

    def _multiply(self, index: SparseIndex, values: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
        assert isinstance(index, ConvIndex)
        return conv_forward(index, values, x, bias=bias)

    def _gradients(
        self, index: SparseIndex, values: Tensor, x: Tensor, grad: Tensor, need: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        assert isinstance(index, ConvIndex)
        found = conv_backward(index, values, x, grad, need_x=need[0], need_bias=need[1])
        return found.x, found.values, found.bias

    def _output_size(self, x: Tensor) -> tuple[int, int]:
        stride, padding = self._geometry["stride"], self._geometry["padding"]
        high, wide = (outputs(n, k, stride, padding) for n, k in zip(x.shape[2:], self.kernel_size, strict=True))
        return high, wide

    def _output_like(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], self.out_channels, *self._output_size(x))
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_format(x))

    def gradient_at(self, index: SparseIndex, x: Tensor, grad: Tensor) -> Tensor:
        assert isinstance(index, ConvIndex)
        if index.nnz == index.shape[0] * index.shape[1]:
            return self.gradient_rows(0, index.shape[0], x, grad).reshape(-1)
        return conv_backward(index, x.new_zeros(index.nnz, dtype=computed(x)), x, grad, need_x=False).values

    def gradient_rows(self, first: int, last: int, x: Tensor, grad: Tensor) -> Tensor:
        stride, padding, groups = (self._geometry[name] for name in ("stride", "padding", "groups"))
        outs, ins = self.out_channels // groups, self.weight_shape[1]
        x, grad = x.to(computed(x)), grad.to(computed(grad))
        parts = []
        while first < last:  # a convolution without groups at a time
            group = first // outs
            stop = min(last, (group + 1) * outs)
            seen, some = x[:, group * ins : (group + 1) * ins], grad[:, first:stop]
            shape = (stop - first, *self.weight_shape[1:])
            part: Tensor = conv2d_weight(seen, shape, some, stride=stride, padding=padding)  # type: ignore[no-untyped-call]
            parts.append(part.flatten(1))
            first = stop
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _padding(layer: nn.Conv2d) -> int | None:
    """Zeros on every side; ``None`` where sides differ."""
    if layer.padding == "same":
        sides = {(k - 1) / 2 for k in layer.kernel_size}
        return int(sides.pop()) if len(sides) == 1 and layer.kernel_size[0] % 2 else None
    if isinstance(layer.padding, str):
        return 0
    return layer.padding[0] if len(set(layer.padding)) == 1 else None


def _format(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
