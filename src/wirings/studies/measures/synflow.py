"""What the study `synflow` computes beside its runs: when layers die, what is conserved, what a round takes away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from wirings import models
from wirings.analysis.compression import collapsed, critical_of_scores, maximal_compression
from wirings.analysis.conservation import (
    cut_spread,
    flow_correlation,
    layer_totals,
    score_to_flow,
    size_slope,
    unit_flows,
)
from wirings.analysis.paths import effective_wiring
from wirings.core.streams import stream
from wirings.data import Batches
from wirings.makers.baselines import magnitude_scores, random_scores
from wirings.makers.gradients import Problem
from wirings.makers.grasp import balanced, grasp_scores
from wirings.makers.magnitude import magnitude
from wirings.makers.prunable import prunable
from wirings.makers.scoring import Batch, CollapseWarning, Pace, Scores, prune, shapes_of, untouched
from wirings.makers.snip import snip_scores
from wirings.makers.synflow import Flow, SynFlow, synflow, synflow_scores
from wirings.models.init import fans, normal, put, uniform
from wirings.studies.measurement import Lab, Measurement
from wirings.training.build import load_data
from wirings.training.records import Record

Scorer = Literal["random", "magnitude", "snip", "grasp", "grasp-synflow-data"]

SCORERS: tuple[Scorer, ...] = ("random", "magnitude", "snip", "grasp", "grasp-synflow-data")
"""Those that score once; SynFlow scores a hundred times."""

STEP = 0.25
"""Of the grid of exponents that the publication trained on."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network before training.

    Args:
        model: a name of `wirings.models.names()`.
        classes: of its head.
        width: factor on its widths.
        init: ``"own"``: the model's; ``"fan-out"``: as the publication's residual networks begin, convolutions from
            N(0, 2 / fan_out) and the classifier from U(±1/√fan_in), which is bounded.
        data: whose images SNIP and GraSP look at, ten for each class; it gives the image's shape too.
    """

    model: str
    classes: int = 10
    width: float = 1.0
    init: Literal["own", "fan-out"] = "own"
    data: str = "cifar10"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return (1, 28, 28) if "mnist" in self.data else (3, 32, 32)

    def made(self, seed: int) -> nn.Module:
        """The network with the first values of this seed."""
        settings: dict[str, Any] = {} if self.width == 1 else {"width": self.width}
        model = models.build(self.model, image_shape=self.shape, classes=self.classes, seed=seed, **settings)
        if self.init == "fan-out":
            _begin_by_fan_out(model, stream(seed, "init"))
        return model


def _begin_by_fan_out(model: nn.Module, rng: Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            shape = tuple(module.weight.shape)
            put(module.weight, normal(shape, math.sqrt(2 / fans(shape)[1]), rng))
        elif isinstance(module, nn.Linear):
            shape = tuple(module.weight.shape)
            put(module.weight, uniform(shape, 1 / math.sqrt(fans(shape)[0]), rng))


@dataclass(frozen=True, kw_only=True)
class OneShot(Measurement):
    """When layers die under a pruner that scores once: exactly, from the rank of each layer's best score.

    Gives ``deaths``, name -> the exponent of the largest compression that leaves the layer a connection; the first of
    them; ``maximal``; and with ``cut`` the largest exponent of the grid at which a path leads from input to output.
    """

    kind: ClassVar[str] = "one-shot"
    net: Net
    scorer: Scorer
    seed: int
    cut: bool = False

    def measure(self, lab: Lab) -> dict[str, Any]:
        model = self.net.made(self.seed)
        scores = scores_of(self.scorer, model, self.seed, lambda: images_of(self.net, self.seed, lab))
        exponent, first = critical_of_scores(scores)
        shapes = {name: tuple(score.shape) for name, score in scores.items()}
        maximal = maximal_compression(shapes)
        found = {"exponent": exponent, "first": first, "deaths": deaths(scores), "maximal": maximal}
        if not self.cut:
            return found

        def leads(step: int) -> bool:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CollapseWarning)  # that is what is looked for
                wiring = prune(lambda _: scores, shapes, 10 ** -(step * STEP), owner="OneShot")
            return effective_wiring(model, wiring, (1, *self.net.shape)).nnz > 0

        return found | {"cut": STEP * last(leads, math.floor(maximal / STEP) + 1)}


def last(holds: Callable[[int], bool], top: int) -> int:
    """The last step below ``top`` at which something holds that holds at 0 and never again once it fails.

    Example:
        >>> last(lambda step: step <= 5, 24)
        5
    """
    good, bad = 0, top
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def deaths(scores: Scores) -> dict[str, float]:
    """Weight -> the exponent of the largest compression by global scores that leaves it a connection.

    Example:
        >>> found = deaths({"a": torch.tensor([9.0, 8.0, 7.0]), "b": torch.tensor([1.0, 7.5])})
        >>> {name: round(5 / 10**exponent) for name, exponent in found.items()}
        {'a': 1, 'b': 3}
    """
    total = sum(score.numel() for score in scores.values())
    best = {name: float(score.max()) for name, score in scores.items()}
    ranks = {name: sum(int((score >= limit).sum()) for score in scores.values()) for name, limit in best.items()}
    return {name: math.log10(total / rank) for name, rank in ranks.items()}


def scores_of(scorer: str, model: nn.Module, seed: int, images: Callable[[], Batch]) -> dict[str, Tensor]:
    """The scores of a pruner on a network at initialisation, in float64; higher is kept.

    Args:
        scorer: of `SCORERS`, or ``"synflow"``, or ``"snip-signed"``: ``w * dL/dw`` without the absolute value.
        model: the network.
        seed: of random scores.
        images: makes the batch, for those that look at data.
    """
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    if scorer == "random":
        return random_scores(weights, stream(seed, "wiring"))
    if scorer == "magnitude":
        return magnitude_scores(weights)
    batch = images()
    if scorer == "synflow":
        assert isinstance(batch, tuple)
        return synflow_scores(model, (1, *batch[0].shape[1:]))
    if scorer.startswith("snip"):
        problem = Problem(model, weights, [batch])
        with untouched(model):
            if scorer == "snip":
                return snip_scores(problem)
            return {name: weights[name].double() * g for name, g in problem.gradient(None).items()}
    assert isinstance(batch, tuple)
    half = len(batch[0]) // 2
    halves: list[Batch] = [(batch[0][:half], batch[1][:half]), (batch[0][half:], batch[1][half:])]
    paper = scorer == "grasp"
    problem = Problem(model, weights, halves, None, 200.0 if paper else 1.0)
    with untouched(model, norms="train"):
        return grasp_scores(problem, sign="paper" if paper else "synflow-data")


def images_of(net: Net, seed: int, lab: Lab, each: int = 10) -> tuple[Tensor, Tensor]:
    """So many training images of every class."""
    found = load_data(net.data, lab.data_root)
    served = Batches(found.train_images, found.train_labels, batch_size=500, seed=seed, normalise=found.normalise)
    return balanced(served.epoch(0), classes=found.classes, each=each)


@dataclass(frozen=True, kw_only=True)
class FlowCritical(Measurement):
    """SynFlow at several compressions, from the largest down to the first that leaves every layer a connection.

    Gives ``tried``: for each exponent the empty layers, and whether a path leads from input to output; ``connections``
    and ``maximal``.
    """

    kind: ClassVar[str] = "synflow-critical"
    net: Net
    seed: int
    exponents: tuple[float, ...]
    rounds: int = 100

    def measure(self, lab: Lab) -> dict[str, Any]:
        model = self.net.made(self.seed)
        shape = (1, *self.net.shape)
        tried = []
        for exponent in sorted(self.exponents, reverse=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CollapseWarning)  # that is what is looked for
                wiring = synflow(model, shape, 10**-exponent, rounds=self.rounds)
            empty = collapsed(wiring)
            path = effective_wiring(model, wiring, shape).nnz > 0
            tried.append({"exponent": exponent, "empty": empty, "path": path, "connections": wiring.nnz})
            if not empty:
                break
        return {"tried": tried, "maximal": maximal_compression(shapes_of(prunable(model)))}


@dataclass(frozen=True, kw_only=True)
class ImageNetVGG(Measurement):
    """When layers of VGG-19 for ImageNet die under random or magnitude pruning: 143,652,544 weights, layer by layer.

    Convolutions begin with N(0, 2 / fan_out), linear layers with N(0, 0.01²), as in the publication. Each layer is
    drawn twice, once for its best and once to be ranked, so that no more than one is in memory.
    """

    kind: ClassVar[str] = "imagenet-vgg"
    scorer: Literal["random", "magnitude"]
    seed: int
    width: float = 1.0

    def measure(self, lab: Lab) -> dict[str, Any]:
        sizes = _imagenet_vgg(self.width)

        def drawn(layer: int) -> Tensor:
            _, count, deviation = sizes[layer]
            draw = torch.randn(count, generator=stream(self.seed, f"imagenet-vgg-{layer}"))
            return draw if self.scorer == "random" else draw.abs_().mul_(deviation)

        best = torch.tensor([float(drawn(layer).max()) for layer in range(len(sizes))])
        ranks = torch.zeros(len(sizes), dtype=torch.int64)
        for layer in range(len(sizes)):
            values = drawn(layer)
            values = values[values >= best.min()].sort().values
            ranks += len(values) - torch.searchsorted(values, best)
        total = sum(count for _, count, _ in sizes)
        found = {name: math.log10(total / int(rank)) for (name, _, _), rank in zip(sizes, ranks, strict=True)}
        first = min(found, key=lambda name: found[name])
        return {"exponent": found[first], "first": first, "deaths": found, "maximal": math.log10(total / len(sizes))}


def _imagenet_vgg(width: float) -> list[tuple[str, int, float]]:
    """(name, weights, standard deviation) of the nineteen layers."""
    layers, entering, number = [], 3, 0
    for filters, many in zip((64, 128, 256, 512, 512), (2, 2, 4, 4, 4), strict=True):
        leaving = round(filters * width)
        for _ in range(many):
            number += 1
            layers.append((f"conv{number}", 9 * entering * leaving, math.sqrt(2 / (9 * leaving))))
            entering = leaving
    hidden = round(4096 * width)
    for place, (inputs, outputs) in enumerate(((entering * 49, hidden), (hidden, hidden), (hidden, 1000)), start=1):
        layers.append((f"fc{place}", inputs * outputs, 0.01))
    return layers


@dataclass(frozen=True, kw_only=True)
class Conserved(Measurement):
    """How far scores are conserved in a chain of layers: from unit to unit, and from layer to layer, in float64.

    Gives ``error`` (the largest difference between what enters and what leaves a unit, relative to the layer's largest
    sum), ``correlation`` of the two over all units, ``spread`` of the layers' totals, their coefficient of variation
    ``cv``, and the ``slope`` of average score against 1/size.
    """

    kind: ClassVar[str] = "conserved"
    net: Net
    scorer: str
    seed: int

    def measure(self, lab: Lab) -> dict[str, Any]:
        model = self.net.made(self.seed).double()

        def images() -> Batch:
            x, y = images_of(self.net, self.seed, lab, each=2)
            return x.double(), y

        scores = _conserving(self.scorer, model, self.seed, images)
        flows, totals = unit_flows(scores), layer_totals(scores)
        values = torch.tensor(list(totals.values()), dtype=torch.float64)
        return {
            "error": max(flow.error for flow in flows.values()),
            "correlation": flow_correlation(flows),
            "spread": cut_spread(totals),
            "cv": float(values.std() / values.mean().abs()),
            "slope": size_slope(scores),
            "totals": totals,
        }


def _conserving(scorer: str, model: nn.Module, seed: int, images: Callable[[], Batch]) -> dict[str, Tensor]:
    """The scores; GraSP's with batch norm in evaluation mode, where units are homogeneous one image at a time."""
    if scorer != "grasp":
        return scores_of(scorer, model, seed, images)
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    with untouched(model):
        return grasp_scores(Problem(model, weights, [images()], None, 200.0))


