"""What the study of Alford et al. (2019) trains: networks, data, schedule, structures, as their code has them.

Three networks go by short names here: "fc" is LeNet-300-100 and "conv" LeNet-5, both on MNIST; "cifar" is LeNet-5 on
CIFAR-10. The preset ``paper`` has the settings of the authors' code: plain SGD at 0.2, halved after 10,000 and 20,000
steps, batches of 100 in stored order, ReLU on the logits. Smaller presets take fewer steps, and LeNet-5 at half its
width. A laptop standardises the pixels, so that sparse networks set off within their few steps, and gives LeNet-5
10,000 digits. There logits are linear but where the ReLU is the question: a logit that dies early has no time to come
back, and every other comparison would drown in it.

Differs from the paper: weight decay falls on convolutions and biases too, not on linear weights alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Generator

from wirings.core.budgets import uniform
from wirings.core.schedules import Cubic, Every
from wirings.core.wiring import Wiring
from wirings.data.augment import CropFlip, Distort
from wirings.makers.biregular import BiRegular
from wirings.makers.controls import inverted, shuffled
from wirings.makers.expander import AffineExpander, XNet
from wirings.makers.magnitude import magnitude
from wirings.makers.maker import Maker
from wirings.makers.radix_fit import RadixNet
from wirings.makers.random import Bernoulli, ErdosRenyi
from wirings.methods import GradualMagnitude, RigL, Static
from wirings.methods.method import Method
from wirings.procedures import Retraining, structure_only_run
from wirings.procedures.reinitialise import Control
from wirings.procedures.retraining import FRESH
from wirings.studies.study import Work
from wirings.training.optimizers import SGD, Adam
from wirings.training.records import Record
from wirings.training.settings import Run

PRUNED: dict[str, tuple[float, ...]] = {
    "smoke": (0.1,),
    "laptop": (0.5, 0.25, 0.1, 0.05, 0.01),
    "overnight": (0.5, 0.25, 0.1, 0.05, 0.01),
    "paper": (0.5, 0.25, 0.1, 0.05, 0.01),
}
"""Densities that pruning ends at."""

CIFAR: dict[str, tuple[float, ...]] = {
    "smoke": (0.1,),
    "laptop": (0.5, 0.25, 0.1),
    "overnight": (0.5, 0.25, 0.1),
    "paper": (0.5, 0.25, 0.1),
}
"""The same for LeNet-5 on CIFAR-10."""

UNSTABLE: dict[str, dict[str, tuple[float, ...]]] = {
    "smoke": {"fc": (), "conv": (0.1,)},
    "laptop": {"fc": (0.1, 0.05, 0.01), "conv": (0.5, 0.25)},
    "overnight": {"fc": (0.1, 0.05, 0.01), "conv": (0.5, 0.25, 0.1, 0.05, 0.01)},
    "paper": {"fc": (0.5, 0.25, 0.1, 0.05, 0.01), "conv": (0.5, 0.25, 0.1, 0.05, 0.01)},
}
"""Densities of the pruned structures that are trained from many initial values (Fig. 8)."""

_EVERY: dict[str, tuple[float, ...]] = {net: (0.5, 0.1, 0.05, 0.01) for net in ("fc", "conv", "cifar")}

SMALLER: dict[str, dict[str, tuple[float, ...]]] = {
    "smoke": {"fc": (0.1,), "conv": (0.1,), "cifar": (0.1,)},
    "laptop": _EVERY | {"cifar": (0.1,)},
    "overnight": _EVERY,
    "paper": _EVERY,
}
"""Densities of random structures of the dense network's size."""

BIGGER: dict[str, dict[str, tuple[int, ...]]] = {
    "smoke": {"fc": (), "conv": (), "cifar": ()},
    "laptop": {"fc": (2, 10), "conv": (2,), "cifar": ()},
    "overnight": {"fc": (2, 10, 100), "conv": (2,), "cifar": (2,)},
    "paper": {"fc": (2, 10, 100), "conv": (2, 10), "cifar": (2, 10)},
}
"""How many times the dense network's size, at the dense network's number of connections."""

