"""Sparse convolutions: forward, input gradient and weight gradient on plain tensors and on planes.

Sixteen samples, of bfloat16 32, lie side by side in *planes* ``(panel, channel, height + 2 halo, width + 2 halo,
samples)`` whose halo is zero, so that a connection is one address shift and no input is ever unfolded; in forward
passes of a few samples, pixels lie side by side instead. Kernels of any size, stride 1 or 2, any padding, groups up to
depthwise; no dilation. As with panels, lanes past the batch hold anything finite in activations and zero in gradients.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from wirings.kernels import native, reference
from wirings.kernels.index import SparseIndex, Transposed, index_dtype, place_dtype
from wirings.kernels.lent import lent
from wirings.kernels.linear import first_level_cache, second_level_cache
from wirings.kernels.stored import as_stored, check_alike, compiled, computed, given, sums
from wirings.kernels.work import LANES, ROUTES, few_images, outputs, route

_MOST_ELEMENTS = 2**31 - 1  # of one panel: shifts are int32


class ConvGradients(NamedTuple):
    """What a sparse convolution sends back; ``None`` where it was not asked for."""

    x: Tensor | None
    values: Tensor
    bias: Tensor | None


class PlanesGradients(NamedTuple):
    """The same in planes."""

    x: Planes | None
    values: Tensor
    bias: Tensor | None


def lanes_of(dtype: torch.dtype) -> int:
    """Samples side by side in planes: as many as fill a line of the cache with bfloat16 or float32."""
    return 2 * LANES if dtype == torch.bfloat16 else LANES


@dataclass(frozen=True, eq=False)
class Planes:
    """A batch of images in planes.

    Args:
        data: ``(panel, channel, height + 2 halo, width + 2 halo, lanes)``, contiguous, the halo zero; see `lanes_of`.
        batch: samples; the last panel's lanes beyond it are padding.
        halo: width of the zero border.
    """

    data: Tensor
    batch: int
    halo: int

    def __post_init__(self) -> None:
        d, h, lanes = self.data, self.halo, lanes_of(self.data.dtype)
        if d.dim() != 5 or d.shape[4] != lanes or d.shape[2] < 2 * h or d.shape[3] < 2 * h or not d.is_contiguous():
            shape = tuple(d.shape)
            raise ValueError(
                f"`data` of `Planes` must be contiguous (panels, channels, height, width, {lanes}). Got {shape}."
            )
        if d.shape[0] != -(-self.batch // lanes) or h < 0:
            raise ValueError(
                f"{self.batch} samples need {-(-self.batch // lanes)} panels of {lanes}. Got {d.shape[0]}."
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Batch, channels, height, width: that of the plain tensor."""
        _, channels, height, width, _ = self.data.shape
        return self.batch, channels, height - 2 * self.halo, width - 2 * self.halo


