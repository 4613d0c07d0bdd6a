"""The positively homogeneous stand-in of a network, through which SynFlow's flow is conserved.

Flow is defined for networks of linear maps, ReLU and pooling. While a :class:`Homogeneous` is entered, whatever else a
forward pass calls is replaced by the nearest operation that keeps a non-negative signal non-negative and a flow whole:

====================================  ==========================================================================
activations that are not homogeneous  identity (GELU, SiLU, ELU, tanh, sigmoid, softplus, ReLU6, leaky ReLU ...)
batch norm                            its scale ``gamma / sqrt(var + eps)`` and shift; the running mean left out
layer, group, instance, RMS norm      division by the root mean square, held constant, then scale and shift
softmax                               division by the sum, held constant; entries masked out stay zero
attention                             ``softmax(Q K') V`` with that softmax: flow reaches Q, K and V alike
embedding of the all-ones input       the mean of all rows: every token at once, none preferred
local response norm, dropout          identity
====================================  ==========================================================================

"Held constant" means that no gradient passes through the divisor: it rescales the flow, as batch norm in eval mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Call = Callable[..., Any]  # Any: whatever the replaced function takes and gives


class Homogeneous(TorchFunctionMode):
    """Within: functions of torch that are not positively homogeneous are replaced, for every module and function call.

    Activations that `transformers` or the user wrote as modules of several operations are replaced by type: every
    module defined in ``torch.nn.modules.activation`` or ``transformers.activations`` that has no parameters.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Homogeneous:
        for module in self.model.modules():
            if _is_activation(module):
                self.handles.append(module.register_forward_hook(_passed_on))
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, value, trace)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        while self.handles:
            self.handles.pop().remove()

    def __torch_function__(
        self, func: Call, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # Any: as torch declares it
        replacement = _REPLACED.get(func, func)
        return replacement(*args, **(kwargs or {}))


def _is_activation(module: nn.Module) -> bool:
    home = type(module).__module__
    return (
        home in ("torch.nn.modules.activation", "transformers.activations")
        and not isinstance(module, (nn.ReLU, nn.MultiheadAttention, nn.Softmax, nn.Softmin, nn.Softmax2d, nn.GLU))
        and next(module.parameters(recurse=False), None) is None
    )


def _passed_on(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    return inputs[0]


def _identity(x: Tensor, *_: object, **__: object) -> Tensor:
    return x


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    a, b = x.chunk(2, dim)
    return a * b


def _softmax(x: Tensor, dim: int | None = None, *_: object, **__: object) -> Tensor:
    positive = x.clamp(min=0)  # where a mask was added, the entry is far below zero
    return positive / _divisor(positive.sum(-1 if dim is None else dim, keepdim=True))


def _divisor(x: Tensor) -> Tensor:
    held = x.detach()
    return torch.where(held == 0, torch.ones_like(held), held)


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    channels = x.shape[1]
    variance = x.new_ones(channels) if running_var is None else running_var
    scale = 1 / torch.sqrt(variance + eps)
    return _scaled(x * _along(scale, x, 1), weight, bias, 1)


def _layer_norm(
    x: Tensor,
    normalized_shape: Any,  # Any: torch takes an int, a list or a torch.Size
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float | None = 1e-5,
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    y = x / _divisor(x.square().mean(dims, keepdim=True).sqrt())
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rms_norm(x: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    return _layer_norm(x, normalized_shape, weight)


def _group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    grouped = x.reshape(x.shape[0], num_groups, -1)
    y = (grouped / _divisor(grouped.square().mean(-1, keepdim=True).sqrt())).view_as(x)
    return _scaled(y, weight, bias, 1)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: object,
    **__: object,
) -> Tensor:
    return _group_norm(x, x.shape[1], weight, bias)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None, dim: int) -> Tensor:
    x = x if weight is None else x * _along(weight, x, dim)
    return x if bias is None else x + _along(bias, x, dim)


def _along(vector: Tensor, like: Tensor, dim: int) -> Tensor:
    shape = [1] * like.ndim
    shape[dim] = -1
    return vector.view(shape)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    similar = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if is_causal:
        similar = similar.tril()
    if attn_mask is not None:
        allowed = attn_mask if attn_mask.dtype == torch.bool else attn_mask > -1e4
        similar = similar * allowed
    return _softmax(similar, -1) @ value


def _multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    *_: object,
    is_causal: bool = False,
    **__: object,
) -> tuple[Tensor, None]:
    """What `nn.MultiheadAttention` computes, sequence first, with the stand-in for softmax; padding masks left out."""
    if use_separate_proj_weight:
        projections = [q_proj_weight, k_proj_weight, v_proj_weight]
    else:
        assert in_proj_weight is not None
        projections = list(in_proj_weight.chunk(3))
    biases = [None] * 3 if in_proj_bias is None else list(in_proj_bias.chunk(3))
    heads = []
    for x, weight, bias in zip((query, key, value), projections, biases, strict=True):
        assert weight is not None
        y = F.linear(x, weight, bias)
        heads.append(y.view(*y.shape[:-1], num_heads, -1).movedim(0, -2))  # (length, ..., E) -> (..., heads, length, d)
    causal = is_causal and attn_mask is None
    q, k, v = heads
    mixed = _attention(q, k, v, attn_mask=_bool_means_blocked(attn_mask, q), is_causal=causal)
    return F.linear(mixed.movedim(-2, 0).flatten(-2), out_proj_weight, out_proj_bias), None


def _bool_means_blocked(mask: Tensor | None, heads: Tensor) -> Tensor | None:
    """nn.MultiheadAttention blocks where a boolean mask is true; scaled_dot_product_attention allows there."""
    if mask is None:
        return None
    mask = ~mask if mask.dtype == torch.bool else mask
    return mask.view(*heads.shape[:-2], *mask.shape[-2:]) if mask.ndim == 3 and heads.ndim == 4 else mask


def _embedding(tokens: Tensor, weight: Tensor, *_: object, **__: object) -> Tensor:
    if tokens.is_floating_point():
        return weight.mean(0).expand(*tokens.shape, -1)
    return F.embedding(tokens, weight)


def _rsqrt(x: Tensor, **_: object) -> Tensor:
    return torch.rsqrt(x.detach())  # the divisor of an RMS norm written by hand


_ACTIVATIONS = """
    alpha_dropout celu celu_ dropout dropout1d dropout2d dropout3d elu elu_ feature_alpha_dropout gelu hardshrink
    hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ local_response_norm log_softmax logsigmoid mish
    prelu relu6 rrelu rrelu_ selu selu_ sigmoid silu softplus softshrink softsign tanh tanhshrink threshold
"""

_REPLACED: dict[Call, Call] = {
    **{getattr(F, name): _identity for name in _ACTIVATIONS.split()},
    **{getattr(torch, name): _identity for name in ("sigmoid", "tanh", "log_softmax", "selu", "celu", "prelu")},
    **{getattr(Tensor, name): _identity for name in ("sigmoid", "tanh", "log_softmax")},
    F.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    torch.rsqrt: _rsqrt,
    Tensor.rsqrt: _rsqrt,
    F.glu: _glu,
    F.batch_norm: _batch_norm,
    torch.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head_attention,
    F.embedding: _embedding,
}
