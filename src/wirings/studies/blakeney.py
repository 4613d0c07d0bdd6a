"""What the study of Blakeney et al. (2020) trains, and whom it compares: networks, data, schedules, meetings.

A dense network is the original. It is pruned gradually while it is fine-tuned, and the wirings so found are trained
again from fresh values, beside random ones. The text names networks and three ways to a sparse one; widths, schedules
and densities are chosen here.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wirings.core.budgets import erk
from wirings.core.files import sha256_of
from wirings.core.schedules import Cubic, Every
from wirings.data.augment import CropFlip
from wirings.makers.controls import shuffled
from wirings.makers.random import ErdosRenyi
from wirings.methods import GradualMagnitude, Static
from wirings.procedures import Control, Retraining, structure_only_run
from wirings.procedures.retraining import FRESH
from wirings.studies import deconstruction as seed0
from wirings.studies.measures.similarity import Alike
from wirings.studies.study import Findings, Work
from wirings.training.optimizers import SGD, Adam
from wirings.training.records import Record
from wirings.training.settings import Run, Values

ROLES = {
    "pruned": "pruned and fine-tuned",
    "structure": "its structure, re-initialised",
    "shuffled": "shuffled in each layer",
    "random": "random (ERK)",
    "tuned": "dense, fine-tuned as long",
    "order": "dense, other data order",
    "seed": "dense, other seed",
    "untrained": "dense, untrained",
}
"""Who meets the original -> what people call it; the last four are the baselines."""

BASELINES = ("tuned", "order", "seed", "untrained")


# ---------------------------------------------------------------------- runs


@dataclass(frozen=True, kw_only=True)
class Net:
    """One network of the study.

    Args:
        title: what people call it.
        settings: of its runs.
        steps: of training, and of pruning with fine-tuning.
        densities: that are pruned to.
        again: densities whose wirings are trained again, beside random ones.
        most: seeds at most.
    """

    title: str
    settings: Mapping[str, Any]
    steps: tuple[int, int]
    densities: tuple[float, ...] = (0.2, 0.1, 0.02)
    again: tuple[float, ...] = (0.1, 0.02)
    most: int = 1000
    pruned: str = "gradual"

    @property
    def model(self) -> str:
        """Its name among the models."""
        return str(self.settings["model"])

    def run(self, seed: int, **more: Any) -> Run:
        """A training of it, dense unless ``more`` says otherwise."""
        return Run(seed=seed, **({**self.settings, "steps": self.steps[0]} | more))


_CIFAR: dict[str, Any] = {"data": "cifar10", "batch_size": 64, "learning_rate": 0.05, "warmup": 0.1, "held_out": 1000}
_CONV4 = {
    **_CIFAR, "model": "conv-4", "model_settings": {"width": 0.125, "init": "kaiming-normal"},
    "optimizer": Adam(), "learning_rate": 0.003,
}  # fmt: skip
"""Adam and Kaiming values: without batch norm, seven sparse layers hardly begin to learn by plain SGD."""

_VGG11 = {"model": "vgg-11", "model_settings": {"width": 0.125}, **_CIFAR}
_BLOBS = {"data": "gaussian-blobs", "batch_size": 32, "learning_rate": 0.05}

_LONG: dict[str, Any] = {
    "data": "cifar10", "batch_size": 128, "augment": CropFlip(), "optimizer": SGD(weight_decay=5e-4), "warmup": 0.05,
}  # fmt: skip

TICKETS = Net(
    title="LeNet-300-100", settings={"model": "lenet-300-100"}, steps=(0, 0), densities=(0.02,), again=(0.02,), most=5,
    pruned="lottery",
)  # fmt: skip
"""Lottery tickets instead of fine-tuning: the runs of the study of structure, looked at once more."""

NETS = {
    "smoke": (
        Net(title="Conv-4", settings={"model": "conv-4", "model_settings": {"width": 0.125}, **_BLOBS}, steps=(60, 30)),
    ),
    "laptop": (
        Net(title="Conv-4", settings=_CONV4, steps=(500, 500), again=(0.1,)),
        Net(title="VGG-11", settings=_VGG11, steps=(500, 500), most=5),
        TICKETS,
    ),
    "overnight": (Net(title="ResNet-20", settings={"model": "resnet-20", **_LONG}, steps=(10_000, 4_000)),),
    "paper": (
        Net(title="VGG-16", settings={"model": "vgg-16", **_LONG}, steps=(56_000, 21_000),
            densities=(0.5, 0.3, 0.2, 0.1, 0.05), again=(0.1, 0.05)),
        Net(title="ResNet-56", settings={"model": "resnet-56", **_LONG}, steps=(56_000, 21_000),
            densities=(0.5, 0.3, 0.2, 0.1, 0.05), again=(0.1, 0.05)),
    ),
}  # fmt: skip
"""Networks of each preset, the main one first. The paper's text gives no schedule; that of ``paper`` is the usual one
(160 epochs), and 60 epochs of fine-tuning, as the tool that its authors used suggests."""


@dataclass(kw_only=True, eq=False)
class Pruned:
    """A dense run, pruned gradually while it is fine-tuned, and the wirings so found trained again from fresh values.

    Beside them the dense network, fine-tuned as long: what more training alone changes.

    Example:
        >>> one = Pruned(run=net.run(0), net=net)
        >>> train_all([one.first], "runs", then=one.then)
    """

    run: Run
    net: Net
    found: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    """Run id -> density, of the pruned runs known so far."""

    controls: Mapping[str, Control | None] = field(default_factory=lambda: {"structure": None, "shuffled": shuffled})

    @property
    def first(self) -> Run:
        """The dense run, which is the original."""
        return self.run

    @property
    def rounds(self) -> int:
        """How many runs follow."""
        return 1 + len(self.net.densities) + len(self.net.again) * len(self.controls)

    def then(self, record: Record) -> list[Run]:
        """The pruned runs that follow from the original, or the retrained ones that follow from a pruned run."""
        if not record.finished:
            return []
        if record.id == self.run.id:
            pruned = [self._tuned(record, density) for density in self.net.densities]
            self.found |= {run.id: density for run, density in zip(pruned, self.net.densities, strict=True)}
            return [*pruned, self._tuned(record)]
        return self._again(record) if self.found.get(record.id) in self.net.again else []

    def _tuned(self, record: Record, density: float | None = None) -> Run:
        """From the original's last values, at a fifth of the learning rate; pruned over the first half, or dense."""
        file = record.folder.final / "model.safetensors"
        method = None
        if density is not None:
            falling = Cubic(final=density, begin=0, until=0.5)
            method = GradualMagnitude(density=falling, when=Every(0.02), scope="global")
        return dataclasses.replace(
            self.run,
            values=Values(path=str(file), sha256=sha256_of(file)),
            method=method,
            steps=self.net.steps[1],
            learning_rate=self.run.learning_rate / 5,
            warmup=0,
            label="" if method else "fine-tuned",
        )

    def _again(self, record: Record) -> list[Run]:
        like = {"steps": self.run.steps, "learning_rate": self.run.learning_rate, "warmup": self.run.warmup}
        return [
            dataclasses.replace(
                structure_only_run(record, seed=record.seed + FRESH, control=control, label=f"gradual-{name}"),
                **like,  # type: ignore[arg-type]  # each is the field of a Run
            )
            for name, control in self.controls.items()
        ]


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """The originals and what follows from them, the longest chains first; random wirings; other data orders."""
    work: list[Work] = []
    for net in NETS[preset]:
        mine = seeds[: net.most]
        if net is TICKETS:
            work += _tickets(mine)
            continue
        work += [Pruned(run=net.run(seed), net=net) for seed in mine]
        work += [
            net.run(seed + FRESH, method=Static(begin=ErdosRenyi(density, budget=erk)))
            for density in net.again
            for seed in mine
        ]
        work += [_other_order(net.run(seed)) for seed in mine]
    return work


