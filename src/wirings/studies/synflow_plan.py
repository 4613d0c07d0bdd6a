"""What the study `synflow` takes: networks, runs and measurements of each preset, and how to find what they gave."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wirings.data.augment import CropFlip
from wirings.makers.baselines import RandomAtInit
from wirings.makers.controls import shuffled
from wirings.makers.grasp import GraSP
from wirings.makers.magnitude import Magnitude
from wirings.makers.snip import SNIP
from wirings.makers.synflow import SynFlow
from wirings.methods.static import Static
from wirings.procedures import Lottery, Pruning
from wirings.procedures.retraining import FRESH, Retraining
from wirings.studies.measurement import Measurement
from wirings.studies.measures.synflow import (
    SCORERS,
    Conserved,
    Drift,
    FlowCritical,
    FlowRatio,
    ImageNetVGG,
    MaximalMLP,
    Net,
    OneShot,
    Reads,
    Thinnest,
)
from wirings.studies.study import Findings, Work
from wirings.training.optimizers import SGD
from wirings.training.records import Record
from wirings.training.settings import Run

METHODS = ("synflow", "snip", "grasp", "magnitude", "static")
"""What is trained: ``static`` is random pruning over all layers together."""

NAMES = {
    "random": "random",
    "magnitude": "magnitude",
    "snip": "SNIP",
    "snip-signed": "SNIP, signed",
    "grasp": "GraSP (paper's sign)",
    "grasp-synflow-data": "GraSP† (opposite sign)",
    "synflow": "SynFlow",
}
"""What tables call scorers. GraSP† is the selection behind the GraSP numbers that are stored with SynFlow's."""

CONTROLLED = (1.0, 2.0)
"""Exponents at which wirings are shuffled, begun anew and turned round."""

PUBLISHED_RATIOS = {
    ("exponential", 1): (0.80, 3.32, 8.15, 11.4, 13.8, 15.4),
    ("exponential", 10): (0.24, 1.37, 3.03, 4.03, 4.97, 5.55),
    ("exponential", 20): (0.129, 0.755, 1.44, 2.09, 2.72, 3.21),
    ("exponential", 50): (0.054, 0.311, 0.564, 0.834, 1.09, 1.34),
    ("exponential", 100): (0.027, 0.147, 0.291, 0.420, 0.551, 0.670),
    ("linear", 10): (0.37, 3.05, 7.62, 11.2, 13.7, 15.4),
    ("linear", 50): (0.097, 1.06, 4.02, 8.55, 12.7, 15.2),
    ("linear", 100): (0.050, 0.571, 2.31, 5.84, 10.8, 14.4),
}
"""Schedule and rounds -> the published ratios at exponents 0.5, 1, ..., 3 (VGG-19 for ImageNet, figure 7)."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One preset's networks.

    Args:
        trained: settings of the runs, by the name in tables; the first is controlled, the last is the convolutional
            one of the claims.
        exponents: of each trained network.
        nets: name -> network whose layers die; the first is that of the published exponents.
        seeds: of SNIP on these; random and magnitude pruning take more, GraSP at most three.
        flowing: (network, exponents, seeds) of SynFlow's critical compression.
        schedules: exponents and (schedule, rounds) of the flow ratio, and the network.
        imagenet: seeds of VGG-19 for ImageNet.
    """

    trained: dict[str, dict[str, Any]]
    exponents: dict[str, tuple[float, ...]]
    nets: dict[str, Net]
    seeds: int
    flowing: tuple[tuple[str, tuple[float, ...], int], ...]
    ratios: tuple[Net, tuple[float, ...], tuple[tuple[str, int], ...]]
    conserved: Net
    imagenet: int


