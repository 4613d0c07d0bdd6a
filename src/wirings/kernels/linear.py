"""Sparse linear layers: forward, backward and weight gradient on plain tensors and on panels.

Values are 1-D in the order of the index (ascending flat order). Activations are ``(batch, features)``, or *panels*
``(panel, feature, width)``: ``width`` samples lie side by side, so that one connection reads one short run of memory,
and a whole panel stays in the second-level cache. Lanes past the batch hold anything finite in activations and must be
zero in gradients; `pack` writes zeros.

The forward pass reads the values where they are. The backward pass walks the transposed index and permutes values
and gradient once per call: at most a tenth slower than values kept transposed, and there is no second copy that could
grow stale.

In bfloat16, activations are read and written as they are, products and sums are float32, and each result is rounded
once; values and bias may be wider (they are rounded as they go in, as autocast does to a dense layer's), and their
gradients come back in the values' own dtype. Other half precision computes in float32 on the reference.

The functions check everything a kernel will trust, then run the compiled kernel where there is one for the device and
dtype (`native.available`), else `reference`. They know nothing of autograd.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from wirings.kernels import native, reference
from wirings.kernels.index import SparseIndex
from wirings.kernels.stored import as_stored, check_alike, compiled, computed, given, sums

WIDTHS = (128, 64, 32, 16)
_SMALL_BATCH = 2  # up to here connections gather from single samples; from 3 on a padded panel of 16 is faster


class LinearGradients(NamedTuple):
    """What a sparse linear layer sends back; ``None`` where it was not asked for."""

    x: Tensor | None
    values: Tensor
    bias: Tensor | None


def linear_forward(
    index: SparseIndex, values: Tensor, x: Tensor, *, bias: Tensor | None = None, relu: bool = False
) -> Tensor:
    """A sparse linear layer on plain tensors: ``relu(x @ W.T + bias)``, shape ``(batch, rows)``.

    Args:
        index: connections of W, shape ``(rows, columns)``.
        values: W's values, ``(nnz,)`` in the order of the index.
        x: ``(batch, columns)``.
        bias: ``(rows,)`` or none.
        relu: whether negative results become zero.
    """
    x = _plain("x", x, index.shape[1])
    _check_values(index, values, x)
    _check_bias(bias, index, x)
    used = compiled(x)
    rows, columns = index.shape
    if used is None:
        return _reference_forward(index, values, x, bias, relu)
    values, bias = as_stored(values, x), None if bias is None else as_stored(bias, x)
    batch = x.shape[0]
    y = x.new_empty(batch, rows)
    small = 1 <= batch <= _SMALL_BATCH
    width = () if small else (panel_width(max(rows, columns), x.itemsize, batch),)
    used.call(
        "gather" if small else "forward", x.itemsize, index.column.itemsize, index.pointer, index.column,
        values, bias, relu, x, y, batch, rows, columns, *width, native.threads(batch * index.nnz),
    )  # fmt: skip
    return y


def linear_backward(
    index: SparseIndex,
    values: Tensor,
    x: Tensor,
    grad: Tensor,
    *,
    output: Tensor | None = None,
    need_x: bool = True,
    need_bias: bool = False,
) -> LinearGradients:
    """Gradients of `linear_forward`: input and values in one pass over the connections, and the bias.

    Args:
        grad: gradient of the result, ``(batch, rows)``.
        output: the result itself where it ended in ReLU; masks the gradient.
        need_x: without it only values (and bias) are computed, as a first layer needs.
        need_bias: whether the bias gradient is wanted.
    """
    rows, columns = index.shape
    x, grad = _plain("x", x, columns), _plain("grad", grad, rows)
    check_alike("grad", grad, (x.shape[0], rows), x)
    if output is not None:
        check_alike("output", output, (x.shape[0], rows), x)
        output = output.contiguous()
    _check_values(index, values, x)
    used = compiled(x)
    if used is None:
        return _reference_backward(index, values, x, grad, output, need_x, need_bias)
    stored, batch = as_stored(values, x), x.shape[0]
    if batch == 0:
        return _nothing(index, values, x, rows, need_x, need_bias)
    gx = torch.empty_like(x) if need_x else None
    gradient, gb = sums(index.nnz, x), sums(rows, x) if need_bias else None
    width = panel_width(max(rows, columns), x.itemsize, batch)
    team = native.threads(2 * batch * index.nnz)
    if need_x:
        turned = index.transposed
        used.call(
            "backward", x.itemsize, turned.row.itemsize, turned.place.itemsize, turned.pointer, turned.row,
            turned.place, stored, x, grad, output, gx, gradient, gb, batch, rows, columns, width, team,
        )  # fmt: skip
    else:
        used.call(
            "sddmm", x.itemsize, index.column.itemsize, index.pointer, index.column, grad, x, output,
            gradient, gb, batch, rows, columns, width, team,
        )  # fmt: skip
    return LinearGradients(gx, *given(gradient, gb, values))


def sddmm(index: SparseIndex, a: Tensor, b: Tensor) -> Tensor:
    """``(a.T @ b)`` at the connections only: ``(batch, rows)`` and ``(batch, columns)`` to ``(nnz,)``.

    Of half precision it is float32.

    Example:
        >>> corners = SparseIndex((2, 3), torch.tensor([0, 5]))
        >>> sddmm(corners, torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0, 5.0]]))
        tensor([ 3., 10.])
    """
    return linear_backward(index, b.new_zeros(index.nnz, dtype=computed(b)), b, a, need_x=False).values


def panel_width(features: int, itemsize: int = 4, batch: int | None = None) -> int:
    """How many samples a panel holds: 128 if that fills half of the second-level cache, 64 if all of it, else 32.

    Among those that fit, the one that suits the batch: narrow panels cost more for each connection, padding on the last
    panel costs its share of lanes; ``padded batch * (1 + 16 / width)`` weighs the two. Batches up to 16 take 16.

    Example:
        >>> panel_width(1024, batch=128), panel_width(65536, batch=128), panel_width(1024, batch=13)  # 1 MiB of cache
        (128, 32, 16)
    """
    return _panel_width(features * itemsize, batch, second_level_cache())


@cache
def _panel_width(sample: int, batch: int | None, room: int) -> int:
    fitting = [w for w in WIDTHS if w <= 32 or sample * w <= (room // 2 if w == 128 else room)]
    if batch is None:
        return fitting[0]
    return min(fitting, key=lambda w: (-(-batch // w) * w * (1 + 16 / w), -w))


@cache
def first_level_cache() -> int:
    """Bytes of first-level data cache a core has; 32 KiB where the system does not say."""
    try:
        told = Path("/sys/devices/system/cpu/cpu0/cache/index0/size").read_text(encoding="ascii").strip()
        return int(told.removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 2**15


@cache
def second_level_cache() -> int:
    """Bytes of second-level cache a core has; 1 MiB where the system does not say."""
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or 2**20
    except (ValueError, OSError, AttributeError):
        return 2**20


def pack(x: Tensor, width: int) -> Tensor:
    """``(batch, features)`` to panels ``(panel, feature, width)``; lanes of missing samples are zero."""
    _check_width(width)
    x = _plain("x", x, None)
    used = compiled(x)
    if used is None:
        return reference.pack(x, width)
    batch, features = x.shape
    panels = x.new_empty(-(-batch // width), features, width)
    used.call("pack", x.itemsize, x, panels, batch, features, width, native.threads(x.numel()))
    return panels


def unpack(panels: Tensor, batch: int) -> Tensor:
    """Panels back to ``(batch, features)``."""
    panels = _panels("panels", panels, None)
    count, features, width = panels.shape
    if not (count - 1) * width < batch <= count * width and batch != count * width:
        raise ValueError(f"`batch` of `unpack` must fill {count} panels of {width}. Got {batch}.")
    used = compiled(panels)
    if used is None:
        return reference.unpack(panels, batch)
    y = panels.new_empty(batch, features)
    used.call("unpack", y.itemsize, panels, y, batch, features, width, native.threads(y.numel()))
    return y


def panels_forward(
    index: SparseIndex, values: Tensor, panels: Tensor, *, bias: Tensor | None = None, relu: bool = False
) -> Tensor:
    """`linear_forward` from panels to panels."""
    rows, columns = index.shape
    panels = _panels("panels", panels, columns)
    _check_values(index, values, panels)
    _check_bias(bias, index, panels)
    count, _, width = panels.shape
    used = compiled(panels)
    if used is None:
        x = reference.unpack(panels, count * width)
        return reference.pack(_reference_forward(index, values, x, bias, relu), width)
    values, bias = as_stored(values, panels), None if bias is None else as_stored(bias, panels)
    y = panels.new_empty(count, rows, width)
    used.call(
        "forward_panels", y.itemsize, index.column.itemsize, index.pointer, index.column, values, bias,
        relu, panels, y, count, rows, columns, width, native.threads(count * width * index.nnz),
    )  # fmt: skip
    return y


def panels_backward(
    index: SparseIndex,
    values: Tensor,
    panels: Tensor,
    grad: Tensor,
    *,
    output: Tensor | None = None,
    need_x: bool = True,
    need_bias: bool = False,
) -> LinearGradients:
    """`linear_backward` on panels; lanes of ``grad`` past the batch must be zero."""
    rows, columns = index.shape
    panels, grad = _panels("panels", panels, columns), _panels("grad", grad, rows)
    count, _, width = panels.shape
    check_alike("grad", grad, (count, rows, width), panels)
    if output is not None:
        check_alike("output", output, (count, rows, width), panels)
        output = output.contiguous()
    _check_values(index, values, panels)
    used = compiled(panels)
    if used is None:
        x, g = reference.unpack(panels, count * width), reference.unpack(grad, count * width)
        y = None if output is None else reference.unpack(output, count * width)
        gx, gv, gb = _reference_backward(index, values, x, g, y, need_x, need_bias)
        return LinearGradients(None if gx is None else reference.pack(gx, width), gv, gb)
    if count == 0:
        return _nothing(index, values, panels, rows, need_x, need_bias)
    gx = torch.empty_like(panels) if need_x else None
    gradient, gb = sums(index.nnz, panels), sums(rows, panels) if need_bias else None
    team = native.threads(2 * count * width * index.nnz)
    if need_x:
        turned = index.transposed
        used.call(
            "backward_panels", grad.itemsize, turned.row.itemsize, turned.place.itemsize, turned.pointer,
            turned.row, turned.place, as_stored(values, panels), panels, grad, output, gx, gradient, gb, count,
            rows, columns, width, team,
        )  # fmt: skip
        return LinearGradients(gx, *given(gradient, gb, values))
    if output is not None or need_bias:
        kept = torch.empty_like(grad) if output is not None else None
        used.call(
            "mask_panels", grad.itemsize, output, grad, kept, gb, count, rows, width,
            native.threads(grad.numel()),
        )  # fmt: skip
        grad = grad if kept is None else kept
    used.call(
        "sddmm_panels", grad.itemsize, index.column.itemsize, index.pointer, index.column, grad, panels,
        gradient, count, rows, columns, width, team,
    )  # fmt: skip
    return LinearGradients(None, *given(gradient, gb, values))


def _reference_forward(index: SparseIndex, values: Tensor, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    wide = computed(x)
    values, bias = as_stored(values, x).to(wide), None if bias is None else as_stored(bias, x).to(wide)
    y = reference.linear(index.row, index.column.long(), values, x.to(wide), index.shape[0], bias, relu)
    return y.to(x.dtype)


def _reference_backward(
    index: SparseIndex, values: Tensor, x: Tensor, grad: Tensor, output: Tensor | None, need_x: bool, need_bias: bool
) -> LinearGradients:
    row, column, wide = index.row, index.column.long(), computed(x)
    grad = reference.masked(grad, output).to(wide)
    stored = as_stored(values, x).to(wide)
    gx = reference.spmm(column, row, stored, grad, index.shape[1]).to(x.dtype) if need_x else None
    gradient = reference.sddmm(row, column, grad, x.to(wide))
    return LinearGradients(gx, *given(gradient, grad.sum(0) if need_bias else None, values))


def _nothing(
    index: SparseIndex, values: Tensor, like: Tensor, rows: int, need_x: bool, need_bias: bool
) -> LinearGradients:
    gx = torch.empty_like(like) if need_x else None
    return LinearGradients(gx, values.new_zeros(index.nnz), values.new_zeros(rows) if need_bias else None)


def _plain(name: str, x: Tensor, features: int | None) -> Tensor:
    if x.dim() != 2 or (features is not None and x.shape[1] != features):
        wanted = "features" if features is None else features
        raise ValueError(f"`{name}` must have shape (batch, {wanted}). Got {tuple(x.shape)}.")
    _check_floating(name, x)
    return x.contiguous()


def _panels(name: str, panels: Tensor, features: int | None) -> Tensor:
    if panels.dim() != 3 or (features is not None and panels.shape[1] != features):
        wanted = "features" if features is None else features
        raise ValueError(f"`{name}` must have shape (panels, {wanted}, width). Got {tuple(panels.shape)}.")
    _check_width(panels.shape[2])
    _check_floating(name, panels)
    return panels.contiguous()


def _check_width(width: int) -> None:
    if width not in WIDTHS:
        raise ValueError(f"the width of a panel must be 16, 32, 64 or 128. Got {width}.")


def _check_floating(name: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise TypeError(f"`{name}` must be floating point. Got {x.dtype}.")


def _check_values(index: SparseIndex, values: Tensor, like: Tensor) -> None:
    check_alike("values", values, (index.nnz,), like, wider=True)
    if index.device != like.device:
        raise ValueError(f"the index is on {index.device}, its input on {like.device}; move one with `.to(...)`.")


def _check_bias(bias: Tensor | None, index: SparseIndex, like: Tensor) -> None:
    if bias is not None:
        check_alike("bias", bias, (index.shape[0],), like, wider=True)
