"""Batch normalisation in planes, with the residual addition and the ReLU that follow it in one pass.

Padding lanes of the last panel and the halo stay out of the statistics; the halo of every result is zero, and so are
the padding lanes of every gradient. Images of bfloat16 are normalised in float32, and so is what there is one of for a
channel; weight and bias may be either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from wirings.kernels import native, reference
from wirings.kernels.conv import Planes, from_planes, to_planes, with_halo
from wirings.kernels.lent import lent
from wirings.kernels.stored import compiled, computed, sums


class Normed(NamedTuple):
    """The result and the statistics it was made with: mean and biased variance, ``(channels,)``."""

    y: Planes
    mean: Tensor
    variance: Tensor


class NormGradients(NamedTuple):
    """What batch normalisation sends back; ``residual`` only where there was one."""

    x: Planes
    weight: Tensor
    bias: Tensor
    residual: Planes | None


def norm_forward(
    x: Planes,
    *,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    eps: float = 1e-5,
    residual: Planes | None = None,
    relu: bool = False,
) -> Normed:
    """``relu((x - mean) / sqrt(variance + eps) * weight + bias + residual)``, channel by channel.

    Args:
        x: the images.
        weight, bias: ``(channels,)`` or none.
        mean, variance: running statistics to use; without them those of the batch are.
        eps: added to the variance; 1e-5 as in `torch.nn.BatchNorm2d`.
        residual: images added before ReLU.
        relu: whether negative results become zero.
    """
    if (mean is None) != (variance is None):
        raise ValueError("`mean` and `variance` of `norm_forward` go together: give both or none.")
    batch, channels, height, width = x.shape
    if mean is None and batch * height * width < 2:
        raise ValueError(f"statistics need more than one value a channel. Got {batch} of {height} x {width}.")
    weight, bias, mean, variance = (None if t is None else _per_channel(t, x) for t in (weight, bias, mean, variance))
    residual = None if residual is None else _like(residual, x)
    used = compiled(x.data)
    given = mean is not None
    if used is None:
        plain = from_planes(x).to(computed(x.data))
        if mean is None or variance is None:
            variance, mean = torch.var_mean(plain, (0, 2, 3), correction=0)
        result = reference.norm(plain, mean, variance, weight, bias, eps)[1]
        result = result if residual is None else result + from_planes(residual)
        result = (result.relu() if relu else result).to(x.data.dtype)
        return Normed(to_planes(result, halo=x.halo), mean, variance)
    if mean is None or variance is None:
        mean, variance = sums(channels, x.data), sums(channels, x.data)
    y = replace(x, data=lent(x.data.shape, x.data.dtype))
    added = None if residual is None else residual.data
    used.call(
        "norm_forward", x.data.itemsize, x.data, added, weight, bias, mean, variance, given, eps, relu, y.data, batch,
        channels, height, width, x.halo, native.threads(8 * x.data.numel()),
    )  # fmt: skip
    return Normed(y, mean, variance)


def norm_backward(
    x: Planes,
    grad: Planes,
    mean: Tensor,
    variance: Tensor,
    *,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    relu: bool = False,
    output: Planes | None = None,
    constant: bool = False,
    residual: bool = False,
) -> NormGradients:
    """Gradients of `norm_forward`.

    Args:
        mean, variance: as `norm_forward` returned them.
        weight, bias, eps, relu: as they were given to `norm_forward`.
        output: its result, needed where it added a residual and ended in ReLU.
        constant: whether the statistics were given, not the batch's own.
        residual: whether the gradient of a residual is wanted.
    """
    batch, channels, height, width = x.shape
    grad, output = _like(grad, x), None if output is None else _like(output, x)
    if residual and relu and output is None:
        raise ValueError("`output` of `norm_backward` is needed where ReLU followed a residual.")
    kept = x.data.dtype if weight is None else weight.dtype
    weight, bias = (None if t is None else _per_channel(t, x) for t in (weight, bias))
    mean, variance = _per_channel(mean, x), _per_channel(variance, x)
    used = compiled(x.data)
    if used is None:
        seen = from_planes(x).to(computed(x.data))
        ended = None if output is None else from_planes(output)
        if relu and ended is None:
            ended = reference.norm(seen, mean, variance, weight, bias, eps)[1]
        g = reference.masked(from_planes(grad).to(seen.dtype), ended)
        normal, scale = reference.norm(seen, mean, variance, None, None, eps)[0], (variance + eps).rsqrt()
        gw, gb = (g * normal).sum((0, 2, 3)), g.sum((0, 2, 3))
        count = 1 if constant else batch * height * width
        drift = 0 if constant else (gb / count).view(1, -1, 1, 1) + normal * (gw / count).view(1, -1, 1, 1)
        plain = (g - drift) * (scale if weight is None else scale * weight).view(1, -1, 1, 1)
        found = to_planes(plain.to(x.data.dtype), halo=x.halo)
        passed = to_planes(g.to(x.data.dtype), halo=x.halo) if residual else None
        return NormGradients(found, gw.to(kept), gb.to(kept), passed)
    gx = replace(x, data=lent(x.data.shape, x.data.dtype))
    passed = replace(x, data=lent(x.data.shape, x.data.dtype)) if residual else None
    gw, gb = sums(channels, x.data), sums(channels, x.data)
    ended, handed = (None if planes is None else planes.data for planes in (output, passed))
    used.call(
        "norm_gradients", x.data.itemsize, x.data, grad.data, ended, weight, bias, mean, variance,
        relu and ended is None, constant, eps, gx.data, handed, gw, gb, batch, channels, height, width, x.halo,
        native.threads(8 * x.data.numel()),
    )  # fmt: skip
    return NormGradients(gx, gw.to(kept), gb.to(kept), passed)


def _like(planes: Planes, x: Planes) -> Planes:
    if planes.shape != x.shape or planes.data.dtype != x.data.dtype or planes.data.device != x.data.device:
        raise ValueError(f"planes must match: {x.shape} of {x.data.dtype}. Got {planes.shape} of {planes.data.dtype}.")
    return with_halo(planes, x.halo)


def _per_channel(tensor: Tensor, x: Planes) -> Tensor:
    wide = computed(x.data)
    if tensor.shape != (x.shape[1],) or tensor.dtype not in (x.data.dtype, wide) or tensor.device != x.data.device:
        wanted = f"({x.shape[1]},) of {x.data.dtype}"
        raise ValueError(
            f"a tensor with one number a channel must be {wanted}. Got {tuple(tensor.shape)} of {tensor.dtype}."
        )
    return tensor.detach().to(wide).contiguous()
