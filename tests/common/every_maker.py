"""One row a maker: its name -> the maker, and the counts that it must give the small network, where they are known."""

from __future__ import annotations

from wirings.core.budgets import uniform
from wirings.core.forms import NM, Block, ConstantFanIn
from wirings.makers.baselines import MagnitudeAtInit, RandomAtInit
from wirings.makers.biregular import BiRegular
from wirings.makers.butterfly import FlatButterfly
from wirings.makers.expander import AffineExpander, XNet
from wirings.makers.grasp import GraSP
from wirings.makers.lattice import Band, SmallWorld
from wirings.makers.magnitude import LAMP, Magnitude
from wirings.makers.ntk_sap import NTKSAP
from wirings.makers.obd import OBD
from wirings.makers.radix_fit import RadixNet
from wirings.makers.random import Bernoulli, ErdosRenyi, FixedFanIn
from wirings.makers.snip import SNIP
from wirings.makers.synflow import SynFlow
from wirings.testing.makers import AnyMaker

QUARTER = {"0.weight": 72, "3.weight": 128, "5.weight": 16}

ROWS: dict[str, tuple[AnyMaker, dict[str, int] | None]] = {
    "ErdosRenyi": (ErdosRenyi(0.25), None),
    "ErdosRenyi uniform": (ErdosRenyi(0.25, budget=uniform), QUARTER),
    "ErdosRenyi 2:4": (ErdosRenyi(0.25, budget=uniform, form=NM(2, 4)), QUARTER),
    "ErdosRenyi blocks": (ErdosRenyi(0.25, budget=uniform, form=Block(2, 2)), QUARTER),
    "ErdosRenyi constant fan-in": (ErdosRenyi(0.25, budget=uniform, form=ConstantFanIn()), QUARTER),
    "Bernoulli": (Bernoulli(0.25), None),
    "FixedFanIn": (FixedFanIn(0.25, budget=uniform), QUARTER),
    "RandomAtInit": (RandomAtInit(0.25), None),
    "MagnitudeAtInit": (MagnitudeAtInit(0.25, scope="local"), QUARTER),
    "SynFlow": (SynFlow(0.25, rounds=5), None),
    "SNIP": (SNIP(0.25), None),
    "GraSP": (GraSP(0.25), None),
    "OBD": (OBD(0.25), None),
    "NTK-SAP": (NTKSAP(0.25), None),
    "Magnitude": (Magnitude(0.25, scope="local"), QUARTER),
    "LAMP": (LAMP(0.25), None),
    "RadixNet": (RadixNet(0.25), None),
    "BiRegular": (BiRegular(0.25), None),
    "BiRegular kernels": (BiRegular(0.25, whole_kernels=True), None),
    "XNet": (XNet(0.25), None),
    "AffineExpander": (AffineExpander(0.25), None),
    "FlatButterfly": (FlatButterfly(0.25), None),
    "Band": (Band(0.25), None),
    "SmallWorld": (SmallWorld(0.25), None),
}