DENSE_LAYERS = {"fc": ("fc3",), "conv": ("conv1", "fc2"), "cifar": ("conv1", "fc2")}
"""What the structures before training leave dense, as in the authors' code."""

EXPLICIT = {1: (8, 3, 1), 10: (8, 30, 1)}
"""How many times the size -> dense widths of the RadiX-Net over the system (10, 10). The text swaps two of them."""

STRANGE: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "10,10 | 10": (((10, 10), (10,)), (8, 3, 1, 1)),
    "10,10,1": (((10, 10, 1),), (8, 3, 1, 1)),
    "10,10 | 2": (((10, 10), (2,)), (8, 3, 1, 1)),
    "10,10 | 100": (((10, 10), (100,)), (8, 3, 1, 1)),
    "10 | 5,2": (((10,), (5, 2)), (80, 30, 10, 1)),
    "2,2 | 2": (((2, 2), (2,)), (196, 75, 25, 3)),
}
"""RadiX-Nets over all three layers, trimmed to 784-300-100-10: systems and widths. The first four keep 10 %."""

STRUCTURES = ("bernoulli", "radix", "radix-permuted", "bi-regular", "x-net", "expander")
"""Structures written before training, from the paper's random ones on."""

LARGER = ("resnet-20", "vgg-11")
"""Networks that the document left to the future; overnight."""

_OPTIMIZER = SGD(momentum=0.0, weight_decay=0.004)
_COMMON: dict[str, Any] = {
    "batch_size": 100, "optimizer": _OPTIMIZER, "learning_rate": 0.2, "schedule": "steps", "factor": 0.5,
    "milestones": (0.4, 0.8), "fixed_order": True, "normalise": "none",
}  # fmt: skip
_FC: dict[str, Any] = {
    "model": "lenet-300-100", "model_settings": {"relu_logits": True, "init": "truncated-normal"}, "data": "mnist",
}  # fmt: skip
_CONV: dict[str, Any] = {"model": "lenet-5", "model_settings": {"relu_logits": True}, "data": "mnist"}
_CIFAR = _CONV | {"data": "cifar10", "augment": Distort(), "normalise": "per-image", "fixed_order": False}
_LINEAR: dict[str, Any] = {"model_settings": {"init": "truncated-normal"}}
_HALF: dict[str, Any] = {"model_settings": {"width": 0.5}, "batch_size": 50}

_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "fc": _FC | {"data": "mnist-mini", "steps": 30} | _LINEAR,
        "conv": _CONV | {"data": "mnist-mini", "steps": 10, "batch_size": 20, "held_out": 100,
                         "model_settings": {"width": 0.1}},
        "cifar": _CONV | {"data": "mnist-mini", "steps": 10, "batch_size": 20, "held_out": 100,
                          "model_settings": {"width": 0.1, "variant": "cifar10"}},
    },
    "laptop": {
        "fc": _FC | {"steps": 2200, "normalise": "channels"} | _LINEAR,
        "conv": _CONV | {"data": "mnist-mini", "steps": 240, "normalise": "channels"} | _HALF,
        "cifar": _CIFAR | {"steps": 800} | _HALF,
    },
    "overnight": {
        "fc": _FC | {"steps": 15_000},
        "conv": _CONV | {"steps": 3_000} | _HALF,
        "cifar": _CIFAR | {"steps": 10_000} | _HALF,
    },
    "paper": {
        "fc": _FC | {"steps": 25_000},
        "conv": _CONV | {"steps": 25_000},
        "cifar": _CIFAR | {"steps": 25_000},
    },
}  # fmt: skip

_PRUNING = {"smoke": Every(0.1), "laptop": Every(0.02), "overnight": Every(100), "paper": Every(200)}

