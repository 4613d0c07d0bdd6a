"""Would this network be faster in sparse storage here? Layer by layer, without training it.

The model runs once, on zeros, to learn what passes through each layer. The machine's calibration
(:mod:`wirings.analysis.calibrate`) then says what each layer takes dense and sparse, and what stands between the
layers: elementwise functions, norms, the loss, the optimizer. :func:`measured` runs the real thing beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.analysis.calibrate import (
    calibrated,
    dense_layer,
    input_of,
    product,
    rest_features,
    seconds_of,
    sparse_layer,
)
from wirings.analysis.traffic import Traffic, traffic
from wirings.core.budgets import check_density, erk
from wirings.core.names import bare
from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.kernels.calibration import Calibration
from wirings.kernels.choose import Choice, choose
from wirings.kernels.work import Kernel, Purpose, Work, product_of
from wirings.makers.prunable import left_dense, prunable
from wirings.makers.random import ErdosRenyi
from wirings.makers.scoring import unwrapped
from wirings.sparse import stays_dense, to_sparse
from wirings.sparse.sequential import LIGHT

PURPOSES: tuple[Purpose, ...] = ("train", "infer")


@dataclass(frozen=True, kw_only=True)
class LayerForecast:
    """One weight.

    Args:
        name: of the weight.
        works: how it is used: once a call, at the batch that was asked for, with the connections it would have.
        first: whether its input needs no gradient.
        ms: ``"<kernel> <purpose>"`` -> milliseconds a step, updates included; dense only where it must stay dense.
        bytes: ``"<kernel> <purpose>"`` -> bytes of weight, index, gradient and momentum.
        reason: why it stays dense; empty where it can be sparse.
    """

    name: str
    works: tuple[Work, ...]
    first: bool
    ms: Mapping[str, float]
    bytes: Mapping[str, int]
    reason: str = ""

    @property
    def density(self) -> float:
        """Of the weight."""
        return self.works[0].density

    def gain(self, purpose: Purpose) -> float | None:
        """How many times faster sparse is; ``None`` where it must stay dense."""
        return None if self.reason else self.ms[f"dense {purpose}"] / self.ms[f"sparse {purpose}"]

    def kernel(self, purpose: Purpose) -> Kernel:
        """Which should run it."""
        gain = self.gain(purpose)
        return "sparse" if gain is not None and gain > 1 else "dense"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A whole network.

    Args:
        layers: its weights, in the order in which they run.
        batch: samples a step.
        density: of the weights that can be sparse, together.
        rest_ms: ``"<kernel> <purpose>"`` -> what stands between the layers, the loss and other parameters' updates.
        calibration: what the times come from.
        measured_ms: the same keys -> whole steps, where they were measured too.
        measured_layers: weight name -> as its ``ms``, without updates, where they were measured too.
    """

    layers: tuple[LayerForecast, ...]
    batch: int
    density: float
    rest_ms: Mapping[str, float]
    calibration: Calibration = field(repr=False)
    measured_ms: Mapping[str, float] = field(default_factory=dict)
    measured_layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)

    def ms(self, kernel: Kernel, purpose: Purpose) -> float:
        """A training step or a forward pass of the whole network, with every layer that can be sparse sparse or not."""
        key = f"{kernel} {purpose}"
        layers = (layer.ms[f"dense {purpose}"] if layer.reason else layer.ms[key] for layer in self.layers)
        return sum(layers) + self.rest_ms[key]

    def gain(self, purpose: Purpose) -> float:
        """How many times faster the network is in sparse storage."""
        return self.ms("dense", purpose) / self.ms("sparse", purpose)

    def bytes(self, kernel: Kernel, purpose: Purpose) -> int:
        """Weights, indices, gradients and momenta; activations are the same either way."""
        key = f"{kernel} {purpose}"
        return sum(layer.bytes[f"dense {purpose}"] if layer.reason else layer.bytes[key] for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """As plain data (JSON)."""
        return {
            "batch": self.batch,
            "density": self.density,
            "calibration": {"date": self.calibration.date, **vars(self.calibration.key)},
            "layers": [
                {
                    "name": layer.name,
                    "shape": list(layer.works[0].shape),
                    "density": layer.density,
                    "ms": dict(layer.ms),
                    "bytes": dict(layer.bytes),
                    "train": layer.kernel("train"),
                    "infer": layer.kernel("infer"),
                    "reason": layer.reason,
                    "measured_ms": dict(self.measured_layers.get(layer.name, {})),
                }
                for layer in self.layers
            ],
            "network": {
                f"{kernel} {purpose}": {
                    "ms": self.ms(kernel, purpose),
                    "bytes": self.bytes(kernel, purpose),
                    "measured_ms": self.measured_ms.get(f"{kernel} {purpose}"),
                }
                for kernel in _KERNELS
                for purpose in PURPOSES
            },
        }


_KERNELS: tuple[Kernel, ...] = ("dense", "sparse")


def forecast(
    model: nn.Module,
    shape: Sequence[int],
    density: float | Wiring = 0.1,
    *,
    batch: int | None = None,
    calibration: Calibration | None = None,
) -> Forecast:
    """What a network takes here, dense and in sparse storage: time and memory, layer by layer.

    Example:
        >>> found = forecast(torchvision.models.resnet50(), (1, 3, 224, 224), 0.05, batch=16)
        >>> found.gain("train"), found.layers[0].kernel("train")

    Args:
        model: any dense model; it runs once, in eval mode, on zeros, and is left as it was.
        shape: of an input batch, batch dimension first.
        density: of the weights that can be sparse, shared out by ERK; or a wiring.
        batch: samples a step; those of ``shape`` by default.
        calibration: of the machine; its own by default, measured now if it never was (some seconds).
    """
    shape = _checked(shape)
    batch = shape[0] if batch is None else batch
    if batch < 1:
        raise ValueError(f"`batch` of `forecast` must be at least 1. Got {batch}.")
    inner = unwrapped(model)
    reasons = {**left_dense(inner), **stays_dense(inner)}
    counts = _counts(inner, density, reasons)
    calibration = calibrated() if calibration is None else calibration
    seen = traffic(inner, shape, batch)
    layers = []
    for name, works in seen.works.items():
        kept = [replace(work, nnz=counts.get(name, work.numel)) for work in works]
        layers.append(_layer(name, kept, seen.firsts[name], reasons, calibration))
    free = sum(w.numel() for name, w in prunable(inner).items() if not reasons.get(name))
    return Forecast(
        layers=tuple(layers),
        batch=batch,
        density=sum(counts.values()) / max(1, free),
        rest_ms=_rest(inner, seen, len(layers), calibration),
        calibration=calibration,
    )


def report(
    model: nn.Module,
    wiring: Wiring,
    shape: Sequence[int],
    batch: int,
    *,
    purpose: Purpose = "train",
    dtype: torch.dtype = torch.float32,
    calibration: Calibration | None = None,
) -> dict[str, Choice]:
    """For every weight of the wiring, which kernels should run it at this batch, and why.

    Unlike :func:`forecast` it never measures: without a calibration fixed rules answer.

    Args:
        model: dense.
        wiring: of it.
        shape: of an input batch, batch dimension first.
        batch: samples a step.
        purpose: ``"train"`` or ``"infer"``.
        dtype: of activations and values.
        calibration: of the machine; the one in the cache folder by default.
    """
    inner = unwrapped(model)
    reasons = stays_dense(inner)
    counts = _counts(inner, wiring, reasons)
    seen = traffic(inner, _checked(shape), batch)
    found = {}
    for name, works in seen.works.items():
        if name in reasons:
            found[name] = Choice(kernel="dense", why=reasons[name])
        elif name in counts:
            work = replace(works[0], nnz=counts[name], chained=False)
            told = choose(work, dtype=dtype, purpose=purpose, first=seen.firsts[name], calibration=calibration)
            found[name] = told
    return found


def measured(
    model: nn.Module, shape: Sequence[int], found: Forecast, density: float | Wiring = 0.1, *, rounds: int = 5
) -> Forecast:
    """The forecast with what is then measured: every layer by itself, and whole steps of the network, in turns.

    A step is forward, cross-entropy (or the mean square of what is no matrix of logits), backward and SGD with
    momentum, on random input.

    Args:
        model, shape, density: as they were told to :func:`forecast`.
        found: the forecast.
        rounds: how often each is timed; the median counts.
    """
    inner = copy.deepcopy(unwrapped(model))
    wiring = _drawn(inner, density, {**left_dense(inner), **stays_dense(inner)})
    nets: dict[Kernel, nn.Module] = {"dense": inner, "sparse": to_sparse(copy.deepcopy(inner), wiring)}
    x = torch.randn((found.batch, *shape[1:]), generator=stream(0, "forecast input"))
    times: dict[str, float] = {}
    for purpose in PURPOSES:
        blocks = [_step(net, x, purpose) for net in nets.values()]
        for kernel, took in zip(nets, seconds_of(blocks, rounds), strict=True):
            times[f"{kernel} {purpose}"] = 1e3 * took
    layers: dict[str, dict[str, float]] = {}
    for layer in found.layers:
        if not layer.reason and layer.name in wiring:
            layers[layer.name] = _measured_layer(layer, wiring[layer.name], rounds)
    return replace(found, measured_ms=times, measured_layers=layers)


def sparse_bytes(work: Work, purpose: Purpose) -> int:
    """Bytes that a layer in sparse storage takes: values and stored topology, the kernels' index, and in training
    its transpose, the gradient and a momentum."""
    rows, columns = work.shape[0], math.prod(work.shape[1:])
    narrow = 2 if columns <= 1 << 16 else 4
    held = (4 + 4 + narrow) * work.nnz + 2 * 8 * (rows + 1)
    if purpose == "infer":
        return held
    sources = work.shape[1] * work.groups * work.stride**2 if work.is_conv else columns
    place, row = (4 if work.nnz < 1 << 31 else 8), (2 if rows <= 1 << 16 else 4)
    return held + (4 + 4 + place + row) * work.nnz + 8 * (sources + 1)


# ---------------------------------------------------------------------- arithmetic


def _checked(shape: Sequence[int]) -> tuple[int, ...]:
    if not shape or any(type(n) is not int or n < 1 for n in shape):
        raise ValueError(f"`shape` of `forecast` must be the sizes of an input batch. Got {tuple(shape)!r}.")
    return tuple(shape)


def _layer(
    name: str, works: list[Work], first: bool, reasons: Mapping[str, str], calibration: Calibration
) -> LayerForecast:
    ms: dict[str, float] = {}
    held = works[0]
    size: dict[str, int] = {"dense infer": 4 * held.numel, "dense train": 12 * held.numel}
    reason = reasons.get(name, "")
    if not reason and held.is_conv and held.stride > 2:
        reason = f"the sparse kernels know stride 1 and 2, not {held.stride}"
    for purpose in PURPOSES:
        which = product_of(purpose, first=first)
        for kernel in _KERNELS:
            if reason and kernel == "sparse":
                continue
            # a layer that lost nothing runs on torch's own product, but for small ones in a chain
            whole = held.nnz == held.numel and not (held.chained and held.numel <= LIGHT)
            used: Kernel = "dense" if whole else kernel
            took = sum(calibration.ms(work, used, which) for work in works)
            if purpose == "train":
                took += _slope_ms(calibration, held.numel if used == "dense" else held.nnz)
            ms[f"{kernel} {purpose}"] = took
        if not reason:
            size[f"sparse {purpose}"] = sparse_bytes(held, purpose)
    return LayerForecast(name=name, works=tuple(works), first=first, ms=ms, bytes=size, reason=reason)


def _slope_ms(calibration: Calibration, numbers: int) -> float:
    """An update but for what a step of the optimizer costs whatever it does, which is counted once."""
    return calibration.update_ms(numbers) - 1e3 * calibration.costs["update"][0]


def _rest(model: nn.Module, seen: Traffic, layers: int, calibration: Calibration) -> dict[str, float]:
    def passes(kind: str, counts: Sequence[int]) -> float:
        costs = calibration.costs[kind]
        return 1e3 * sum(c * a for n in counts for c, a in zip(costs, rest_features(n), strict=True))

    fixed = 1e3 * calibration.costs["update"][0]
    small = [p.numel() for name, p in model.named_parameters() if bare(name) not in seen.works]
    update = fixed * (1 + _EACH_PARAMETER * (len(small) + layers)) + sum(_slope_ms(calibration, n) for n in small)
    step = update + passes("loss train", [seen.logits])
    found = {}
    for purpose in PURPOSES:
        between = sum(passes(f"{kind} {purpose}", counts) for kind, counts in seen.others.items())
        saved = 1e3 * calibration.costs[f"elementwise {purpose}"][1] * seen.fused  # by ReLUs fused into products
        more = step if purpose == "train" else 0.0
        found[f"dense {purpose}"] = between + more
        found[f"sparse {purpose}"] = max(0.0, between - saved) + more
    return found


_EACH_PARAMETER = 0.1  # of an optimizer's step with one parameter, what each further one adds


def _counts(model: nn.Module, density: float | Wiring, reasons: Mapping[str, str]) -> dict[str, int]:
    """Weight -> connections, of the weights that can be sparse."""
    weights = prunable(model)
    if isinstance(density, Wiring):
        for name, topology in density.items():
            if name not in weights or tuple(weights[name].shape) != topology.shape:
                raise ValueError(
                    f"`density` of `forecast` is a wiring of another network: `{name}` {topology.shape}. Give one of "
                    "this network, or a number."
                )
        return {name: t.nnz for name, t in density.items() if not reasons.get(name)}
    check_density(density, "forecast")
    shapes = {name: tuple(w.shape) for name, w in weights.items() if not reasons.get(name)}
    if not shapes:
        return {}
    return dict(erk(shapes, density))


def _drawn(model: nn.Module, density: float | Wiring, reasons: Mapping[str, str]) -> Wiring:
    if isinstance(density, Wiring):
        return Wiring({name: t for name, t in density.items() if not reasons.get(name)})
    shapes = {name: tuple(w.shape) for name, w in prunable(model).items() if not reasons.get(name)}
    return ErdosRenyi(density)(shapes, stream(0, "forecast wiring"))


# ---------------------------------------------------------------------- measuring


def _step(net: nn.Module, x: Tensor, purpose: Purpose) -> Callable[[], object]:
    net.train(purpose == "train")  # once: walking over the modules of a small network takes as long as a layer
    if purpose == "infer":

        def infer() -> None:
            with torch.no_grad():
                net(x)

        return infer
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)
    labels = torch.zeros(x.shape[0], dtype=torch.int64)

    def train() -> None:
        optimizer.zero_grad()
        y = net(x)
        y = y if isinstance(y, Tensor) else next(iter(y))
        loss = F.cross_entropy(y, labels) if y.dim() == 2 else y.square().mean()
        loss.backward()
        optimizer.step()

    return train


def _measured_layer(layer: LayerForecast, topology: Topology, rounds: int) -> dict[str, float]:
    found: dict[str, float] = {}
    matrix = topology if len(topology.shape) == 4 or topology.shape == layer.works[0].shape else None
    for work in layer.works:
        told = matrix or Topology.full(work.shape).sample(work.nnz, stream(0, "forecast wiring"))
        x, layers = input_of(work), {"dense": dense_layer(work), "sparse": sparse_layer(work, told)}
        for purpose in PURPOSES:
            which = product_of(purpose, first=layer.first)
            times = seconds_of([product(some, x, which) for some in layers.values()], rounds)
            for kernel, took in zip(layers, times, strict=True):
                found[f"{kernel} {purpose}"] = found.get(f"{kernel} {purpose}", 0.0) + 1e3 * took
    return found