@dataclass(frozen=True, kw_only=True)
class FlowRatio(Measurement):
    """The largest share of the total flow that SynFlow removes in one round: below 1, no layer can lose all it has."""

    kind: ClassVar[str] = "flow-ratio"
    net: Net
    seed: int
    exponent: float
    rounds: int
    schedule: Pace = "exponential"

    def measure(self, lab: Lab) -> dict[str, Any]:
        model = self.net.made(self.seed)
        weights = prunable(model)
        flow = Flow(model, (1, *self.net.shape), weights)
        with untouched(model):
            ratios = score_to_flow(
                flow.scores, shapes_of(weights), 10**-self.exponent, rounds=self.rounds, schedule=self.schedule
            )
        return {"largest": max(ratios)}


@dataclass(frozen=True, kw_only=True)
class MaximalMLP(Measurement):
    """SynFlow at the maximal compression of a fully connected network of random depth and widths.

    Gives the connections of each layer: one, if the theorem is right. Seed 0 is LeNet-300-100.
    """

    kind: ClassVar[str] = "maximal-mlp"
    seed: int

    def measure(self, lab: Lab) -> dict[str, Any]:
        rng = stream(self.seed, "widths")
        depth = int(torch.randint(2, 6, (), generator=rng))
        hidden = tuple(int(n) for n in torch.randint(5, 80, (depth,), generator=rng))
        shape, hidden = ((1, 28, 28), (300, 100)) if self.seed == 0 else ((1, 6, 6), hidden)
        model = models.build("mlp", image_shape=shape, classes=10, seed=self.seed, hidden=hidden)
        shapes = shapes_of(prunable(model))
        density = len(shapes) / sum(math.prod(s) for s in shapes.values())
        wiring = synflow(model, (1, *shape), density)
        path = effective_wiring(model, wiring, (1, *shape)).nnz
        return {"hidden": list(hidden), "connections": [t.nnz for t in wiring.values()], "on a path": path}