_FULL = {
    "vgg-16/100": Net(model="vgg-16", classes=100),
    "vgg-16/10": Net(model="vgg-16"),
    "resnet-18/10": Net(model="resnet-18"),
    "resnet-18/100, fan-out": Net(model="resnet-18", classes=100, init="fan-out"),
    "vgg-11/10": Net(model="vgg-11"),
    "vgg-19/10": Net(model="vgg-19"),
    "resnet-20/10": Net(model="resnet-20"),
}
HALVES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""The exponents of the published flow ratios."""
_LAPTOP = Scale(
    trained={
        "lenet-300-100": {"data": "mnist", "epochs": 2, "batch_size": 128},
        "vgg-11": {
            "data": "cifar10",
            "steps": 200,
            "batch_size": 100,
            "held_out": 500,
            "model_settings": {"width": 0.125},
        },
    },
    exponents={"lenet-300-100": (*HALVES, 3.5, 4.0), "vgg-11": (1.5, 2.5)},
    nets=_FULL,
    seeds=5,
    flowing=(
        ("vgg-16/100", (6.0, 5.75, 5.5), 3),
        ("vgg-16/10", (6.0, 5.75, 5.5), 1),
        ("vgg-11/10", (6.0, 5.75), 1),
        ("vgg-19/10", (6.0, 5.75), 1),
        ("resnet-18/10", (5.5, 3.0, 1.0), 1),
        ("resnet-18/100, fan-out", (5.5, 3.0, 1.0), 1),
        ("resnet-20/10", (4.0, 3.5, 3.0, 2.0, 1.0), 1),
    ),
    ratios=(Net(model="vgg-19", width=0.25), HALVES, tuple(PUBLISHED_RATIOS)),
    conserved=Net(model="vgg-19"),
    imagenet=10,
)
_TINY = Net(model="vgg-11", width=0.125, data="mnist-mini")
_SMOKE = Scale(
    trained={"mlp": {"data": "gaussian-blobs", "epochs": 3, "batch_size": 32}},
    exponents={"mlp": (1.0,)},
    nets={"vgg-11, narrow": _TINY},
    seeds=1,
    flowing=(("vgg-11, narrow", (4.0, 3.75), 1),),
    ratios=(_TINY, (1.0,), (("exponential", 10), ("linear", 10))),
    conserved=_TINY,
    imagenet=0,
)
_LONG: dict[str, Any] = {"epochs": 160, "augment": CropFlip(), "schedule": "steps", "milestones": (0.375, 0.75)}
_VGG: dict[str, Any] = _LONG | {"optimizer": SGD(nesterov=True, weight_decay=1e-4), "protocol": "paper"}
_RESNET: dict[str, Any] = _LONG | {
    "optimizer": SGD(weight_decay=5e-4), "protocol": "paper", "learning_rate": 0.01, "factor": 0.2
}  # fmt: skip
_QUARTERS = tuple(0.25 * k for k in range(1, 13))
SCALES = {
    "smoke": _SMOKE,
    "laptop": _LAPTOP,
    "overnight": Scale(
        trained={
            "lenet-300-100": {"data": "mnist", "epochs": 20, "batch_size": 128},
            "vgg-11": {"data": "cifar10", "epochs": 15, "augment": CropFlip(), "model_settings": {"width": 0.5}},
        },
        exponents={"lenet-300-100": (*HALVES, 3.5, 4.0), "vgg-11": HALVES},
        nets=_FULL,
        seeds=5,
        flowing=_LAPTOP.flowing,
        ratios=(Net(model="vgg-19"), HALVES, tuple(PUBLISHED_RATIOS)),
        conserved=Net(model="vgg-19"),
        imagenet=10,
    ),
    "paper": Scale(
        trained={
            "vgg-16": {"data": "cifar100", **_VGG},
            "resnet-18": {"data": "cifar100", **_RESNET},
            "vgg-19": {"data": "tiny-imagenet", **_VGG, "epochs": 100, "milestones": (0.3, 0.6, 0.8)},
            "vgg-11": {"data": "cifar10", **_VGG},
        },
        exponents={
            "vgg-16": (*_QUARTERS, 4.0, 5.0, 6.0),
            "resnet-18": _QUARTERS,
            "vgg-19": _QUARTERS,
            "vgg-11": _QUARTERS,
        },
        nets=_FULL | {"vgg-16/100": Net(model="vgg-16", classes=100, data="cifar100")},
        seeds=5,
        flowing=_LAPTOP.flowing,
        ratios=(Net(model="vgg-19"), HALVES, tuple(PUBLISHED_RATIOS)),
        conserved=Net(model="vgg-19"),
        imagenet=10,
    ),
}
"""What each preset takes. Its accuracies come last in cost on paper, and first on a laptop."""


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """The convolutional network's lotteries first, then every method at every compression, then controls."""
    scale = SCALES[preset]
    *_, conv = scale.trained
    first = next(iter(scale.trained))
    work: list[Work] = [_lottery(preset, conv, seed) for seed in seeds]
    for net, exponents in scale.exponents.items():
        work += [_run(preset, net, seed) for seed in seeds]
        for exponent, method in itertools.product(exponents, METHODS):
            work += [_run(preset, net, seed, method, exponent) for seed in seeds]
    for exponent in controlled(preset):
        controls = {"anew": None, "shuffled": shuffled}
        twice = [*seeds, *(seed + len(seeds) for seed in seeds)]  # equivalences ask for ten
        work += [Retraining(after=_run(preset, first, s, "synflow", exponent), controls=controls) for s in twice]
        for method in ("snip", "magnitude"):
            work += [Retraining(after=_run(preset, first, s, method, exponent), controls=controls) for s in seeds]
        work += [_run(preset, first, seed, "synflow-inverted", exponent) for seed in seeds]
        work += [_run(preset, first, seed, small_dense=10**-exponent) for seed in seeds]
    return work


