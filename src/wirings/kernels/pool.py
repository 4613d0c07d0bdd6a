"""Max pooling in planes; the halo of every result is zero."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.nn import functional as F

from wirings.kernels import native
from wirings.kernels.conv import Planes, from_planes, to_planes
from wirings.kernels.lent import lent
from wirings.kernels.stored import compiled
from wirings.kernels.work import outputs


class Window(NamedTuple):
    """What a pooled pixel sees; each pair is of rows and columns, padding at most half of the kernel."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the pooled images."""
        sizes = [outputs(*side) for side in zip((height, width), *self, strict=True)]
        if min(sizes) < 1 or any(2 * p > k for k, p in zip(self.kernel, self.padding, strict=True)):
            raise ValueError(f"images of {height} x {width} cannot be pooled by {self}.")
        return sizes[0], sizes[1]

    def packed(self) -> ctypes.Array[ctypes.c_int64]:
        """For the compiled kernels."""
        return (ctypes.c_int64 * 6)(*self.kernel, *self.stride, *self.padding)


def pool_forward(x: Planes, window: Window, *, halo: int = 0) -> Planes:
    """The largest number that each pooled pixel sees, channel by channel; a NaN is larger than any.

    Args:
        x: the images.
        window: what a pooled pixel sees.
        halo: of the result.
    """
    batch, channels, height, width = x.shape
    out = window.output_size(height, width)
    used = compiled(x.data)
    if used is None:
        return to_planes(F.max_pool2d(from_planes(x), *window), halo=halo)
    panels, lanes = x.data.shape[0], x.data.shape[4]
    y = Planes(lent((panels, channels, out[0] + 2 * halo, out[1] + 2 * halo, lanes), x.data.dtype), batch, halo)
    used.call(
        "pool_forward", x.data.itemsize, window.packed(), x.data, y.data, panels, channels, height, width, x.halo, *out,
        halo, native.threads(8 * x.data.numel()),
    )  # fmt: skip
    return y


def pool_backward(x: Planes, grad: Planes, window: Window) -> Planes:
    """The input's gradient, with the input's halo: each pixel's goes to the first of the largest that it saw."""
    batch, channels, height, width = x.shape
    out = window.output_size(height, width)
    if grad.shape != (batch, channels, *out) or grad.data.dtype != x.data.dtype:
        raise ValueError(f"`grad` must be {(batch, channels, *out)} of {x.data.dtype}. Got {grad.shape}.")
    used = compiled(x.data)
    if used is None:
        leaf = from_planes(x).requires_grad_()
        with torch.enable_grad():
            (gx,) = torch.autograd.grad(F.max_pool2d(leaf, *window), leaf, from_planes(grad))
        return to_planes(gx, halo=x.halo)
    made = replace(x, data=lent(x.data.shape, x.data.dtype))
    panels = x.data.shape[0]
    used.call(
        "pool_gradient", x.data.itemsize, window.packed(), x.data, grad.data, made.data, panels, channels, height,
        width, x.halo, *out, grad.halo, native.threads(8 * x.data.numel()),
    )  # fmt: skip
    return made
