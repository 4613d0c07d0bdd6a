"""Sparse neural networks: find a wiring, train it, take its structure apart.

    import wirings as wr

    sparse = wr.attach(model, optimizer, wr.RigL(begin=wr.ErdosRenyi(0.05)), steps=30_000)

The public names are the ones in the table below; they load when they are first used, so that ``import wirings`` is
quick and ``wirings --help`` need not wait for torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "wirings.core.topology": ("Topology",),
    "wirings.core.wiring": ("Wiring",),
    "wirings.core.support": ("Support",),
    "wirings.core.forms": ("Unstructured", "NM", "Block", "ConstantFanIn"),
    "wirings.core.schedules": ("Constant", "Cosine", "Cubic", "Linear", "Exponential", "Every"),
    "wirings.core.budgets": ("Uniform", "ER", "ERK", "SmartRatio", "Explicit", "uniform", "er", "erk", "smart_ratio"),
    "wirings.core.select": ("top", "top_global"),
    "wirings.core.errors": ("WiringsError", "WiringError", "SettingsError", "DataError", "RunError"),
    "wirings.makers.prunable": ("prunable", "left_dense"),
    "wirings.makers.random": ("ErdosRenyi", "Bernoulli", "FixedFanIn"),
    "wirings.makers.biregular": ("BiRegular", "biregular"),
    "wirings.makers.radix": ("mixed_radix", "radix_net"),
    "wirings.makers.radix_fit": ("RadixNet", "RadixPlan", "radix_net_for"),
    "wirings.makers.expander": ("XNet", "AffineExpander", "x_layer", "affine_expander"),
    "wirings.makers.butterfly": ("FlatButterfly", "butterfly", "flat_butterfly"),
    "wirings.makers.lattice": ("Band", "SmallWorld", "band", "small_world"),
    "wirings.makers.magnitude": ("Magnitude", "LAMP", "magnitude", "lamp"),
    "wirings.makers.scoring": ("CollapseWarning", "ModelMaker"),
    "wirings.makers.snip": ("SNIP", "snip"),
    "wirings.makers.grasp": ("GraSP", "balanced", "grasp"),
    "wirings.makers.obd": ("OBD", "obd"),
    "wirings.makers.ntk_sap": ("NTKSAP", "ntk_sap"),
    "wirings.makers.synflow": ("SynFlow", "synflow", "synflow_scores"),
    "wirings.makers.baselines": ("MagnitudeAtInit", "RandomAtInit"),
    "wirings.makers.supermask": ("supermask", "treated"),
    "wirings.makers.controls": (
        "shuffled",
        "shuffled_within_rows",
        "rewired_degrees",
        "inverted",
        "permuted_units",
    ),
    "wirings.methods.method": ("Method", "Site"),
    "wirings.methods.static": ("Static",),
    "wirings.methods.gradual": ("GradualMagnitude", "one_time"),
    "wirings.methods.drop_grow": ("SET", "RigL", "itop"),
    "wirings.methods.snfs": ("SNFS",),
    "wirings.methods.top_kast": ("TopKAST",),
    "wirings.methods.dnw": ("DNW",),
    "wirings.methods.granet": ("GraNet",),
    "wirings.methods.mest": ("MEST",),
    "wirings.methods.srigl": ("SRigL",),
    "wirings.methods.edge_popup": ("EdgePopup",),
    "wirings.methods.gem_miner": ("GemMiner",),
    "wirings.methods.supermask": ("Supermask",),
    "wirings.kernels.choose": ("Choice", "choose"),
    "wirings.analysis.forecast": ("Forecast", "forecast"),
    "wirings.sparse": (
        "SparseConv1D",
        "SparseConv2d",
        "SparseLinear",
        "SparseSequential",
        "keep_planes",
        "stays_dense",
        "to_dense",
        "to_sparse",
    ),
    "wirings.gallery": ("load_wiring",),
    "wirings.attach": ("attach", "Sparsifier", "follow", "param_groups", "summary"),
    "wirings.training": ("Run", "Record", "train", "train_all", "find"),
    "wirings.procedures": ("Lottery", "Pruning", "lottery", "structure_only", "sensitivity"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wirings' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Wirings(ModuleType):
    """``attach`` names a folder and, for everyone, the function in it: importing the folder must not hide it."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Wirings