_LARGER: dict[str, Any] = {
    "data": "cifar10", "epochs": 20, "augment": CropFlip(), "warmup": 0.05, "optimizer": SGD(weight_decay=5e-4),
    "except_": ("conv1", "fc"),
}  # fmt: skip

_KWAK: dict[str, Any] = {
    "model": "lenet-300-100", "model_settings": {"init": "glorot-uniform"}, "batch_size": 512, "epochs": 5,
    "optimizer": Adam(), "learning_rate": 0.001, "schedule": "constant", "normalise": "none",
}  # fmt: skip


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """Everything to be trained at this scale: what answers most comes first."""
    work: list[Work] = []
    for net in ("fc", "conv"):
        work += [run_of(preset, net, seed) for seed in _doubled(seeds)]
    for net in ("conv", "fc"):
        work += unstable(preset, net, seeds) if UNSTABLE[preset][net] else []
    work += [gradual(preset, "cifar", density, seed) for density in CIFAR[preset] for seed in seeds]
    work += [run_of(preset, "cifar", seed) for seed in seeds]
    for net in ("fc", "conv"):
        work += _pruned(preset, net, seeds)
    for net in ("fc", "conv", "cifar"):
        work += _before_training(preset, net, seeds)
    work += _strange(preset, seeds)
    if preset in ("overnight", "paper"):
        work += _larger(seeds)
    return work


def run_of(preset: str, net: str, seed: int, *, model_settings: Mapping[str, Any] | None = None, **more: Any) -> Run:
    """One training of a network of the paper.

    Example:
        >>> run_of("paper", "conv", 0).model_settings
        {'relu_logits': True}

    Args:
        preset: its scale.
        net: "fc", "conv" or "cifar".
        seed: of the run.
        model_settings: laid over those of the preset.
        more: settings of `Run` that differ.
    """
    settings = _COMMON | _SETTINGS[preset][net] | more
    return Run(**{**settings, "model_settings": {**settings["model_settings"], **(model_settings or {})}, "seed": seed})


def gradual(preset: str, net: str, density: float, seed: int) -> Run:
    """Gradual ("iterative") pruning to a density, the same in every layer; masks are made anew each time."""
    begin, until = (3_000, 10_000) if preset == "paper" else (0.15, 0.6)
    method = GradualMagnitude(
        density=Cubic(final=density, begin=begin, until=until), when=_PRUNING[preset], budget=uniform, sticky=False
    )
    return run_of(preset, net, seed, method=method)


def unstable(preset: str, net: str, seeds: Sequence[int]) -> list[Initialisations]:
    """Fig. 8: one pruned network a density, trained from four times as many initial values as there are seeds.

    The dense network itself comes first, with the ReLU alone: without it, that is the ordinary dense network.
    """
    first, fresh = min(seeds, default=0), tuple(FRESH + n for n in range(4 * len(seeds)))
    settings = dict(run_of(preset, net, first).model_settings)
    relu = {said: {"model_settings": {**settings, "relu_logits": said == "on"}} for said in ("on", "off")}
    found = [Initialisations(after=run_of(preset, net, first), seeds=fresh, variants={"fig8-relu-on": relu["on"]})]
    for density in UNSTABLE[preset][net]:
        variants = {f"fig8-relu-{said}": relu[said] | _shorter(preset, net, density) for said in ("on", "off")}
        found.append(Initialisations(after=gradual(preset, net, density, first), seeds=fresh, variants=variants))
    return found


