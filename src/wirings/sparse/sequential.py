"""A chain of sparse linear layers and ReLUs whose activations stay in panels, converted only at its borders."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from wirings.kernels import native
from wirings.kernels.index import SparseIndex
from wirings.kernels.linear import pack, panel_width, panels_backward, panels_forward, unpack
from wirings.kernels.stored import DTYPES
from wirings.sparse.linear import SparseLinear
from wirings.sparse.product import refuse_second_derivative

LIGHT = 4096
"""Weights of a full layer up to which it stays in a chain: torch's own product saves less than the borders cost."""

_FEWEST = 3  # samples; below, single layers gather from single samples


class Link(NamedTuple):
    """A sparse linear layer of a chain, and whether a ReLU follows it."""

    layer: SparseLinear
    relu: bool


class SparseSequential(nn.Sequential):
    """``nn.Sequential`` that hands activations from sparse layer to sparse layer in panels.

    A *panel* ``(feature, width)`` holds some samples side by side, so that one connection reads one short run of memory
    (:mod:`wirings.kernels.linear`). Two or more :class:`SparseLinear` in a row, each perhaps with a ``nn.ReLU`` behind
    it, run as one chain: packed once at its beginning, unpacked once at its end, bias and ReLU fused into the products.
    Everything else runs as it would in ``nn.Sequential``, and so does a chain where something wants to see what is in
    between: a forward or backward hook, torch.compile, another device. The numbers are the same. Under autocast a chain
    runs in bfloat16, as its layers would.

    :func:`wirings.to_sparse` makes one of every ``nn.Sequential`` that has such a chain; names and keys stay.
    """

    def forward(self, x: Tensor) -> Tensor:
        modules = list(self)
        place = 0
        while place < len(modules):
            chain, after = _chain(modules, place, x) if _may_begin(modules[place], x) else ([], place)
            if len(chain) > 1 and _fits(x, chain):
                x = _run(chain, x)
                place = after
            else:
                x = modules[place](x)
                place += 1
        return x


def has_chain(module: nn.Module) -> bool:
    """Whether an ``nn.Sequential`` holds two or more sparse linear layers in a row."""
    modules = list(module.children())
    return any(len(_chain(modules, place)[0]) > 1 for place in range(len(modules)))


def _chain(modules: list[nn.Module], place: int, x: Tensor | None = None) -> tuple[list[Link], int]:
    """The chain that begins at a place, and the place behind it; with an input, only what may run in panels now."""
    links: list[Link] = []
    while place < len(modules):
        layer = modules[place]
        if type(layer) is not SparseLinear or (links and links[-1].layer.out_features != layer.in_features):
            break
        if x is not None and not torch.compiler.is_compiling() and not _is_plain(layer, x, inside=bool(links)):
            break
        relu = place + 1 < len(modules) and type(modules[place + 1]) is nn.ReLU and not _hooked(modules[place + 1])
        links.append(Link(layer, relu))
        place += 2 if relu else 1
    return links, place


def _may_begin(layer: nn.Module, x: Tensor) -> bool:
    """Whether to look for a chain here at all: single samples should not wait for that."""
    compiling = torch.compiler.is_compiling()
    return type(layer) is SparseLinear and not compiling and x.dim() > 1 and x.numel() >= _FEWEST * x.shape[-1]


def _fits(x: Tensor, chain: list[Link]) -> bool:
    """Whether a chain of plain layers may run in panels now."""
    return (
        x.device.type == "cpu"
        and _flowing(x) in DTYPES
        and native.available()
        and not _has_any_global_hook()  # type: ignore[no-untyped-call]
        and x.shape[-1] == chain[0].layer.in_features
    )


def _flowing(x: Tensor) -> torch.dtype:
    """What a chain's activations are: under autocast what autocast says, and float64 stays."""
    autocast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if autocast else x.dtype


def _hooked(module: nn.Module) -> bool:
    """Whether somebody wants to see what goes into a module or comes out of it."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks)


def _is_plain(layer: SparseLinear, x: Tensor, *, inside: bool) -> bool:
    """Whether a layer may run in panels. One that lost nothing is for torch's own product, unless it stands inside a
    chain and is so small that leaving the panels would cost more: a classifier, most often."""
    whole = layer._is_dense() and not (inside and layer.values.numel() <= LIGHT)
    cast = torch.is_autocast_enabled("cpu") and _flowing(x) == torch.bfloat16 and layer.values.dtype in DTYPES
    return (cast or layer.values.dtype == x.dtype) and not (_hooked(layer) or whole or layer.used is not None)


def _run(chain: list[Link], x: Tensor) -> Tensor:
    parameters = [p for layer, _ in chain for p in (layer.values, layer.bias)]
    x = x.to(_flowing(x))
    y: Tensor = _Chain.apply(x.reshape(-1, x.shape[-1]), chain, *parameters)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], y.shape[-1])


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: list[Link], *parameters: Tensor | None) -> Tensor:
        widest = max(n for layer, _ in chain for n in layer.matrix_shape)
        panels = [pack(x, panel_width(widest, x.itemsize, x.shape[0]))]
        indices: list[SparseIndex] = [layer.index for layer, _ in chain]
        for place, (index, (_, relu)) in enumerate(zip(indices, chain, strict=True)):
            values, bias = parameters[2 * place], parameters[2 * place + 1]
            assert values is not None
            panels.append(panels_forward(index, values, panels[-1], bias=bias, relu=relu))
        ctx.save_for_backward(*parameters[::2], *panels)
        ctx.chain, ctx.indices, ctx.batch = chain, indices, x.shape[0]
        return unpack(panels[-1], x.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("SparseSequential")
        chain: list[Link] = ctx.chain
        values, panels = ctx.saved_tensors[: len(chain)], ctx.saved_tensors[len(chain) :]
        flowing = pack(grad, panels[0].shape[2])  # the gradient of what the layer at hand returned
        found: list[Tensor | None] = []
        for place in reversed(range(len(chain))):
            layer, relu = chain[place]
            x, y = panels[place], panels[place + 1] if relu else None
            needs = ctx.needs_input_grad
            need_x, need_values, need_bias = (needs[0] or place > 0), needs[2 + 2 * place], needs[3 + 2 * place]
            if need_values and layer.listening:
                before_relu = flowing if y is None else flowing * (y > 0)
                layer.hear(unpack(x, ctx.batch), unpack(before_relu, ctx.batch))
            step = panels_backward(
                ctx.indices[place], values[place], x, flowing, output=y, need_x=need_x, need_bias=need_bias
            )
            found += [step.bias if need_bias else None, step.values if need_values else None]
            if step.x is not None:
                flowing = step.x
        gx = unpack(flowing, ctx.batch) if ctx.needs_input_grad[0] else None
        return gx, None, *reversed(found)