def controlled(preset: str) -> tuple[float, ...]:
    exponents = SCALES[preset].exponents[next(iter(SCALES[preset].trained))]
    return tuple(e for e in CONTROLLED if e in exponents)


def _run(preset: str, net: str, seed: int, method: str = "", exponent: float = 0.0, **more: Any) -> Run:
    settings = SCALES[preset].trained[net] | more
    if not method:
        return Run(model=net, seed=seed, snapshot=None if "small_dense" in more else 0.5, **settings)
    begin = maker_of(method, 10**-exponent)
    if net.startswith("lenet") and exponent >= 1.5:
        settings = settings | {"execution": "sparse"}  # faster there, and the same losses
    label = "" if method == "static" else method
    return Run(model=net, seed=seed, method=Static(begin=begin), label=label, **settings)


def maker_of(method: str, density: float) -> Any:  # Any: makers have no common class
    """The maker that writes a method's wiring.

    Example:
        >>> maker_of("synflow", 0.01)
        SynFlow(density=0.01, ...)
    """
    if method == "synflow-inverted":
        return SynFlow(density, inverted=True)
    return {"synflow": SynFlow, "snip": SNIP, "grasp": GraSP, "magnitude": Magnitude, "static": RandomAtInit}[method](
        density
    )


def _lottery(preset: str, net: str, seed: int) -> Lottery:
    rounds, exponent = (2, 1.5) if preset == "smoke" else (5, 2.5)
    return Lottery(run=_run(preset, net, seed), rounds=rounds, pruning=Pruning.reaching(10**-exponent, rounds))


def measurements(found: Findings) -> list[Measurement]:
    """All that needs no training, the longest first; then what is asked of the finished runs."""
    asked: list[Measurement] = [m for _, m in flowing(found)]
    asked += [m for _, m in ratios(found)]
    asked += [m for _, _, m in one_shot(found)]
    asked += [*imagenet(found), *(m for _, m in conserved(found)), *maximal(found), reads(found)]
    asked += [*drifts(found), *thinnest(found)]
    return asked


def flowing(found: Findings) -> list[tuple[str, FlowCritical]]:
    scale = SCALES[found.preset]
    rounds = 20 if found.preset == "smoke" else 100
    return [
        (name, FlowCritical(net=scale.nets[name], seed=seed, exponents=exponents, rounds=rounds))
        for name, exponents, seeds in scale.flowing
        for seed in range(seeds)
    ]


def one_shot(found: Findings) -> list[tuple[str, str, OneShot]]:
    """(network, scorer, measurement), seed by seed."""
    scale = SCALES[found.preset]
    asked: list[tuple[str, str, OneShot]] = []
    for place, (name, net) in enumerate(scale.nets.items()):
        for scorer in SCORERS:
            many = _seeds_of(scorer, scale.seeds, first=place == 0)
            cut = min(2, scale.seeds)
            asked += [
                (name, scorer, OneShot(net=net, scorer=scorer, seed=seed, cut=seed < cut)) for seed in range(many)
            ]
    return asked


def _seeds_of(scorer: str, seeds: int, *, first: bool) -> int:
    """A random draw says little by itself, and magnitudes are cheap; second derivatives are not."""
    if scorer == "random":
        return seeds * (6 if first else 2)
    return {"magnitude": 2 * seeds, "snip": seeds}.get(scorer, min(3, seeds))


def imagenet(found: Findings) -> list[ImageNetVGG]:
    seeds = range(SCALES[found.preset].imagenet)
    return [ImageNetVGG(scorer=scorer, seed=seed) for scorer in ("random", "magnitude") for seed in seeds]