@dataclass(frozen=True, kw_only=True)
class Reads(Measurement):
    """How many batches SynFlow reads of the data that it is offered, and how many its neighbours do."""

    kind: ClassVar[str] = "reads"
    net: Net

    def measure(self, lab: Lab) -> dict[str, Any]:
        from wirings.makers.snip import SNIP

        model, read = self.net.made(0), {"synflow": 0, "snip": 0}
        images = (torch.zeros(2, *self.net.shape), torch.tensor([0, 1]))

        def offered(maker: str) -> Iterator[Batch]:
            while True:
                read[maker] += 1
                yield images

        SynFlow(0.1, rounds=2).of_model(model, (1, *self.net.shape), offered("synflow"), stream(0, "wiring"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)
            SNIP(0.1).of_model(model, (1, *self.net.shape), offered("snip"), stream(0, "wiring"))
        return read


@dataclass(frozen=True, kw_only=True)
class Drift(Measurement):
    """How mean squared weights of layers follow 1/size, before, during and after the training of a run.

    Gives for each ``step`` the ``slope`` and ``correlation`` of log mean w² against log 1/size.
    """

    kind: ClassVar[str] = "drift"
    run: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        from wirings.training.checkpoints import load_values

        record = lab.record(self.run)
        seen = [(int(file.stem.split("-")[-1]), load_values(file)) for file in _snapshots(record)]
        moments = [(0, _first_values(record)), *seen, (int(record.info["steps"]), record.values())]
        names = list(record.wiring)
        return {"drift": [{"step": step, **_of_sizes(values, names)} for step, values in moments]}


def _snapshots(record: Record) -> list[Any]:
    return sorted(record.folder.snapshots.glob("step-*.safetensors"))


def _first_values(record: Record) -> Mapping[str, Tensor]:
    from wirings.training.build import network

    channels, height, width = (int(n) for n in record.info["data"]["image_shape"])
    return network(record.run, (channels, height, width), int(record.info["data"]["classes"])).state_dict()


def _of_sizes(values: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, float]:
    sizes = torch.tensor([-math.log(values[name].numel()) for name in names], dtype=torch.float64)
    means = torch.tensor([math.log(float(values[name].double().square().mean())) for name in names]).double()
    x, y = sizes - sizes.mean(), means - means.mean()
    return {
        "slope": float((x * y).sum() / (x * x).sum()),
        "correlation": float(torch.corrcoef(torch.stack([x, y]))[0, 1]),
    }


@dataclass(frozen=True, kw_only=True)
class Thinnest(Measurement):
    """The thinnest layer of a lottery ticket, and of the dense network that it came from when pruned at one stroke.

    Gives ``iterative`` and ``at once``: the smallest density of a layer; and the layer.
    """

    kind: ClassVar[str] = "thinnest"
    ticket: str
    dense: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        ticket, dense = lab.record(self.ticket), lab.record(self.dense)
        wiring = ticket.wiring
        trained = dense.values()
        weights = {name: trained[name] for name in wiring}
        found: dict[str, Any] = {"density": wiring.density}
        for way, one in (("iterative", wiring), ("at once", magnitude(weights, wiring.density))):
            name = min(one, key=lambda n: one[n].density)
            found |= {way: one[name].density, f"{way}: layer": name}
        exponent, first = critical_of_scores({name: w.abs().double() for name, w in weights.items()})
        return found | {"critical at once": exponent, "critical at once: layer": first}


__all__ = [
    "SCORERS",
    "STEP",
    "Conserved",
    "Drift",
    "FlowCritical",
    "FlowRatio",
    "ImageNetVGG",
    "MaximalMLP",
    "Net",
    "OneShot",
    "Reads",
    "Scorer",
    "Thinnest",
    "deaths",
    "images_of",
    "last",
    "scores_of",
]
