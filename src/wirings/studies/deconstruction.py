"""What the studies of Van Gelder et al. (2020) share: networks, data, schedule, methods. One run serves them all.

The text fixes ResNet-18, CIFAR-10 and four kinds of networks (random, lottery tickets, DNW, RigL); the rest is chosen
here, once, for every figure. On a laptop the networks are LeNet-300-100 on Fashion-MNIST and Caffe's LeNet-5 at half
the width on 10,000 images of MNIST; training is short, so that there can be many runs. Each method has the learning
rate that did best on held-out images, in a sweep with a seed of its own (`sweep`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from wirings.core.budgets import erk
from wirings.core.schedules import Cosine, Every
from wirings.data.augment import CropFlip
from wirings.makers.random import ErdosRenyi
from wirings.methods import DNW, SET, RigL, Static
from wirings.methods.method import Method
from wirings.procedures import Lottery
from wirings.studies.quickstart import Keeping
from wirings.studies.study import Work
from wirings.training.optimizers import SGD
from wirings.training.settings import Run

NETS = {
    "smoke": ("mlp",),
    "laptop": ("lenet-300-100", "lenet-5"),
    "overnight": ("resnet-20",),
    "paper": ("resnet-18",),
}
"""Networks of each preset, the main one first."""

DENSITIES = {
    "smoke": (0.2, 0.1, 0.05),
    "laptop": (0.1, 0.05, 0.02),
    "overnight": (0.1, 0.05, 0.02),
    "paper": (0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
}
"""Densities of each preset, from dense to sparse."""

METHODS = ("static", "lottery", "dnw", "rigl")
"""The paper's four: random, lottery tickets, DNW, RigL. `set` comes beside them where in-degrees are tracked."""

SWEEP_SEED = 100
"""The seed with which learning rates were chosen; no other run has it."""

SWEEP = "-sweep"
"""What their labels end in, so that no table mistakes them for others."""

SWEEP_DENSITY = 0.05
"""The density at which they were chosen, of all networks."""

SWEPT = {
    "mlp": (0.05, 0.1),
    "lenet-300-100": (0.02, 0.05, 0.1, 0.2),
    "lenet-5": (0.01, 0.02, 0.05),
    "resnet-20": (0.05, 0.1, 0.2),
    "resnet-18": (0.05, 0.1, 0.2),
}
"""Learning rates that were tried."""

LEARNING_RATES: dict[str, dict[str, float]] = {
    "lenet-300-100": {"dense": 0.05, "lottery": 0.05, "static": 0.1, "dnw": 0.1, "rigl": 0.05, "small-dense": 0.05,
                      "top-kast": 0.2},
    "lenet-5": {"dense": 0.02, "static": 0.05, "dnw": 0.02, "rigl": 0.05},
}  # fmt: skip
"""Network -> method -> the rate that did best on held-out images, of rates within a tenth of a point the lowest; 0.1
where nothing is said."""

_SETTINGS: dict[str, dict[str, Any]] = {
    "mlp": {"data": "gaussian-blobs", "epochs": 6, "batch_size": 32},
    "lenet-300-100": {"data": "fashion-mnist", "epochs": 8, "batch_size": 128},
    "lenet-5": {"model": "lenet-5-caffe", "model_settings": {"width": 0.5}, "data": "mnist-mini", "epochs": 6,
                "batch_size": 64, "warmup": 0.1},
    "resnet-20": {"data": "cifar10", "epochs": 30, "augment": CropFlip(), "warmup": 0.05,
                 "optimizer": SGD(weight_decay=5e-4)},
    "resnet-18": {"data": "cifar10", "epochs": 160, "augment": CropFlip(),
                 "optimizer": SGD(weight_decay=5e-4), "except_": ("conv1",)},
}  # fmt: skip


def run_of(net: str, seed: int, method: Method | None = None, **more: Any) -> Run:
    """One training of a network of these studies, at the learning rate chosen for its method; static ones truly sparse.

    Example:
        >>> run_of("lenet-300-100", 3, method_of("rigl", 0.05)).epochs
        8

    Args:
        net: a name in `NETS`.
        seed: of the run.
        method: of `method_of`; none is dense.
        more: settings of `Run` that differ.
    """
    kind = "small-dense" if "small_dense" in more else "dense" if method is None else str(getattr(method, "kind", ""))
    settings: dict[str, Any] = {"model": net, "learning_rate": rate_of(net, kind)} | _SETTINGS[net]
    if kind == "static":
        settings["execution"] = "sparse"
    return Run(seed=seed, method=method, **(settings | more))


