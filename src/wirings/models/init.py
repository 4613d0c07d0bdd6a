"""How weights begin: each initialiser draws every parameter of a network, in order, from one generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from wirings.core.errors import nearest

Draw = Callable[[tuple[int, ...], Generator], Tensor]
Initialiser = Callable[[nn.Module, Generator], None]
"""Fills the parameters that one module holds itself (not those of its children)."""


@runtime_checkable
class DrawsItself(Protocol):
    """A module with parameters of its own kind (a position embedding) says how they begin."""

    def draw(self, rng: Generator) -> None: ...


def reinitialise(model: nn.Module, rng: Generator, initialiser: str | None = None) -> None:
    """Draw every parameter anew, with the model's own initialiser, and reset the statistics of batch norms.

    Draws are made on the CPU in float32 and in the order of the parameters, so that a model on another device or
    in another dtype begins with the same numbers.

    Example:
        >>> from wirings.core.streams import stream
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> reinitialise(model, stream(1, "init"), "kaiming-normal")
        >>> model[0].bias.tolist()
        [0.0, 0.0, 0.0]

    Args:
        model: a network of `wirings.models` (also compiled or wrapped), or any network of plain layers.
        rng: where the draws come from; the global random state is left alone.
        initialiser: a name of `initialisers()`; default: ``model.initialiser``.

    Raises:
        ValueError: the model names no initialiser and none is given, or there is none of that name.
        TypeError: a layer has parameters that nobody here knows how to draw.
    """
    bare = _unwrapped(model)
    name = initialiser or getattr(bare, "initialiser", None)
    if name is None:
        raise ValueError(
            f"`{type(bare).__name__}` does not say how its weights begin. Give `initialiser`, one of: "
            f"{', '.join(initialisers())}."
        )
    fill = find(name)
    with torch.no_grad():
        for module in bare.modules():
            if isinstance(module, DrawsItself):
                module.draw(rng)
            elif any(True for _ in module.parameters(recurse=False)) or isinstance(module, nn.BatchNorm2d):
                _check_known(module)
                fill(module, rng)
        _gamma(bare, rng)


def initialisers() -> tuple[str, ...]:
    """The names of the known initialisers."""
    return tuple(sorted(_KNOWN))


def find(name: str) -> Initialiser:
    """The initialiser of this name.

    Raises:
        ValueError: there is none; the sentence names the nearest.
    """
    if name not in _KNOWN:
        raise ValueError(f"There is no initialiser {name!r}. {nearest(str(name), _KNOWN)}")
    return _KNOWN[name]


def put(target: Tensor, values: Tensor) -> None:
    """Write drawn values into a parameter, whatever its device and dtype."""
    with torch.no_grad():
        target.copy_(values.to(target.dtype))


def normal(shape: tuple[int, ...], std: float, rng: Generator) -> Tensor:
    """N(0, std²), float32, on the CPU."""
    return torch.randn(shape, generator=rng, dtype=torch.float32) * std


def uniform(shape: tuple[int, ...], bound: float, rng: Generator) -> Tensor:
    """U(−bound, bound), float32, on the CPU."""
    return (torch.rand(shape, generator=rng, dtype=torch.float32) * 2 - 1) * bound


def truncated_normal(shape: tuple[int, ...], std: float, rng: Generator) -> Tensor:
    """N(0, std²) drawn again wherever it fell beyond 2 std; ``std`` is the parent's, as in TensorFlow.

    The spread of what remains is 0.8796 std.
    """
    values = torch.randn(shape, generator=rng, dtype=torch.float32)
    flat = values.view(-1)
    while (outside := (flat.abs() > 2).nonzero().squeeze(1)).numel():
        flat[outside] = torch.randn(outside.numel(), generator=rng, dtype=torch.float32)
    return values * std


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, *kernel).

    Example:
        >>> fans((16, 3, 3, 3))
        (27, 144)
    """
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def kaiming_normal(module: nn.Module, rng: Generator) -> None:
    """N(0, 2 / fan_in) weights, zero biases (He et al. 2015; open_lth and SynFlow for VGG and ResNet)."""
    _fill(module, rng, lambda shape, g: normal(shape, math.sqrt(2 / fans(shape)[0]), g))


def glorot_normal(module: nn.Module, rng: Generator) -> None:
    """N(0, 2 / (fan_in + fan_out)) weights, zero biases (Glorot & Bengio 2010; Frankle & Carbin 2019)."""
    _fill(module, rng, lambda shape, g: normal(shape, math.sqrt(2 / sum(fans(shape))), g))


