"""Floor 2: makers write a wiring before training; controls make one from another."""

from __future__ import annotations

from wirings.makers.controls import (
    Control,
    inverted,
    inverted_scores,
    permuted_units,
    rewired_degrees,
    shuffled,
    shuffled_within_rows,
)
from wirings.makers.magnitude import LAMP, Magnitude, lamp, magnitude
from wirings.makers.maker import AnyBeginning, Beginning, Maker, WeightMaker
from wirings.makers.prunable import left_dense, prunable
from wirings.makers.random import Bernoulli, ErdosRenyi, FixedFanIn

__all__ = [
    "LAMP",
    "AnyBeginning",
    "Beginning",
    "Bernoulli",
    "Control",
    "ErdosRenyi",
    "FixedFanIn",
    "Magnitude",
    "Maker",
    "WeightMaker",
    "inverted",
    "inverted_scores",
    "lamp",
    "left_dense",
    "magnitude",
    "permuted_units",
    "prunable",
    "rewired_degrees",
    "shuffled",
    "shuffled_within_rows",
]