def _pruned(preset: str, net: str, seeds: Sequence[int]) -> list[Work]:
    """Gradual pruning, and one-time pruning of the dense network; both structures from fresh values, with controls.

    On a laptop LeNet-5 has its controls at one density, and its retrained structures are those of Fig. 8.
    """
    work: list[Work] = []
    few = preset == "laptop" and net == "conv"
    for density in PRUNED[preset]:
        every: dict[str, Control | None] = {"structure": None, "shuffled": shuffled, "inverted": inverted}
        controls = {name: c for name, c in every.items() if name != "inverted" or density == 0.1}
        if few:
            controls = every if density == 0.25 else {}
        for seed in seeds:
            source, again = gradual(preset, net, density, seed), _shorter(preset, net, density)
            work.append(Retraining(after=source, controls=controls, changes=again) if controls else source)
            if not few or density in UNSTABLE[preset][net]:
                once = {"one-time-structure": again}
                dense = run_of(preset, net, seed)
                work.append(Initialisations(after=dense, seeds=(FRESH + seed,), variants=once, density=density))
    if not few:
        work += [run_of(preset, net, seed, small_dense=d) for d in PRUNED[preset] for seed in seeds]
    return work


def _before_training(preset: str, net: str, seeds: Sequence[int]) -> list[Work]:
    """RadiX-Nets and their random equivalents: smaller at the dense size, and bigger at the dense connections."""
    work: list[Work] = []
    wider = "first_width" if net == "fc" else "conv2_width"
    for density in SMALLER[preset][net]:
        for label, maker in structures(density).items() if net == "fc" and density == 0.1 else _random(density).items():
            paired = _doubled(seeds) if label in ("bernoulli", "radix") and density == 0.1 and net == "fc" else seeds
            work += [_structured(preset, net, seed, label, maker) for seed in paired]
    for factor in BIGGER[preset][net]:
        makers: dict[str, Maker] = {**_random(1 / factor)}
        if net == "fc" and factor in EXPLICIT:
            makers["radix"] = RadixNet(systems=((10, 10),), widths=EXPLICIT[factor])
        for label, maker in makers.items():
            paired = _doubled(seeds) if factor in EXPLICIT else seeds
            more = {"model_settings": {wider: float(factor)}}
            work += [_structured(preset, net, seed, label, maker, **more) for seed in paired]
    return work


def structures(density: float) -> dict[str, Maker]:
    """Label -> a structure for the hidden layers of LeNet-300-100; `STRUCTURES` in order."""
    return _random(density) | {
        "radix": RadixNet(systems=((10, 10),), widths=EXPLICIT[1]),
        "radix-permuted": RadixNet(systems=((10, 10),), widths=EXPLICIT[1], permuted=True),
        "bi-regular": BiRegular(density, budget=uniform),
        "x-net": XNet(density),
        "expander": AffineExpander(density),
    }


def _random(density: float) -> dict[str, Maker]:
    return {"bernoulli": Bernoulli(density, budget=uniform)}


def _structured(preset: str, net: str, seed: int, label: str, maker: Maker, **more: Any) -> Run:
    sparse = _execution(net, getattr(maker, "density", None) or 0.1)
    return run_of(
        preset, net, seed, label=label, method=Static(begin=maker), except_=DENSE_LAYERS[net], **{**sparse, **more}
    )


def _strange(preset: str, seeds: Sequence[int]) -> list[Run]:
    """Kwak et al. 2023: their settings, whatever the preset; only the smoke preset is smaller."""
    small = {"data": "mnist-mini", "epochs": 1} if preset == "smoke" else {"data": "mnist"}
    makers = {name: RadixNet(systems=systems, widths=widths) for name, (systems, widths) in STRANGE.items()}
    if preset == "smoke":
        makers = dict(list(makers.items())[:2])
    named = {name: Static(begin=maker) for name, maker in makers.items()}
    systems, widths = STRANGE["10,10 | 10"]
    named["10,10 | 10 permuted"] = Static(begin=RadixNet(systems=systems, widths=widths, permuted=True))
    return [
        Run(**{**_KWAK, **small}, seed=seed, method=method, label=f"kwak-{name}" if method else "kwak-dense")
        for name, method in [("dense", None), *named.items()]
        for seed in seeds
    ]