class ConvIndex(SparseIndex):
    """Where the connections of a convolution's ``(out, in / groups, height, width)`` weight are, and how it is applied.

    Args:
        shape: of the weight.
        flat: ascending flat index into it.
        stride: 1 or 2, in both directions.
        padding: zeros around the input, in both directions.
        groups: blocks of channels that do not see each other; the number of channels is depthwise.
    """

    __slots__ = ("groups", "in_channels", "kernel", "padding", "stride")

    def __init__(
        self, shape: tuple[int, int, int, int], flat: Tensor, *, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> None:
        out, group_in, *kernel = shape
        if stride not in (1, 2):
            raise ValueError(f"`stride` of `ConvIndex` must be 1 or 2. Got {stride}; run this layer masked.")
        if padding < 0 or groups < 1 or out % groups or min(shape) < 1:
            raise ValueError(f"no convolution has a weight {shape}, padding {padding} and {groups} groups.")
        super().__init__((out, group_in * kernel[0] * kernel[1]), flat)
        self.kernel = (kernel[0], kernel[1])
        self.in_channels = group_in * groups
        self.stride, self.padding, self.groups = stride, padding, groups

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """``(out, in / groups, height, width)``."""
        return (self.shape[0], self.in_channels // self.groups, *self.kernel)

    @cached_property
    def by_input(self) -> Transposed:
        """Connections by input channel and, for stride 2, by the parities of their tap (compiled kernels only)."""
        used = native.library()
        assert used is not None
        pointer = torch.empty(self.in_channels * self.stride**2 + 1, dtype=torch.int64)
        row = torch.empty(self.nnz, dtype=index_dtype(self.shape[0]))
        place = torch.empty(self.nnz, dtype=place_dtype(self.nnz))
        used.call(
            "conv_transpose", self.column.itemsize, row.itemsize, place.itemsize, self.pointer,
            self.column, self.shape[0], self.in_channels, self.groups, *self.kernel, self.stride, pointer,
            row, place,
        )  # fmt: skip
        return Transposed(pointer, row, place)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output."""
        sizes = [outputs(n, k, self.stride, self.padding) for n, k in zip((height, width), self.kernel, strict=True)]
        if min(sizes) < 1:
            kernel = f"a kernel of {self.kernel} and padding {self.padding}"
            raise ValueError(f"images of {height} x {width} are too small for {kernel}.")
        return sizes[0], sizes[1]

    def gradient_halo(self, height: int, width: int) -> int:
        """The halo that `conv_planes_backward` needs around the output's gradient to walk over it without a test."""
        need = 0
        outputs = self.output_size(height, width)
        for kernel, extent, out in zip(self.kernel, (height, width), outputs, strict=True):
            for parity in range(self.stride):
                first = (parity - self.padding) % self.stride
                under = (first + self.padding - parity) // self.stride
                count = -(-(extent - first) // self.stride)
                need = max(need, (kernel - 1 - parity) // self.stride - under, under + count - out)
        return need

    def to(self, device: torch.device | str) -> ConvIndex:
        moved = ConvIndex.__new__(ConvIndex)
        for name in ("shape", "nnz", "kernel", "in_channels", "stride", "padding", "groups"):
            setattr(moved, name, getattr(self, name))
        moved.pointer, moved.column = self.pointer.to(device), self.column.to(device)
        return moved

    def __reduce__(self) -> tuple[object, ...]:
        build = partial(ConvIndex, stride=self.stride, padding=self.padding, groups=self.groups)
        return build, (self.weight_shape, self.flat())

    def dense(self, values: Tensor) -> Tensor:
        """The weight with zeros where there are no connections."""
        weight = values.new_zeros(self.shape[0] * self.shape[1])
        return weight.index_put((self.flat(),), values).view(self.weight_shape)


def conv_forward(
    index: ConvIndex, values: Tensor, x: Tensor, *, bias: Tensor | None = None, relu: bool = False
) -> Tensor:
    """A sparse convolution on ``(batch, channels, height, width)``; the result has the input's memory format.

    Values and bias of another dtype than a bfloat16 input are rounded to it.
    """
    if compiled(x) is None or _is_widened(x):
        _, _, height, width = _check_images(index, x.shape)
        index.output_size(height, width)
        check_alike("values", values, (index.nnz,), x, wider=True)
        _check_bias(bias, index, x)
        wide = computed(x)
        own, start = as_stored(values, x).to(wide), None if bias is None else as_stored(bias, x).to(wide)
        if compiled(x) is not None:
            return conv_forward(index, own, x.to(wide), bias=start, relu=relu).to(x.dtype)
        how = index.stride, index.padding, index.groups
        return reference.conv(index.dense(own), x.to(wide), *how, start, relu).to(x.dtype)
    if few_images(x.shape[0]):
        return _few_forward(index, values, x, bias, relu)
    y = conv_planes_forward(index, values, to_planes(x, halo=index.padding), bias=bias, relu=relu)
    return from_planes(y, channels_last=_is_channels_last(x))


def _few_forward(index: ConvIndex, values: Tensor, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """The same where samples are too few to lie side by side: pixels do."""
    batch, channels, height, width = _check_images(index, x.shape)
    out = index.output_size(height, width)
    check_alike("values", values, (index.nnz,), x)
    _check_bias(bias, index, x)
    p, s = index.padding, index.stride
    numbers = (
        1, channels, index.shape[0], index.groups, *index.kernel, s, p, height, width, 0, *out, 0, 0, 0
    )  # fmt: skip
    flat = channels * (height + 2 * p + s) * (width + 2 * p + s)
    if flat > _MOST_ELEMENTS:
        raise ValueError(f"images of {tuple(x.shape[1:])} are too large for the kernels; run this layer masked.")
    used = compiled(x)
    assert used is not None
    last = _is_channels_last(x)
    x = x if last else x.contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    y = torch.empty((batch, index.shape[0], *out), dtype=x.dtype, memory_format=layout)
    values, bias = values.contiguous(), None if bias is None else bias.contiguous()
    used.call(
        "conv_few", x.itemsize, index.column.itemsize, (ctypes.c_int64 * len(numbers))(*numbers), index.pointer,
        index.column, values, bias, relu, x.data_ptr(), y.data_ptr(), batch, last,
        native.threads(batch * index.nnz * out[0] * out[1]),
    )  # fmt: skip
    return y


def conv_backward(
    index: ConvIndex,
    values: Tensor,
    x: Tensor,
    grad: Tensor,
    *,
    output: Tensor | None = None,
    need_x: bool = True,
    need_bias: bool = False,
) -> ConvGradients:
    """Gradients of `conv_forward`; ``output`` is its result where that ended in ReLU."""
    batch, _, height, width = _check_images(index, x.shape)
    shape = (batch, index.shape[0], *index.output_size(height, width))
    check_alike("values", values, (index.nnz,), x, wider=True)
    for name, tensor in (("grad", grad), ("output", output)):
        if tensor is not None:
            check_alike(name, tensor, shape, x)
    wide = computed(x)
    if compiled(x) is not None and _is_widened(x):
        own, ended = as_stored(values, x).to(wide), None if output is None else output.to(wide)
        back = conv_backward(index, own, x.to(wide), grad.to(wide), output=ended, need_x=need_x, need_bias=need_bias)
        return ConvGradients(None if back.x is None else back.x.to(x.dtype), *given(back.values, back.bias, values))
    if compiled(x) is None:
        grad = reference.masked(grad, output).to(wide)
        weight = index.dense(as_stored(values, x).to(wide))
        gx, gw = reference.conv_backward(
            weight, x.to(wide), grad, index.stride, index.padding, index.groups, (need_x, True)
        )
        assert gw is not None
        found_values, gb = given(gw.reshape(-1)[index.flat()], grad.sum((0, 2, 3)) if need_bias else None, values)
        return ConvGradients(None if gx is None else gx.to(x.dtype), found_values, gb)
    halo = index.gradient_halo(height, width) if need_x else 0
    found = conv_planes_backward(
        index,
        values,
        to_planes(x, halo=index.padding),
        to_planes(grad, halo=halo),
        output=None if output is None else to_planes(output, halo=halo),
        need_x=need_x,
        need_bias=need_bias,
    )
    gx = None if found.x is None else from_planes(found.x, channels_last=_is_channels_last(x))
    return ConvGradients(gx, found.values, found.bias)


def conv_planes_forward(
    index: ConvIndex,
    values: Tensor,
    x: Planes,
    *,
    bias: Tensor | None = None,
    relu: bool = False,
    halo: int | None = None,
) -> Planes:
    """`conv_forward` from planes to planes; the result's halo is the input's unless told otherwise."""
    batch, _, height, width = _check_images(index, x.shape)
    check_alike("values", values, (index.nnz,), x.data, wider=True)
    _check_bias(bias, index, x.data)
    out_height, out_width = index.output_size(height, width)
    halo = x.halo if halo is None else halo
    used = compiled(x.data)
    if used is None:
        return _planes(conv_forward(index, values, _plain(x), bias=bias, relu=relu), batch, halo)
    x = with_halo(x, index.padding) if x.halo < index.padding else x
    shape = (x.data.shape[0], index.shape[0], out_height + 2 * halo, out_width + 2 * halo, x.data.shape[4])
    out = lent(shape, x.data.dtype)
    y = Planes(out, batch, halo)
    values, bias = as_stored(values, out), None if bias is None else as_stored(bias, out)
    used.call(
        "conv_forward", out.itemsize, index.column.itemsize, _geometry(index, x, y), index.pointer,
        index.column, values, bias, relu, _route(index, y), x.data, out,
        native.threads(index.nnz * out_height * out_width * out.shape[0] * out.shape[4]),
    )  # fmt: skip
    return y


def conv_planes_backward(
    index: ConvIndex,
    values: Tensor,
    x: Planes,
    grad: Planes,
    *,
    output: Planes | None = None,
    onto: Tensor | None = None,
    need_x: bool = True,
    need_bias: bool = False,
) -> PlanesGradients:
    """Gradients of `conv_planes_forward`; lanes of ``grad`` past the batch must be zero.

    The input's gradient has the input's halo.

    Args:
        output: the result, where it ended in ReLU; masks the gradient.
        onto: planes as the input's, to which its gradient is added on the way (what else used the input).
        need_x: whether the input's gradient is wanted.
        need_bias: whether the bias gradient is wanted.
    """
    batch, _, height, width = _check_images(index, x.shape)
    shape = (batch, index.shape[0], *index.output_size(height, width))
    check_alike("values", values, (index.nnz,), x.data, wider=True)
    for name, planes in (("grad", grad), ("output", output)):
        if planes is not None and planes.shape != shape:
            raise ValueError(f"`{name}` must have shape {shape}. Got {planes.shape}.")
        if planes is not None:
            check_alike(name, planes.data, tuple(planes.data.shape), x.data)
    if onto is not None:
        check_alike("onto", onto, tuple(x.data.shape), x.data)
    used = compiled(x.data)
    if used is None:
        own, seen, sent = (t.to(computed(t)) for t in (as_stored(values, x.data), _plain(x), _plain(grad)))
        plain = None if output is None else _plain(output).to(seen.dtype)
        found = conv_backward(index, own, seen, sent, output=plain, need_x=need_x, need_bias=need_bias)
        gx = None
        if found.x is not None:
            whole = found.x if onto is None else found.x + _plain(replace(x, data=onto))
            gx = _planes(whole.to(x.data.dtype), batch, x.halo)
        return PlanesGradients(gx, *given(found.values, found.bias, values))
    grad, gb = _masked(used, grad, output, need_bias)
    padded = with_halo(x, index.padding) if x.halo < index.padding else x
    halo = index.gradient_halo(height, width) if need_x else 0
    grad = with_halo(grad, halo) if grad.halo < halo else grad
    stored = as_stored(values, x.data)
    team = native.threads(index.nnz * shape[2] * shape[3] * x.data.shape[0] * x.data.shape[4])
    gradient, gx = sums(index.nnz, x.data), None
    way = _route(index, grad)
    used.call(
        "conv_weight", stored.itemsize, index.column.itemsize, _geometry(index, padded, grad),
        index.pointer, index.column, padded.data, grad.data, way, gradient, team,
    )  # fmt: skip
    if need_x:
        turned, gx = index.by_input, replace(x, data=lent(x.data.shape, x.data.dtype))
        used.call(
            "conv_input_onto", stored.itemsize, index.column.itemsize, turned.row.itemsize,
            turned.place.itemsize, _geometry(index, x, grad), turned.pointer, turned.row, turned.place,
            index.column, stored, grad.data, None if onto is None else onto.contiguous(), way, gx.data,
            team,
        )  # fmt: skip
    return PlanesGradients(gx, *given(gradient, gb, values))


def to_planes(x: Tensor, *, halo: int = 0) -> Planes:
    """``(batch, channels, height, width)``, in either memory format, to planes; padding lanes are zero."""
    if x.dim() != 4 or not x.is_floating_point() or halo < 0:
        got = f"{x.dtype} {tuple(x.shape)}"
        raise ValueError(f"`x` must be floating point (batch, channels, height, width). Got {got}.")
    used = compiled(x)
    if used is None:
        return _planes(x, x.shape[0], halo)
    last = _is_channels_last(x)
    x = x if last else x.contiguous()
    batch, channels, height, width = x.shape
    lanes = lanes_of(x.dtype)
    data = lent((-(-batch // lanes), channels, height + 2 * halo, width + 2 * halo, lanes), x.dtype)
    used.call(
        "to_planes", x.itemsize, x.data_ptr(), data, batch, channels, height, width, halo, last,
        native.threads(x.numel()),
    )  # fmt: skip
    return Planes(data, batch, halo)


def from_planes(planes: Planes, *, channels_last: bool = False) -> Tensor:
    """Planes back to ``(batch, channels, height, width)``."""
    used = compiled(planes.data)
    if used is None:
        return _plain(planes)
    batch, channels, height, width = planes.shape
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.empty(planes.shape, dtype=planes.data.dtype, memory_format=layout)
    used.call(
        "from_planes", x.itemsize, planes.data, x.data_ptr(), batch, channels, height, width, planes.halo,
        channels_last, native.threads(x.numel()),
    )  # fmt: skip
    return x


def with_halo(planes: Planes, halo: int) -> Planes:
    """The same images with another halo."""
    if halo == planes.halo:
        return planes
    d = halo - planes.halo
    return Planes(F.pad(planes.data, (0, 0, d, d, d, d)).contiguous(), planes.batch, halo)


def _masked(used: native.Library, grad: Planes, output: Planes | None, need_bias: bool) -> tuple[Planes, Tensor | None]:
    if output is None and not need_bias:
        return grad, None
    panels, channels, height, width, lanes = grad.data.shape
    gb = sums(channels, grad.data) if need_bias else None
    if output is not None:
        output = with_halo(output, grad.halo)
    kept = None if output is None else lent(grad.data.shape, grad.data.dtype)
    used.call(
        "mask_panels", grad.data.itemsize, None if output is None else output.data, grad.data, kept, gb,
        panels, channels, height * width * lanes, native.threads(grad.data.numel()),
    )  # fmt: skip
    return (grad if kept is None else replace(grad, data=kept)), gb


def _route(index: ConvIndex, y: Planes) -> int:
    panels, half = y.data.shape[0] * y.data.shape[4] // LANES, y.data.dtype == torch.bfloat16
    shape, stride, groups = index.weight_shape, index.stride, index.groups
    way = route(index.nnz, shape, output=y.shape[2:], panels=panels, stride=stride, groups=groups, half=half)
    return ROUTES.index(way)


def _geometry(index: ConvIndex, x: Planes, y: Planes) -> ctypes.Array[ctypes.c_int64]:
    for planes in (x, y):
        if planes.data.numel() // max(1, planes.data.shape[0]) > _MOST_ELEMENTS:
            raise ValueError(
                f"{planes.data.shape[4]} images of {planes.shape[1:]} are too large for the kernels; run this layer "
                "masked."
            )
    numbers = (
        x.data.shape[0], index.in_channels, index.shape[0], index.groups, *index.kernel, index.stride, index.padding,
        *x.shape[2:], x.halo, *y.shape[2:], y.halo, first_level_cache(), second_level_cache() * 7 // 8,
    )  # fmt: skip
    return (ctypes.c_int64 * len(numbers))(*numbers)


def _planes(x: Tensor, batch: int, halo: int) -> Planes:
    lanes = lanes_of(x.dtype)
    padded = F.pad(x, (halo, halo, halo, halo, 0, 0, 0, -batch % lanes))
    return Planes(padded.view(-1, lanes, *padded.shape[1:]).permute(0, 2, 3, 4, 1).contiguous(), batch, halo)


def _plain(planes: Planes) -> Tensor:
    inner = F.pad(planes.data, (0, 0) + (-planes.halo,) * 4)
    return inner.permute(0, 4, 1, 2, 3).flatten(0, 1)[: planes.batch].contiguous()


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _is_widened(x: Tensor) -> bool:
    """Whether images of bfloat16 are so few that half of the lanes would be padding: float32 has fewer of them."""
    return x.dtype == torch.bfloat16 and x.shape[0] <= LANES


def _check_images(index: ConvIndex, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) != 4 or shape[1] != index.in_channels:
        raise ValueError(f"`x` must have shape (batch, {index.in_channels}, height, width). Got {tuple(shape)}.")
    return shape[0], shape[1], shape[2], shape[3]


def _check_bias(bias: Tensor | None, index: ConvIndex, like: Tensor) -> None:
    if bias is not None:
        check_alike("bias", bias, (index.shape[0],), like, wider=True)
