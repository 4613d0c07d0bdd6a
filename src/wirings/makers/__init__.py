"""Floor 2: makers write a wiring before training; controls make one from another."""

from __future__ import annotations

from wirings.makers.baselines import MagnitudeAtInit, RandomAtInit
from wirings.makers.biregular import BiRegular, biregular
from wirings.makers.butterfly import FlatButterfly, butterfly, flat_butterfly
from wirings.makers.controls import (
    Control,
    inverted,
    inverted_scores,
    permuted_units,
    rewired_degrees,
    shuffled,
    shuffled_within_rows,
)
from wirings.makers.expander import AffineExpander, XNet, affine_expander, is_ramanujan, x_layer
from wirings.makers.grasp import GraSP, balanced, grasp
from wirings.makers.lattice import Band, SmallWorld, band, small_world
from wirings.makers.magnitude import LAMP, Magnitude, lamp, magnitude
from wirings.makers.maker import AnyBeginning, Beginning, Maker, WeightMaker
from wirings.makers.ntk_sap import NTKSAP, ntk_sap
from wirings.makers.obd import OBD, obd
from wirings.makers.prunable import left_dense, prunable
from wirings.makers.radix import mixed_radix, radix_net
from wirings.makers.radix_fit import RadixNet, radix_net_for
from wirings.makers.random import Bernoulli, ErdosRenyi, FixedFanIn
from wirings.makers.scoring import CollapseWarning, ModelMaker
from wirings.makers.snip import SNIP, snip
from wirings.makers.supermask import supermask, treated
from wirings.makers.synflow import SynFlow, synflow

__all__ = [
    "LAMP",
    "NTKSAP",
    "OBD",
    "SNIP",
    "AffineExpander",
    "AnyBeginning",
    "Band",
    "Beginning",
    "Bernoulli",
    "BiRegular",
    "CollapseWarning",
    "Control",
    "ErdosRenyi",
    "FixedFanIn",
    "FlatButterfly",
    "GraSP",
    "Magnitude",
    "MagnitudeAtInit",
    "Maker",
    "ModelMaker",
    "RadixNet",
    "RandomAtInit",
    "SmallWorld",
    "SynFlow",
    "WeightMaker",
    "XNet",
    "affine_expander",
    "balanced",
    "band",
    "biregular",
    "butterfly",
    "flat_butterfly",
    "grasp",
    "inverted",
    "inverted_scores",
    "is_ramanujan",
    "lamp",
    "left_dense",
    "magnitude",
    "mixed_radix",
    "ntk_sap",
    "obd",
    "permuted_units",
    "prunable",
    "radix_net",
    "radix_net_for",
    "rewired_degrees",
    "shuffled",
    "shuffled_within_rows",
    "small_world",
    "snip",
    "supermask",
    "synflow",
    "treated",
    "x_layer",
]