def glorot_uniform(module: nn.Module, rng: Generator) -> None:
    """U(±√(6 / (fan_in + fan_out))) weights, zero biases (Glorot & Bengio 2010; SNIP, ECN)."""
    _fill(module, rng, lambda shape, g: uniform(shape, math.sqrt(6 / sum(fans(shape))), g))


def caffe_xavier(module: nn.Module, rng: Generator) -> None:
    """U(±√(3 / fan_in)) weights, zero biases: what Caffe calls "xavier"."""
    _fill(module, rng, lambda shape, g: uniform(shape, math.sqrt(3 / fans(shape)[0]), g))


def truncated_normal_2018(module: nn.Module, rng: Generator) -> None:
    """Alford et al. 2019: truncated normals, 0.04 and bias 0.1 for linear layers, 0.05 and bias 0 for convolutions."""
    linear = isinstance(module, nn.Linear)
    std = 0.04 if linear else 0.05
    _fill(module, rng, lambda shape, g: truncated_normal(shape, std, g), bias=0.1 if linear else 0.0)


def truncated_normal_002(module: nn.Module, rng: Generator) -> None:
    """Truncated normals of 0.02, zero biases: the habit of vision transformers (Dosovitskiy et al. 2021)."""
    _fill(module, rng, lambda shape, g: truncated_normal(shape, 0.02, g))


def signed_constant(module: nn.Module, rng: Generator) -> None:
    """±√(2 / fan_in) with random signs, zero biases (Ramanujan et al. 2020, for edge-popup)."""

    def draw(shape: tuple[int, ...], g: Generator) -> Tensor:
        return torch.sign(torch.rand(shape, generator=g) - 0.5 + 2.0**-26) * math.sqrt(2 / fans(shape)[0])

    _fill(module, rng, draw)


def torch_default(module: nn.Module, rng: Generator) -> None:
    """PyTorch's own habit: U(±1/√fan_in) for weights and biases."""
    _fill(module, rng, lambda shape, g: uniform(shape, 1 / math.sqrt(fans(shape)[0]), g))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        fan_in, _ = fans(tuple(module.weight.shape))
        put(module.bias, uniform(tuple(module.bias.shape), 1 / math.sqrt(fan_in), rng))


def _fill(module: nn.Module, rng: Generator, draw: Draw, bias: float = 0.0) -> None:
    """Draw the weight of a layer and set its bias; norms begin as the identity, with empty statistics."""
    if isinstance(module, nn.BatchNorm2d):
        module.reset_running_stats()
    if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
        if module.weight is not None:
            put(module.weight, torch.ones(module.weight.shape))
        if module.bias is not None:
            put(module.bias, torch.zeros(module.bias.shape))
    elif isinstance(module, nn.Linear | nn.Conv2d):
        put(module.weight, draw(tuple(module.weight.shape), rng))
        if module.bias is not None:
            put(module.bias, torch.full(module.bias.shape, bias))


def _gamma(model: nn.Module, rng: Generator) -> None:
    """Batch norm's scale from U[0, 1], as open_lth draws it, where the model asks for it."""
    if getattr(model, "gamma", "ones") == "uniform":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.weight is not None:
                put(module.weight, torch.rand(module.weight.shape, generator=rng, dtype=torch.float32))


def _check_known(module: nn.Module) -> None:
    if type(module) not in (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm):
        raise TypeError(
            f"`reinitialise` draws plain Linear, Conv2d and norm layers. Got a `{type(module).__name__}`. Draw the "
            "dense model and convert it afterwards, or give the layer a method `draw(rng)`."
        )


def _unwrapped(model: nn.Module) -> nn.Module:
    """The bare model inside `torch.compile` and `DistributedDataParallel`."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module):
            return _unwrapped(inner)
    return model


_KNOWN: dict[str, Initialiser] = {
    "kaiming-normal": kaiming_normal,
    "glorot-normal": glorot_normal,
    "glorot-uniform": glorot_uniform,
    "caffe-xavier": caffe_xavier,
    "truncated-normal": truncated_normal_2018,
    "truncated-normal-0.02": truncated_normal_002,
    "signed-constant": signed_constant,
    "torch": torch_default,
}

__all__ = ["DrawsItself", "Initialiser", "find", "initialisers", "reinitialise"]