def _tickets(seeds: Sequence[int]) -> list[Work]:
    """Lotteries of the study of structure, their last tickets trained again, and random wirings beside them."""
    net, density = TICKETS.model, TICKETS.again[0]

    def last(record: Record) -> bool:
        return abs(record.density - density) < 0.02 * density

    lotteries = [
        Retraining(
            after=seed0.lottery_of(net, seed, density),
            controls={"structure": None, "shuffled": shuffled},
            wanted=last,
            changes=seed0.again(net),
        )
        for seed in seeds
    ]
    random = [
        Retraining(after=seed0.run_of(net, seed, seed0.method_of("static", density)), changes=seed0.again(net))
        for seed in seeds
    ]
    return [*lotteries, *random, *(_other_order(play.first) for play in lotteries)]


def _other_order(run: Run) -> Run:
    """The same first values, the same images in another order."""
    return dataclasses.replace(run, streams={"order": run.seed + FRESH}, label="other-order")


# ---------------------------------------------------------------------- who meets the original


@dataclass(frozen=True)
class Meeting:
    """A network beside its original: whose it is, and the record of it (none where it is untrained)."""

    net: Net
    role: str
    density: float
    seed: int
    original: Record
    other: Record | None
    maps: bool

    @property
    def measurement(self) -> Alike:
        """What compares the two."""
        other = "" if self.other is None else self.other.id
        return Alike(a=self.original.id, b=other, fresh=0 if other else self.seed + 2 * FRESH, maps=self.maps)

    @property
    def id(self) -> str:
        """The run id of the other; of the original where the other is untrained."""
        return (self.other or self.original).id

    @property
    def lost(self) -> float:
        """Accuracy of the original less that of the other, in points; NaN where it is untrained."""
        if self.other is None:
            return math.nan
        return 100 * (self.original.test_accuracy_last - self.other.test_accuracy_last)