def _larger(seeds: Sequence[int]) -> list[Work]:
    """ResNet-20 and VGG-11 on CIFAR-10 at 90 %: structures between channels and between weights, and pruning."""
    share = 0.1
    methods: dict[str, Method | None] = {
        "dense": None,
        "radix": Static(begin=RadixNet(share)),
        "radix-permuted": Static(begin=RadixNet(share, permuted=True)),
        "x-net": Static(begin=XNet(share)),
        "channels": Static(begin=BiRegular(share, budget=uniform, whole_kernels=True)),
        "bernoulli": Static(begin=Bernoulli(share, budget=uniform)),
        "static": Static(begin=ErdosRenyi(share)),
        "rigl": RigL(begin=ErdosRenyi(share), when=Every(0.01, until=0.75)),
    }
    work: list[Work] = [
        Run(model=net, seed=seed, method=method, label="" if name == "dense" else name, **_LARGER)
        for net in LARGER
        for name, method in methods.items()
        for seed in seeds
    ]
    pruning = GradualMagnitude(density=Cubic(final=share, begin=0.1, until=0.7), when=Every(0.01), budget=uniform)
    found = [Run(model=net, seed=seed, method=pruning, **_LARGER) for net in LARGER for seed in seeds]
    return [*work, *(Retraining(after=run) for run in found)]


def _shorter(preset: str, net: str, density: float) -> dict[str, Any]:
    """What retraining changes: the paper's 15,000 steps; and truly sparse storage where it pays."""
    steps = {"steps": 15_000, "milestones": (2 / 3,)} if preset == "paper" else {}
    return {**steps, **_execution(net, density)}


def _execution(net: str, density: float) -> dict[str, Any]:
    """Truly sparse training where it is quicker: linear layers with at most a tenth of their connections."""
    return {"execution": "sparse"} if net == "fc" and density <= 0.1 else {}


def _doubled(seeds: Sequence[int]) -> list[int]:
    """Twice as many seeds, for what must show that two things are equal."""
    return list(range(min(seeds), min(seeds) + 2 * len(seeds))) if seeds else []


@dataclass(frozen=True, kw_only=True)
class Initialisations:
    """One network's wiring, trained again from many initial values: "everything identical" but those (Fig. 8).

    Example:
        >>> many = Initialisations(after=run, seeds=range(1000, 1020), variants={"again": {}})
        >>> many.rounds
        20

    Args:
        after: the run that finds the wiring.
        seeds: of the new runs.
        variants: what a new run is called -> settings that differ from those of the run that found the wiring.
        density: prune the trained weights to this density once, in every layer alike, before. Default: the wiring as
            it was found.
    """

    after: Run
    seeds: Sequence[int]
    variants: Mapping[str, Mapping[str, Any]]
    density: float | None = None

    @property
    def first(self) -> Run:
        """The run that it begins with."""
        return self.after

    @property
    def rounds(self) -> int:
        """How many runs follow."""
        return len(self.seeds) * len(self.variants)

    def then(self, record: Record) -> list[Run]:
        """All of them, once the wiring is found."""
        if record.id != self.after.id or not record.finished:
            return []
        control = None if self.density is None else _once(record, self.density)
        return [
            dataclasses.replace(structure_only_run(record, seed=seed, control=control, label=label), **changes)
            for label, changes in self.variants.items()
            for seed in self.seeds
        ]


def _once(record: Record, density: float) -> Any:
    """A control that ignores the wiring and prunes the record's trained weights, layer by layer."""

    def one_time(wiring: Wiring, rng: Generator) -> Wiring:
        values = record.values()
        return magnitude({name: values[name] for name in wiring}, density, scope="local")

    return one_time


__all__ = [
    "BIGGER", "CIFAR", "DENSE_LAYERS", "LARGER", "PRUNED", "SMALLER", "STRANGE", "STRUCTURES", "UNSTABLE",
    "Initialisations", "gradual", "run_of", "runs", "structures", "unstable",
]  # fmt: skip
