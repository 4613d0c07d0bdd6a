"""The Sparse DNN Graph Challenge (Kepner et al. 2019): inference through RadiX-Nets with 32 connections a neuron.

Every weight is 1/16; a layer computes ``min(relu(x W + b), 32)``; the answer is which images have any output left. The
networks are made here from their construction, the images are MNIST's, enlarged and set to 0 or 1. The rate is
images times connections of all layers, over seconds and cores, as the challenge counts: images that have died are
counted, though not computed. Where SuiteSparse:GraphBLAS is installed (``pip install python-graphblas
'suitesparse-graphblas<10.2'``) it does the same with fewer images beside us, on as many threads.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wirings.bench import peers
from wirings.bench.protocol import watched
from wirings.bench.result import Result, begun
from wirings.core.errors import DataError
from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.kernels import SparseIndex, pack, panel_width, panels_forward, unpack
from wirings.makers.radix import radix_net

NEURONS = {1024: -0.30, 4096: -0.35, 16384: -0.40, 65536: -0.45}
"""Neurons a layer -> bias."""

CONNECTIONS, WEIGHT, HIGHEST = 32, 1 / 16, 32.0
_PERIOD = 12  # layers after which a network's wiring repeats
_SHRINK = 10  # layers between looking for images that have died
_FEWER = 20  # GraphBLAS, and images that are kept to the end, see one image of so many
_ROOM = 2**28  # pixels of the images that are in memory at a time, 1 GiB


@dataclass(frozen=True)
class Case:
    """Neurons a layer, layers, images; whether scipy checks the answer."""

    neurons: int
    layers: int
    images: int = 60_000
    check: bool = False


CASES = (
    Case(1024, 120, check=True),
    Case(1024, 480),
    Case(1024, 1920),
    Case(4096, 120),
    Case(4096, 480),
    Case(16384, 120),
    Case(65536, 120, images=12_000),
)
QUICK = (Case(1024, 120, images=500, check=True),)


def run(
    *,
    rounds: int = 1,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench graph-challenge",
    cases: Sequence[Case] | None = None,
) -> Result:
    """Edges a second and core, as plain data; ``rounds`` times each, the other arguments as in `mlp.run`."""
    del against
    result = begun("graph-challenge", command, threads=threads)
    result["columns"] = {"edges_per_second": "edges a second and core", "categories": "images left", "images": "images"}
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            result["cases"].append(_case(case, rounds, threads))
    return result


def network(neurons: int, layers: int) -> list[Topology]:
    """The challenge's network: 32 connections into and out of every neuron.

    1024 neurons are the RadiX-Net of radices (32, 32); larger ones have radices (8, 8, 8) on 512 neurons in many
    copies, each copy joined to four: 8 x 4 = 32.

    Example:
        >>> found = network(1024, 4)
        >>> found[0].shape, found[0].nnz, found[2] is found[0]
        ((1024, 1024), 32768, True)

    Args:
        neurons: a layer; one of `NEURONS`.
        layers: how many; layers that repeat are the same object.
    """
    if neurons not in NEURONS:
        raise ValueError(
            f"`neurons` of the Graph Challenge must be one of {', '.join(map(str, NEURONS))}. Got {neurons}."
        )
    if layers < 1:
        raise ValueError(f"`layers` of the Graph Challenge must be at least 1. Got {layers}.")
    known: dict[str, Topology] = {}
    period = [known.setdefault(t.fingerprint, t) for t in _period(neurons)]
    return [period[i % _PERIOD] for i in range(layers)]


@cache
def _period(neurons: int) -> tuple[Topology, ...]:
    if neurons == 1024:
        return tuple(radix_net([[32, 32]] * (_PERIOD // 2), [1] * (_PERIOD + 1)))
    copies = neurons // 512
    return tuple(radix_net([[8, 8, 8]] * (_PERIOD // 3), [copies] * (_PERIOD + 1), degrees=[4] * _PERIOD))


def images(neurons: int, count: int, *, first: int = 0) -> Tensor:
    """MNIST's training images from ``first`` on (mnist-mini's, again and again, where it is not here) with as many
    pixels as neurons, each 0 or 1; shape ``(count, neurons)``."""
    small, side = _digits(), round(neurons**0.5)
    some = small[torch.arange(first, first + count) % len(small)].float()
    large = F.interpolate(some, size=(side, side), mode="bilinear", align_corners=False)
    return (large >= 128).float().flatten(1)


@cache
def _digits() -> Tensor:
    from wirings.training.build import load_data

    try:
        data = load_data("mnist", None)
    except DataError:
        data = load_data("mnist-mini", None)
    return torch.as_tensor(data.train_images).reshape(-1, 1, 28, 28)


def infer(topologies: Sequence[Topology], x: Tensor, bias: float, *, drop: bool = True) -> Tensor:
    """The outputs of all images, ``(count, neurons)``; a few panels at a time go through the whole network.

    Args:
        topologies: of the layers.
        x: images, ``(count, neurons)``.
        bias: of every neuron.
        drop: whether images that have died are left out from then on.
    """
    indices: dict[int, SparseIndex] = {}
    for topology in topologies:
        indices.setdefault(id(topology), SparseIndex((topology.shape[0], topology.shape[1]), topology.index))
    values = torch.full((topologies[0].nnz,), WEIGHT)
    shift = torch.full((topologies[0].shape[0],), bias)
    outputs = torch.zeros_like(x)
    width = panel_width(x.shape[1], x.itemsize, min(len(x), 128))
    for first in range(0, len(x), width * torch.get_num_threads()):
        part = x[first : first + width * torch.get_num_threads()]
        alive = torch.arange(len(part))
        for start in range(0, len(topologies), _SHRINK):
            panels = pack(part, width)
            for topology in topologies[start : start + _SHRINK]:
                panels = panels_forward(indices[id(topology)], values, panels, bias=shift, relu=True)
                panels.clamp_(max=HIGHEST)
            part = unpack(panels, len(part))
            if drop:
                left = part.any(1)
                part, alive = part[left].contiguous(), alive[left]
            if not len(part):
                break
        outputs[first + alive] = part
    return outputs


def by_scipy(topologies: Sequence[Topology], x: Tensor, bias: float) -> Tensor:
    """The same by scipy's sparse products in float64, written apart from `infer`: bias goes to non-zeros only."""
    from scipy.sparse import csr_array

    weights = {}
    for topology in topologies:
        if id(topology) not in weights:
            pointer, column = topology.csr()
            held = ([WEIGHT] * topology.nnz, column.numpy(), pointer.numpy())
            weights[id(topology)] = csr_array(held, shape=topology.shape).T.tocsr()
    y = csr_array(x.double().numpy())
    for topology in topologies:
        y = csr_array(y @ weights[id(topology)])
        y.data = (y.data + bias).clip(0.0, HIGHEST)
        y.eliminate_zeros()
    return torch.from_numpy(y.toarray())


