"""What may be done to images in planes under autograd; the tensors are the planes' data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wirings.kernels.conv import ConvIndex, Planes, conv_planes_backward, conv_planes_forward, from_planes, to_planes
from wirings.kernels.norm import norm_backward, norm_forward
from wirings.kernels.pool import Window, pool_backward, pool_forward
from wirings.sparse.product import refuse_second_derivative

if TYPE_CHECKING:
    from wirings.sparse.conv import SparseConv2d
    from wirings.sparse.planes import WaitingNorm


def halo_after(halo: int) -> int:
    """The border of a result: wide enough for 3 x 3 to come; more is made where more is needed."""
    return min(halo, 1)


class Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, halo: int) -> Tensor:
        planes = to_planes(x, halo=halo)
        ctx.batch, ctx.halo = x.shape[0], halo
        ctx.last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return planes.data

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("SparseConv2d")
        return from_planes(Planes(grad.contiguous(), ctx.batch, ctx.halo), channels_last=ctx.last), None


class Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, batch: int, halo: int, last: bool) -> Tensor:
        ctx.halo = halo
        return from_planes(Planes(data, batch, halo), channels_last=last)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("SparseConv2d")
        return to_planes(grad, halo=ctx.halo).data, None, None, None


class ConvInPlanes(torch.autograd.Function):
    """The convolution, and its input once more.

    Who uses the input later, as a shortcut does, sends its gradient back through here, where it is what the
    convolution's own is added to, in one pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        data: Tensor,
        values: Tensor,
        bias: Tensor | None,
        layer: SparseConv2d,
        index: ConvIndex,
        batch: int,
        halo: int,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(data, values)
        ctx.layer, ctx.index, ctx.batch, ctx.halo = layer, index, batch, halo
        y = conv_planes_forward(index, values, Planes(data, batch, halo), bias=bias, halo=halo_after(halo)).data
        return y, data if ctx.needs_input_grad[0] else None

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, onto: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("SparseConv2d")
        if grad is None:
            return onto, None, None, None, None, None, None
        data, values = ctx.saved_tensors
        need_x, need_values, need_bias = ctx.needs_input_grad[:3]
        x, g = Planes(data, ctx.batch, ctx.halo), Planes(grad.contiguous(), ctx.batch, halo_after(ctx.halo))
        if need_values and ctx.layer.listening:
            ctx.layer.hear(from_planes(x), from_planes(g))
        found = conv_planes_backward(ctx.index, values, x, g, onto=onto, need_x=need_x, need_bias=need_bias)
        gx = None if found.x is None else found.x.data
        return gx, found.values if need_values else None, found.bias, None, None, None, None


class NormInPlanes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, data: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, norm: WaitingNorm
    ) -> Tensor:
        batch, halo = norm.source.batch, norm.source.halo
        x = Planes(data, batch, halo)
        added = None if residual is None else Planes(residual.contiguous(), batch, halo)
        known = None if norm.training else norm.running
        mean, variance = (None, None) if known is None else known
        made = norm_forward(
            x, weight=weight, bias=bias, mean=mean, variance=variance, eps=norm.eps, residual=added, relu=norm.relu
        )
        if norm.training and norm.running is not None and not norm.counted[0]:
            norm.counted[0] = True
            _, _, height, width = x.shape
            count = batch * height * width
            for moving, seen in zip(norm.running, (made.mean, made.variance * (count / (count - 1))), strict=True):
                moving.lerp_(seen.to(moving.dtype), norm.momentum)
        ended = made.y.data if norm.relu and added is not None else None
        ctx.save_for_backward(data, weight, bias, made.mean.clone(), made.variance.clone(), ended)
        ctx.batch, ctx.halo, ctx.eps, ctx.constant, ctx.relu = batch, halo, norm.eps, not norm.training, norm.relu
        return made.y.data

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("SparseConv2d")
        data, weight, bias, mean, variance, output = ctx.saved_tensors
        need_residual = ctx.needs_input_grad[3]
        found = norm_backward(
            Planes(data, ctx.batch, ctx.halo),
            Planes(grad.contiguous(), ctx.batch, ctx.halo),
            mean,
            variance,
            weight=weight,
            bias=bias,
            eps=ctx.eps,
            relu=ctx.relu,
            output=None if output is None else Planes(output, ctx.batch, ctx.halo),
            constant=ctx.constant,
            residual=need_residual,
        )
        need_weight, need_bias = ctx.needs_input_grad[1:3]
        residual = None if found.residual is None else found.residual.data
        return found.x.data, found.weight if need_weight else None, found.bias if need_bias else None, residual, None


class PoolInPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, batch: int, halo: int, window: Window) -> Tensor:
        ctx.save_for_backward(data)
        ctx.batch, ctx.halo, ctx.window = batch, halo, window
        return pool_forward(Planes(data, batch, halo), window, halo=halo_after(halo)).data

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("SparseConv2d")
        (data,) = ctx.saved_tensors
        sent = Planes(grad.contiguous(), ctx.batch, halo_after(ctx.halo))
        return pool_backward(Planes(data, ctx.batch, ctx.halo), sent, ctx.window).data, None, None, None