def meetings(found: Findings) -> list[Meeting]:
    """Everyone who meets an original, by network, role, density and seed, as far as the runs are finished."""
    met: list[Meeting] = []
    for net in NETS[found.preset]:
        mine = [record for record in found.records if str(record.info["settings"]["model"]) == net.model]
        known = {(r.method, round(math.log(r.density), 1), r.seed): r for r in mine}
        seeds = found.seeds[: net.most]
        for role in ROLES:
            for density in densities_of(net, role):
                for place, seed in enumerate(seeds):
                    original = known.get(("dense", 0.0, seed))
                    name, other_seed = _asked(net, role, seed, seeds)
                    other = known.get((name, round(math.log(density), 1), other_seed))
                    if original is None or (other is None and role != "untrained") or other == original:
                        continue
                    met.append(Meeting(net, role, density, seed, original, other, maps=place == 0))
    return met


def densities_of(net: Net, role: str) -> tuple[float, ...]:
    if role in BASELINES:
        return (1.0,)
    return net.densities if role == "pruned" else net.again


def _asked(net: Net, role: str, seed: int, seeds: Sequence[int]) -> tuple[str, int]:
    """What the run of a role is called, and its seed."""
    if role == "seed":
        return "dense", seeds[(seeds.index(seed) + 1) % len(seeds)]
    random = "static-structure" if net is TICKETS else "static"
    return {
        "pruned": (net.pruned, seed),
        "structure": (f"{net.pruned}-structure", seed + FRESH),
        "shuffled": (f"{net.pruned}-shuffled", seed + FRESH),
        "random": (random, seed + FRESH),
        "tuned": ("fine-tuned", seed),
        "order": ("other-order", seed),
        "untrained": ("", seed),
    }[role]


@dataclass(frozen=True)
class Seen:
    """A meeting and what was measured of it."""

    meeting: Meeting
    result: Mapping[str, Any]

    def curve(self, measure: str) -> list[float]:
        """The values, layer by layer."""
        return [float(value) for value in self.result["curves"][measure]["value"]]

    def mean(self, measure: str) -> float:
        """Over the layers."""
        return statistics.fmean(self.curve(measure))

    @property
    def floor(self) -> float:
        """SVCCA of chance alone, over the layers."""
        return statistics.fmean(self.result["curves"]["svcca"]["noise"])


def seen(found: Findings) -> list[Seen]:
    """What is measured so far."""
    every = ((meeting, found.measured(meeting.measurement)) for meeting in meetings(found))
    return [Seen(meeting, result) for meeting, result in every if result is not None]


def grouped(every: Iterable[Seen]) -> dict[tuple[str, str, float], list[Seen]]:
    """By network, role and density; within, by seed."""
    groups: dict[tuple[str, str, float], list[Seen]] = {}
    for one in every:
        groups.setdefault((one.meeting.net.title, one.meeting.role, one.meeting.density), []).append(one)
    return groups
