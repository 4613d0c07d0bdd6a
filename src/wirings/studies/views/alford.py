"""What Alford et al. (2019) and Kwak (2023) published, and what tables and figures of the study share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from wirings.studies import words
from wirings.studies.alford_claims import pick
from wirings.studies.measures.topologies import OneTime
from wirings.studies.study import Findings
from wirings.studies.tables import Spread
from wirings.training.records import Record

NETS = {"fc": "LeNet-300-100, MNIST", "conv": "LeNet-5, MNIST", "cifar": "LeNet-5, CIFAR-10"}

PUBLISHED: dict[tuple[str, str], dict[float, float]] = {
    ("fc", "dense"): {1: 97.03},
    ("fc", "gradual"): {0.5: 97.50, 0.25: 97.44, 0.1: 97.40, 0.05: 97.30, 0.01: 96.83},
    ("fc", "gradual-structure"): {0.5: 97.03, 0.25: 97.05, 0.1: 97.02, 0.05: 96.34, 0.01: 96.08},
    ("fc", "one-time-structure"): {0.5: 96.88, 0.25: 96.82, 0.1: 96.19, 0.05: 95.65, 0.01: 56.08},
    ("conv", "dense"): {1: 99.25},
    ("conv", "gradual"): {0.5: 99.17, 0.25: 98.91, 0.1: 98.84, 0.05: 98.80, 0.01: 98.48},
    ("conv", "gradual-structure"): {0.5: 98.78, 0.25: 69.92, 0.1: 88.67, 0.05: 98.54, 0.01: 77.96},
    ("conv", "fig8-relu-on"): {0.5: 98.78, 0.25: 69.92, 0.1: 88.67, 0.05: 98.54, 0.01: 77.96},
    ("conv", "one-time-structure"): {0.5: 98.95, 0.25: 79.94, 0.1: 89.92, 0.05: 98.32, 0.01: 11.35},
    ("cifar", "dense"): {1: 80.14},
    ("cifar", "gradual"): {0.5: 79.59, 0.25: 79.08, 0.1: 74.90},
}
"""Network and what was done -> density -> test accuracy (%), each of a single run."""

SIZES: dict[tuple[str, str], dict[float, float]] = {
    ("fc", "bernoulli"): {0.01: 74.10, 0.05: 91.49, 0.1: 93.42, 0.5: 96.28, 1: 97.03, 2: 96.65, 10: 94.45, 100: 94.30},
    ("fc", "radix"): {0.1: 93.57, 10: 93.98},
    ("conv", "bernoulli"): {0.01: 49.36, 0.05: 98.38, 0.1: 98.77, 0.5: 99.20, 1: 99.20, 2: 99.14, 10: 98.91},
    ("cifar", "bernoulli"): {0.01: 9.99, 0.05: 71.34, 0.1: 74.61, 0.5: 79.22, 1: 80.14, 2: 80.40, 10: 79.35},
}
"""Network and structure -> factor -> test accuracy (%): below 1 a density, above 1 a size at equal connections."""

CURVES: dict[tuple[str, Literal["global", "local"]], dict[float, float]] = {
    ("fc", "global"): {0: 97.38, 0.25: 97.39, 0.5: 97.19, 0.6: 97.19, 0.7: 97.06, 0.75: 96.95, 0.8: 96.86, 0.85: 96.64,
                       0.9: 95.32, 0.95: 89.32, 0.97: 76.57},
    ("fc", "local"): {0: 97.03, 0.5: 96.79, 0.75: 94.92, 0.9: 85.47, 0.95: 50.71, 0.99: 19.36},
    ("conv", "global"): {0: 99.05, 0.25: 99.03, 0.5: 98.91, 0.6: 98.93, 0.7: 98.74, 0.75: 98.54, 0.8: 98.34,
                         0.85: 98.19, 0.9: 98.11, 0.95: 97.02, 0.97: 93.16},
}  # fmt: skip
"""One-time pruning without retraining: network and scope -> share removed -> test accuracy (%). Caffe's networks prune
biases too, and LeNet-300-100 has no layer of ten units there; their shares are rounded to ours by up to 1 %."""

KWAK = {"10,10 | 10": 91.05, "10,10,1": 60.3, "10 | 5,2": 95.68, "2,2 | 2": 95.22, "dense": 96.90}
"""Kwak et al. 2023, one seed: test accuracy (%)."""

DONE = {
    "dense": "dense",
    "gradual": "pruned gradually",
    "gradual-structure": "… its structure, retrained",
    "fig8-relu-off": "… its structure, retrained (one structure)",
    "fig8-relu-on": "… the same, ReLU on the logits",
    "gradual-shuffled": "… shuffled in each layer, retrained",
    "gradual-inverted": "… the other positions, retrained",
    "one-time-structure": "pruned at once, structure retrained",
    "small-dense": "small dense, as many weights",
}
"""What was done to a network, in the order of the table."""

CALLED = {
    "bernoulli": "random",
    "radix": "RadiX-Net",
    "radix-permuted": "RadiX-Net, units renamed",
    "bi-regular": "random, constant degrees",
    "x-net": "X-Linear / X-Conv (random expander)",
    "expander": "affine expander",
    "channels": "random channels, constant degrees",
    "static": "random (ERK)",
}
"""Structures, as people call them."""


def accuracy(records: Sequence[Record]) -> Spread | None:
    """Test accuracies in percent."""
    return Spread(tuple(100 * r.test_accuracy_last for r in records)) if records else None


def called(label: str) -> str:
    """What people call a structure or a method."""
    return CALLED.get(label, DONE.get(label, words.method(label)))


# ---------------------------------------------------------------------- tables


def curves_of(found: Findings, net: str, scope: Literal["global", "local"]) -> list[Any]:
    asked = [OneTime(run=r.id, scope=scope) for r in pick(found, net, "dense")]
    return [curve for m in asked if (curve := found.measured(m)) is not None]


def ids(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(record.id for record in records)


_COLOURS = {"bernoulli": "static", "x-net": "expander", "fig8-relu-off": "dense"}


def colour(label: str) -> str:
    """The method whose colour a label has."""
    return _COLOURS.get(label, label)