def conserved(found: Findings) -> list[tuple[str, Conserved]]:
    net = SCALES[found.preset].conserved
    scorers = ("random", "magnitude", "snip", "snip-signed", "grasp", "synflow")
    return [(s, Conserved(net=net, scorer=s, seed=seed)) for s in scorers for seed in range(min(3, len(found.seeds)))]


def ratios(found: Findings) -> list[tuple[tuple[str, int, float], FlowRatio]]:
    net, exponents, schedules = SCALES[found.preset].ratios
    return [
        ((pace, rounds, e), FlowRatio(net=net, seed=0, exponent=e, rounds=rounds, schedule=pace))  # type: ignore[arg-type]
        for pace, rounds in schedules
        for e in exponents
    ]


def maximal(found: Findings) -> list[MaximalMLP]:
    # the smallest scale leaves LeNet-300-100 (seed 0) to the others
    return [MaximalMLP(seed=seed) for seed in (range(1, 3) if found.preset == "smoke" else range(10))]


def reads(found: Findings) -> Reads:
    return Reads(net=_TINY)


def conv_of(found: Findings) -> str:
    return list(SCALES[found.preset].trained)[-1]


def dense_of(found: Findings) -> list[Record]:
    return [r for r in found.of("dense") if r.run.model == conv_of(found)]


def drifts(found: Findings) -> list[Drift]:
    return [Drift(run=record.id) for record in dense_of(found)]


def thinnest(found: Findings) -> list[Thinnest]:
    """The last ticket of each seed against its dense network."""
    dense = {record.seed: record.id for record in dense_of(found)}
    tickets: dict[int, Record] = {}
    for record in found.of("lottery"):
        if record.seed not in tickets or record.density < tickets[record.seed].density:
            tickets[record.seed] = record
    return [Thinnest(ticket=r.id, dense=dense[seed]) for seed, r in tickets.items() if seed in dense]


# ---------------------------------------------------------------------- what it gave


def results(found: Findings, asked: Iterable[Measurement]) -> list[dict[str, Any]]:
    """The results of those that are made."""
    return [dict(result) for m in asked if (result := found.measured(m)) is not None]


def exponents_of(found: Findings, net: str, scorer: str) -> list[dict[str, Any]]:
    return results(found, (m for name, s, m in one_shot(found) if name == net and s == scorer))


def alive(results: Sequence[dict[str, Any]]) -> list[float]:
    """SynFlow's largest exponent without an empty layer, of each seed that has one."""
    return [max(alive) for r in results if (alive := [t["exponent"] for t in r["tried"] if not t["empty"]])]


def cell(found: Findings, net: str, method: str, exponent: float = 0.0) -> list[Record]:
    """The runs of a method on a network, by seed; of the seeds that were asked for."""
    wanted = None if exponent == 0 else 10**-exponent
    return [r for r in found.of(method, density=wanted) if r.run.model == net and r.seed in found.seeds]


def accuracies(records: Iterable[Record]) -> dict[int, float]:
    """Seed -> accuracy in percent: of the last values, or under the protocol "paper" of the best epoch."""
    return {r.seed: _accuracy(r) for r in records}


def _accuracy(record: Record) -> float:
    return 100 * (record.test_accuracy_best if record.run.protocol == "paper" else record.test_accuracy_last)


def change(found: Findings, method: str, control: str, exponent: float) -> dict[int, float]:
    """Seed -> how accuracy changes, in points."""
    return {
        seed: _accuracy(changed) - _accuracy(before)
        for seed, (changed, before) in compared(found, method, control, exponent).items()
    }


def compared(found: Findings, method: str, control: str, exponent: float) -> dict[int, tuple[Record, Record]]:
    """Seed -> the run that was changed, and what it is compared with."""
    net, density = next(iter(SCALES[found.preset].trained)), 10**-exponent

    def of(name: str, shift: int = 0) -> dict[int, Record]:
        return {r.seed - shift: r for r in found.of(name, density=density) if r.run.model == net}

    pairs = {
        "anew": (of(f"{method}-anew", FRESH), of(method)),
        "shuffled": (of(f"{method}-shuffled", FRESH), of(f"{method}-anew", FRESH)),
        "inverted": (of(f"{method}-inverted"), of(method)),
    }
    changed, before = pairs[control]
    return {seed: (changed[seed], before[seed]) for seed in sorted(changed.keys() & before.keys())}
