"""To sparse storage and back: whole models, layer by layer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from wirings.core.errors import WiringError
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.makers.prunable import prunable
from wirings.sparse.conv import SparseConv2d
from wirings.sparse.conv1d import SparseConv1D
from wirings.sparse.layer import SparseLayer
from wirings.sparse.linear import SparseLinear
from wirings.sparse.sequential import SparseSequential, has_chain
from wirings.sparse.shortcuts import close_shortcuts, open_shortcuts

_log = logging.getLogger("wirings")


def to_sparse(model: nn.Module, wiring: Mapping[str, Topology | Support] | None = None) -> nn.Module:
    """Swap dense layers for layers in sparse storage, in place, and return the model.

    Everything else stays what it is: a dense checkpoint still loads, biases are the same objects, and tied layers go on
    sharing. What was swapped, and what stays dense and why, is logged; :func:`stays_dense` tells it too.

    Example:
        >>> model = to_sparse(nn.Sequential(nn.Linear(4, 3)), Wiring({"0.weight": Topology.at((3, 4), [0, 5, 11])}))
        >>> model[0].values.shape
        torch.Size([3])

    Args:
        model: any module. If it is itself a layer that can be swapped, the sparse one is returned.
        wiring: what to keep; layers it does not name stay dense. Default: every position of every layer that can be in
            sparse storage, for :func:`wirings.attach` to narrow when a method starts (the way of DNW and Top-KAST).

    Raises:
        WiringError: if the wiring names a weight that the model does not have, of another shape, or that cannot be in
            sparse storage, with the reason; nothing has changed then.
    """
    weights, reasons = prunable(model), stays_dense(model)
    if wiring is not None:
        _check(wiring, weights, reasons)
    swaps: dict[int, SparseLayer] = {}
    first: dict[int, SparseLayer] = {}
    for _, layer in _layers(model):
        weight: nn.Parameter = layer.weight  # type: ignore[assignment]
        name = next(n for n, p in weights.items() if p is weight)
        if name in reasons or (wiring is not None and name not in wiring):
            continue
        told = Topology.full(tuple(weight.shape)) if wiring is None else wiring[name]
        support = told if isinstance(told, Support) else Support.both(told)
        sparse = swaps[id(layer)] = _kind(layer).from_dense(layer, support)
        if (sharer := first.setdefault(id(weight), sparse)) is not sparse:
            sparse.share(sharer)
    _log.info("%s", _sentence(swaps.values(), reasons))
    model = _swapped(model, swaps)
    for module in model.modules():
        if type(module) is nn.Sequential and has_chain(module):
            module.__class__ = SparseSequential  # it stays the same object, with its names, hooks and mode
    close_shortcuts(model)
    return model


def to_dense(model: nn.Module) -> nn.Module:
    """Swap every layer in sparse storage back for its dense equal, in place, and return the model.

    Weights that were tied are tied again. Attach a method anew afterwards: its sites are other parameters now.
    """
    swaps: dict[int, nn.Module] = {}
    first: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, SparseLayer):
            dense = swaps[id(module)] = module.to_dense()
            weight: nn.Parameter = dense.weight  # type: ignore[assignment]
            dense.weight = first.setdefault(id(module.values), weight)
        elif type(module) is SparseSequential:
            module.__class__ = nn.Sequential  # type: ignore[assignment]
    model = _swapped(model, swaps)
    open_shortcuts(model)
    return model


def stays_dense(model: nn.Module) -> dict[str, str]:
    """Every weight that could be sparse but cannot be in sparse storage, and why; such a weight can be masked.

    Example:
        >>> stays_dense(nn.MultiheadAttention(8, 2))["out_proj.weight"]
        'MultiheadAttention reads this weight itself'
    """
    layers: dict[int, str] = {}
    for path, layer in _layers(model):
        weight: nn.Parameter = layer.weight  # type: ignore[assignment]
        layers[id(weight)] = layers.get(id(weight)) or _reason(model, path, layer)
    unknown = "only Linear, Conv2d and transformers' Conv1D layers can be in sparse storage"
    said = {name: layers.get(id(p), unknown) for name, p in prunable(model).items()}
    return {name: reason for name, reason in said.items() if reason}


_KINDS: dict[type[nn.Module], Any] = {
    nn.Linear: SparseLinear,
    nn.Conv2d: SparseConv2d,
}  # Any: each has a `from_dense` of its own kind
"""Dense kind of layer -> the kind that takes its place."""


def _kind(layer: nn.Module) -> Any:
    """The kind of sparse layer that takes the place of a dense one, or none."""
    return SparseConv1D if SparseConv1D.is_dense_equal(type(layer)) else _KINDS.get(type(layer))


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path and layer, of every layer whose type has an equal in sparse storage, or nearly."""
    weights = {id(p) for p in prunable(model).values()}
    for path, module in model.named_modules():
        known = _kind(module) is not None or type(module) is NonDynamicallyQuantizableLinear
        if known and id(module.weight) in weights:
            yield path, module


def _reason(model: nn.Module, path: str, layer: nn.Module) -> str:
    """Why this layer cannot be in sparse storage; empty where it can."""
    parent = model.get_submodule(path.rpartition(".")[0]) if path else model
    if type(layer) is NonDynamicallyQuantizableLinear or isinstance(parent, nn.MultiheadAttention):
        return "MultiheadAttention reads this weight itself"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return "it has hooks, which would be lost"
    return str(_kind(layer).why_not(layer))


def _check(
    wiring: Mapping[str, Topology | Support], weights: Mapping[str, nn.Parameter], reasons: Mapping[str, str]
) -> None:
    for name, told in wiring.items():
        if name not in weights:
            known = ", ".join(list(weights)[:6]) + (", ..." if len(weights) > 6 else "")
            raise WiringError(f"The wiring names `{name}`, which the network does not have. Its weights: {known}.")
        shape = (told.backward if isinstance(told, Support) else told).shape
        if shape != tuple(weights[name].shape):
            raise WiringError(f"The wiring's `{name}` has shape {shape}, but the layer's {tuple(weights[name].shape)}.")
        if name in reasons:
            raise WiringError(
                f"`{name}` cannot be in sparse storage: {reasons[name]}. Leave it out of this wiring and run it masked."
            )


def _swapped(model: nn.Module, swaps: Mapping[int, nn.Module]) -> nn.Module:
    """The model with these modules (by ``id``) in the place of others, wherever they stand."""
    for parent in list(model.modules()):
        for child, module in list(parent._modules.items()):
            if id(module) in swaps:
                parent._modules[child] = swaps[id(module)]
    return swaps.get(id(model), model)


def _sentence(swapped: Iterable[SparseLayer], reasons: Mapping[str, str]) -> str:
    layers = list(swapped)
    kept = sum(layer.values.numel() for layer in layers)
    told = f"{len(layers)} layers are in sparse storage, with {kept:,} weights"
    stays = "; ".join(f"`{name}` stays dense: {reason}" for name, reason in reasons.items())
    return f"{told}; {stays}" if stays else told
