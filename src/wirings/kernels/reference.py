"""Every kernel in plain torch: what the compiled ones must compute, and what serves where they cannot.

Any device, any floating dtype, no layout tricks. ``row`` and ``column`` are int64 and ascend in flat order; activations
are ``(batch, features)`` or ``(batch, channels, height, width)``. Work is cut into pieces so that the memory beyond
inputs and outputs stays bounded.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_PIECE = 2**22  # elements of the largest temporary


def spmm(row: Tensor, column: Tensor, values: Tensor, x: Tensor, rows: int) -> Tensor:
    """``y[b, row k] += values[k] * x[b, column k]``: the sparse matrix times each sample."""
    y = x.new_zeros(x.shape[0], rows)
    for piece in _pieces(values.numel(), x.shape[0]):
        y.index_add_(1, row[piece], x[:, column[piece]] * values[piece])
    return y


def sddmm(row: Tensor, column: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``g[k] = sum_b a[b, row k] * b[b, column k]``: the product ``a.T @ b``, only where there are connections."""
    g = a.new_empty(row.numel())
    for piece in _pieces(row.numel(), a.shape[0]):
        g[piece] = (a[:, row[piece]] * b[:, column[piece]]).sum(0)
    return g


def linear(
    row: Tensor, column: Tensor, values: Tensor, x: Tensor, rows: int, bias: Tensor | None, relu: bool
) -> Tensor:
    """A sparse linear layer, with its bias and ReLU."""
    y = spmm(row, column, values, x, rows)
    if bias is not None:
        y += bias
    return y.relu_() if relu else y


def masked(grad: Tensor, output: Tensor | None) -> Tensor:
    """The gradient before ReLU: kept where ReLU's output was positive."""
    return grad if output is None else grad * (output > 0)


def pack(x: Tensor, width: int) -> Tensor:
    """``(batch, features)`` to panels ``(panel, feature, width)``; missing samples are zero."""
    batch, features = x.shape
    panels = -(-batch // width)
    padded = F.pad(x, (0, 0, 0, panels * width - batch))
    return padded.view(panels, width, features).transpose(1, 2).contiguous()


def unpack(panels: Tensor, batch: int) -> Tensor:
    """Panels back to ``(batch, features)``."""
    count, features, width = panels.shape
    return panels.transpose(1, 2).reshape(count * width, features)[:batch].contiguous()


def top_index(scores: Tensor, k: int, absolute: bool) -> Tensor:
    """The places of the ``k`` highest scores, ascending; ties go to the lower index."""
    flat = scores.reshape(-1).abs() if absolute else scores.reshape(-1)
    return flat.sort(descending=True, stable=True).indices[:k].sort().values


def conv(weight: Tensor, x: Tensor, stride: int, padding: int, groups: int, bias: Tensor | None, relu: bool) -> Tensor:
    """A convolution with a dense weight that is zero where there are no connections."""
    y = F.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)
    return y.relu_() if relu else y


def conv_backward(
    weight: Tensor, x: Tensor, grad: Tensor, stride: int, padding: int, groups: int, need: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of a convolution's input and of its dense weight, each where it is needed."""
    gx, gw, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, [*need, False]
    )
    return gx, gw


def norm(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Normalised images and the result of batch normalisation with this mean and variance."""
    channels = (1, -1, 1, 1)
    normal = (x - mean.view(channels)) * (variance + eps).rsqrt().view(channels)
    y = normal if weight is None else normal * weight.view(channels)
    return normal, y if bias is None else y + bias.view(channels)


def _pieces(nnz: int, batch: int) -> list[slice]:
    step = max(1, _PIECE // max(batch, 1))
    return [slice(k, min(k + step, nnz)) for k in range(0, nnz, step)]
