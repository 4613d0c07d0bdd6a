"""What the studies of Van Gelder et al. (2020) share: networks, data, schedule, methods. One run serves them all.

The text fixes ResNet-18, CIFAR-10 and four kinds of networks (random, lottery tickets, DNW, RigL); the rest is chosen
here, once, for every figure. On a laptop the networks are LeNet-300-100 on Fashion-MNIST and a LeNet-5 of half the
width on 10,000 images of MNIST; the wirings are looked for with few passes over the images, so that there can be many.
"""

from __future__ import annotations

from typing import Any

from wirings.core.budgets import erk
from wirings.core.schedules import Cosine, Every
from wirings.data.augment import CropFlip
from wirings.makers.random import ErdosRenyi
from wirings.methods import DNW, SET, RigL, Static
from wirings.methods.method import Method
from wirings.procedures import Lottery, Pruning
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

_SETTINGS: dict[str, dict[str, Any]] = {
    "mlp": {"data": "gaussian-blobs", "epochs": 10, "batch_size": 32},
    "lenet-300-100": {"data": "fashion-mnist", "epochs": 10, "batch_size": 128},
    "lenet-5": {"data": "mnist-mini", "epochs": 10, "batch_size": 64, "learning_rate": 0.05,
                "model_settings": {"width": 0.5}},
    "resnet-20": {"data": "cifar10", "epochs": 30, "augment": CropFlip(), "warmup": 0.05,
                 "optimizer": SGD(weight_decay=5e-4)},
    "resnet-18": {"data": "cifar10", "epochs": 160, "augment": CropFlip(),
                 "optimizer": SGD(weight_decay=5e-4), "except_": ("conv1",)},
}  # fmt: skip


def run_of(net: str, seed: int, method: Method | None = None, **more: Any) -> Run:
    """One training of a network of these studies.

    Example:
        >>> run_of("lenet-300-100", 3, method_of("rigl", 0.05)).epochs
        10

    Args:
        net: a name in `NETS`.
        seed: of the run.
        method: of `method_of`; none is dense.
        more: settings of `Run` that differ.
    """
    return Run(model=net, seed=seed, method=method, **(_SETTINGS[net] | more))


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
        return SET(begin=begin, **({"when": often, "fraction": Cosine(0.3, over=0.75)} | more))
    raise ValueError(f"`name` of `method_of` must be one of static, dnw, rigl, set. Got {name!r}.")


def lottery_of(net: str, seed: int, density: float, **more: Any) -> Lottery:
    """The lottery whose last ticket has this density: global pruning, back to the first values, three to six rounds."""
    rounds = {0.5: 3, 0.2: 4, 0.1: 4, 0.05: 5, 0.02: 6, 0.01: 6}.get(density, 5)
    return Lottery(run=run_of(net, seed, **more), rounds=rounds, pruning=Pruning.reaching(density, rounds))


__all__ = ["DENSITIES", "METHODS", "NETS", "lottery_of", "method_of", "run_of"]