def rate_of(net: str, method: str) -> float:
    """The learning rate chosen for a method: as runs are labelled, "dense", or "small-dense"."""
    return LEARNING_RATES.get(net, {}).get(method, 0.1)


def method_of(name: str, density: float, **more: Any) -> Method:
    """A method at a density: every layer at its ERK share, the method's own defaults otherwise.

    RigL and SET exchange connections after each fiftieth of the run, for three quarters of it.

    Args:
        name: "static", "dnw", "rigl" or "set".
        density: of the sparse weights together.
        more: settings of the method that differ.
    """
    begin, often = ErdosRenyi(density, budget=erk), Every(0.02, until=0.75)
    if name == "static":
        return Static(begin=begin, **more)
    if name == "dnw":
        return DNW(density=density, budget=erk, **more)
    if name == "rigl":
        return RigL(begin=begin, **({"when": often} | more))
    if name == "set":
        settings: dict[str, Any] = {"when": often, "fraction": Cosine(0.3, over=0.75)} | more
        return SET(begin=begin, **settings)
    raise ValueError(f"`name` of `method_of` must be one of static, dnw, rigl, set. Got {name!r}.")


def lottery_of(net: str, seed: int, density: float, **more: Any) -> Lottery:
    """The lottery that passes through every density of the network's preset on its way to this one.

    Global pruning, back to the first values. Between two densities a round keeps at least 40 % of what is left, 80 %
    at the paper's scale (Frankle & Carbin 2019).

    Example:
        >>> [round(density, 3) for density in lottery_of("lenet-300-100", 0, 0.02).pruning.densities]
        [0.464, 0.215, 0.1, 0.05, 0.02]
    """
    preset = next((preset for preset, nets in NETS.items() if net in nets), "laptop")
    kept = rounds(DENSITIES[preset], density, least=0.8 if preset == "paper" else 0.4)
    settings = {"learning_rate": rate_of(net, "lottery")} | more
    return Lottery(run=run_of(net, seed, **settings), rounds=len(kept), pruning=Keeping(densities=kept))


def again(net: str) -> dict[str, Any]:
    """Settings of the runs that train a found wiring again: the same for all, whatever found it."""
    return {"learning_rate": rate_of(net, "static"), "execution": "sparse"}


def rounds(densities: Sequence[float], last: float, *, least: float) -> tuple[float, ...]:
    """What each round keeps, so that it passes through these densities to ``last``, at least a share ``least`` each."""
    passed: list[float] = [1.0]
    for density in sorted({last, *(d for d in densities if d > last)}, reverse=True):
        before = passed[-1]
        steps = max(math.ceil(math.log(density / before) / math.log(least) - 1e-9), 1)
        passed += [before * (density / before) ** (step / steps) for step in range(1, steps)] + [density]
    return tuple(passed[1:])


def found(net: str, preset: str, seeds: Sequence[int], methods: Sequence[str] = METHODS) -> list[Work]:
    """What finds the wirings: each method at each density of the preset, one lottery a seed for all of them."""
    work: list[Work] = []
    if "lottery" in methods:
        work += [lottery_of(net, seed, DENSITIES[preset][-1]) for seed in seeds]
    for method in methods:
        if method != "lottery":
            work += [run_of(net, seed, method_of(method, d)) for d in DENSITIES[preset] for seed in seeds]
    return work


def sweep(net: str, methods: Sequence[str]) -> list[Work]:
    """The runs that chose the learning rates: every rate, one seed, one density; their labels end in `SWEEP`.

    Args:
        net: a name in `NETS`.
        methods: of `METHODS`, "dense" and "small-dense".
    """
    work: list[Work] = []
    for rate in SWEPT[net]:
        for method in methods:
            common: dict[str, Any] = {"learning_rate": rate, "label": method + SWEEP}
            if method == "lottery":
                play = lottery_of(net, SWEEP_SEED, SWEEP_DENSITY, **common | {"label": "dense" + SWEEP})
                work.append(dataclasses.replace(play, label=method + SWEEP))
            elif method == "dense":
                work.append(run_of(net, SWEEP_SEED, **common))
            elif method == "small-dense":
                work.append(run_of(net, SWEEP_SEED, small_dense=SWEEP_DENSITY, **common))
            else:
                work.append(run_of(net, SWEEP_SEED, method_of(method, SWEEP_DENSITY), **common))
    return work


__all__ = [
    "DENSITIES",
    "LEARNING_RATES",
    "METHODS",
    "NETS",
    "SWEEP",
    "SWEEP_DENSITY",
    "SWEEP_SEED",
    "SWEPT",
    "again",
    "found",
    "lottery_of",
    "method_of",
    "rate_of",
    "rounds",
    "run_of",
    "sweep",
]
