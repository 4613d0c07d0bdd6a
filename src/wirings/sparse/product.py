"""A sparse layer's product under autograd: one function in eager mode, the same as custom ops under torch.compile."""

from __future__ import annotations

import itertools
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wirings.core.errors import WiringError

if TYPE_CHECKING:
    from wirings.sparse.layer import SparseLayer

_HALVES = (torch.float16, torch.bfloat16)


def sparse_product(layer: SparseLayer, x: Tensor) -> Tensor:
    """The layer's result for ``x``, with autocast and half precision as a dense layer has them.

    The kernels take bfloat16 as it is, with values and bias in whatever dtype they are kept; float16 is widened to
    float32, and the result narrowed again.
    """
    device = x.device.type
    autocast = torch.is_autocast_enabled(device) and x.dtype != torch.float64
    wanted = torch.get_autocast_dtype(device) if autocast else x.dtype
    values: Tensor = layer.values
    bias: Tensor | None = layer.bias
    if x.dtype != values.dtype or wanted in _HALVES:
        if not autocast and x.dtype != values.dtype:
            kind = type(layer).__name__
            raise TypeError(f"the input of `{kind}` must be {values.dtype}, as its values are. Got {x.dtype}.")
        if wanted == torch.bfloat16:
            x = x.to(wanted)
        else:
            x = x.to(torch.float32)
            values, bias = values.to(torch.float32), None if bias is None else bias.to(torch.float32)
    with _exactly(device):
        if torch.compiler.is_compiling():
            y = torch.ops.wirings.sparse_product(x, values, bias, layer.key)
        else:
            y = _Product.apply(x, values, bias, layer)  # type: ignore[no-untyped-call]
    result: Tensor = y.to(wanted)
    return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, layer: SparseLayer) -> Tensor:
        index = layer.forward_index
        used = layer.in_use(values)
        ctx.save_for_backward(x, used)
        ctx.layer, ctx.index, ctx.whole = layer, index, layer.index
        return layer._multiply(index, used, x, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(type(ctx.layer).__name__)
        need_x, need_values, need_bias = ctx.needs_input_grad[:3]
        x, values = ctx.saved_tensors
        grad = grad.contiguous() if grad.dim() < 4 else grad
        if need_values:
            ctx.layer.hear(x, grad)
        with _exactly(x.device.type):
            found = _backward(ctx.layer, ctx.index, ctx.whole, values, x, grad, (need_x, need_values, need_bias))
        return (*found, None)


def refuse_second_derivative(kind: str) -> None:
    """Asked within a backward pass: gradients are recorded there only for the sake of second derivatives."""
    if torch.is_grad_enabled():
        raise WiringError(
            f"`{kind}` cannot be differentiated twice; take second derivatives (GraSP, gradient penalties, "
            "`create_graph=True`) with the dense layer, `wr.to_dense(model)`."
        )


def _backward(
    layer: SparseLayer, index: Any, whole: Any, values: Tensor, x: Tensor, grad: Tensor, need: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if whole is index:
        gx, found, gb = layer._gradients(index, values, x, grad, (need[0], need[2]))
        return gx, found if need[1] else None, gb
    gx = gb = None
    if need[0] or need[2]:
        gx, _, gb = layer._gradients(index, values, x, grad, (need[0], need[2]))
    return gx, layer.gradient_at(whole, x, grad).to(values.dtype) if need[1] else None, gb


def _exactly(device: str) -> AbstractContextManager[Any]:
    """Autocast off: what is computed inside has its dtypes chosen."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


# ---------------------------------------------------------------------- compiled graphs

_layers: weakref.WeakValueDictionary[int, SparseLayer] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def registered(layer: SparseLayer) -> int:
    """A number under which an op of a compiled graph finds the layer, whatever its wiring is by then."""
    number = next(_numbers)
    _layers[number] = layer
    return number


def _owner(number: int) -> SparseLayer:
    layer = _layers.get(number)
    if layer is None:
        raise WiringError(
            "This compiled graph belongs to a sparse layer that is gone, or of another process; compile the model anew."
        )
    return layer


@torch.library.custom_op("wirings::sparse_product", mutates_args=())
def _product_op(x: Tensor, values: Tensor, bias: Tensor | None, layer: int) -> Tensor:
    owner = _owner(layer)
    used = owner.in_use(values)
    return owner._multiply(owner.forward_index, used, x, bias)


@_product_op.register_fake
def _(x: Tensor, values: Tensor, bias: Tensor | None, layer: int) -> Tensor:
    return _owner(layer)._output_like(x)


@torch.library.custom_op("wirings::sparse_gradients", mutates_args=())
def _gradients_op(
    grad: Tensor, x: Tensor, values: Tensor, layer: int, need_x: bool, need_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    owner = _owner(layer)
    used = owner.in_use(values)
    grad = grad.contiguous() if grad.dim() < 4 else grad
    if owner.listening:
        owner.hear(x.clone(), grad.clone())  # generated code writes to its buffers again when we are done with them
    gx, gv, gb = _backward(owner, owner.forward_index, owner.index, used, x, grad, (need_x, True, need_bias))
    nothing = x.new_empty(0)
    assert gv is not None
    return nothing if gx is None else gx, gv, nothing.clone() if gb is None else gb


@_gradients_op.register_fake
def _(
    grad: Tensor, x: Tensor, values: Tensor, layer: int, need_x: bool, need_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    units = _owner(layer)._outputs()
    gx = torch.empty_like(x) if need_x else x.new_empty(0)
    return gx, torch.empty_like(values), values.new_empty(units) if need_bias else x.new_empty(0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, bias, layer = inputs
    ctx.save_for_backward(x, values)
    ctx.layer, ctx.has_bias = layer, bias is not None


def _backward_op(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, values = ctx.saved_tensors
    need_x, _, need_bias = ctx.needs_input_grad[:3]
    need_bias = need_bias and ctx.has_bias
    gx, gv, gb = torch.ops.wirings.sparse_gradients(grad, x, values, ctx.layer, need_x, need_bias)
    return gx if need_x else None, gv, gb if need_bias else None, None


_product_op.register_autograd(_backward_op, setup_context=_save)