def by_graphblas(topologies: Sequence[Topology], x: Tensor, bias: float, *, threads: int = 1) -> Tensor:
    """The same by SuiteSparse:GraphBLAS in float32, by its own sparse products; images that have died cost nothing."""
    gb: Any = importlib.import_module("graphblas")
    gb.ss.config["nthreads"] = threads
    weights: dict[int, Any] = {}
    for topology in topologies:
        if id(topology) not in weights:
            out, into = torch.unravel_index(topology.index.cpu(), (topology.shape[0], topology.shape[1]))
            shape = {"nrows": topology.shape[1], "ncols": topology.shape[0]}
            weights[id(topology)] = gb.Matrix.from_coo(into.numpy(), out.numpy(), WEIGHT, dtype="FP32", **shape)
    y = gb.Matrix.from_dense(x.numpy(), missing_value=0.0, dtype="FP32")
    for topology in topologies:
        y = y.mxm(weights[id(topology)], gb.semiring.plus_times["FP32"]).new()
        y = y.apply(gb.binary.plus["FP32"], right=bias).new()
        y = y.select(gb.select.valuegt, 0.0).new()
        y = y.apply(gb.binary.min["FP32"], right=HIGHEST).new()
    return torch.from_numpy(y.to_dense(fill_value=0.0, dtype="FP32"))


def _case(case: Case, rounds: int, threads: int) -> Result:
    topologies, bias = network(case.neurons, case.layers), NEURONS[case.neurons]
    infer(topologies[:2], images(case.neurons, 128), bias)  # loads the kernels
    few = max(1, case.images // _FEWER)
    contenders: list[tuple[str, int, Callable[[Tensor], Tensor]]] = [
        ("wirings", case.images, lambda x: infer(topologies, x, bias)),
        ("wirings, all images to the end", few, lambda x: infer(topologies, x, bias, drop=False)),
    ]
    if case.layers == min(other.layers for other in CASES) and importlib.util.find_spec("graphblas") is not None:
        contenders.append(("GraphBLAS", few, lambda x: by_graphblas(topologies, x, bias, threads=threads)))
    rows = []
    for name, count, make in contenders:
        seconds, left, error = _in_parts(case, count, make, topologies, bias, rounds, threads)
        median = statistics.median(seconds)
        rows.append({
            "contender": name,
            "density": topologies[0].density,
            "mask": "RadiX-Net",
            "median_ms": 1e3 * median,
            "best_ms": 1e3 * min(seconds),
            "ratio": None,
            "baseline": False,
            "error": error,
            "edges_per_second": count * sum(t.nnz for t in topologies) / median / threads,
            "categories": left,
            "images": count,
        })  # fmt: skip
    return {"case": f"{case.neurons} neurons, {case.layers} layers", "rounds": rounds, "rows": rows}


def _in_parts(
    case: Case,
    count: int,
    make: Callable[[Tensor], Tensor],
    topologies: Sequence[Topology],
    bias: float,
    rounds: int,
    threads: int,
) -> tuple[list[float], int, float | None]:
    """Seconds of each round, images left, and the largest error; as many images at a time as there is room for."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    seconds, left, errors = [0.0] * rounds, 0, [0.0]
    room = max(128, _ROOM // case.neurons)
    for first in range(0, count, room):
        x = images(case.neurons, min(room, count - first), first=first)
        for i in range(rounds):
            start = clock()
            y = make(x)
            seconds[i] += clock() - start
        left += int(y.any(1).sum())
        if case.check:
            errors.append(_error(topologies, x, y, bias))
    return seconds, left, max(errors) if case.check else None


def _error(topologies: Sequence[Topology], x: Tensor, y: Tensor, bias: float) -> float:
    """Deviation from scipy's result on up to 2,000 images; 1 where another image is left."""
    few = torch.randperm(len(x), generator=stream(0, "bench check"))[:2000]
    exact = by_scipy(topologies, x[few], bias)
    if not torch.equal(y[few].any(1), exact.any(1)):
        return 1.0
    return float((y[few] - exact).abs().max() / exact.abs().max().clamp(min=1e-30))
