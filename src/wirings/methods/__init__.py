"""Floor 3: methods change supports while a network trains. One file an algorithm; all are named here."""

from __future__ import annotations

from wirings.core.errors import SettingsError, nearest
from wirings.core.settings import family
from wirings.methods.dnw import DNW
from wirings.methods.drop_grow import SET, RigL, exchange, itop
from wirings.methods.edge_popup import EdgePopup
from wirings.methods.gem_miner import GemMiner
from wirings.methods.gradual import GradualMagnitude, one_time, thresholds
from wirings.methods.granet import GraNet
from wirings.methods.mest import MEST
from wirings.methods.method import Method, Site, Sites, Supports, planned, shapes_of
from wirings.methods.rule import Rule, Scored, Straight
from wirings.methods.snfs import SNFS, shared_out
from wirings.methods.srigl import SRigL
from wirings.methods.static import Static
from wirings.methods.supermask import Supermask
from wirings.methods.top_kast import TopKAST

__all__ = [
    "DNW",
    "MEST",
    "SET",
    "SNFS",
    "EdgePopup",
    "GemMiner",
    "GraNet",
    "GradualMagnitude",
    "Method",
    "RigL",
    "Rule",
    "SRigL",
    "Scored",
    "Site",
    "Sites",
    "Static",
    "Straight",
    "Supermask",
    "Supports",
    "TopKAST",
    "exchange",
    "forms_of",
    "itop",
    "names",
    "one_time",
    "planned",
    "shapes_of",
    "shared_out",
    "thresholds",
]


def names() -> tuple[str, ...]:
    """The kinds of all methods, plug-ins included, as settings files and the command line name them."""
    return tuple(sorted(family("method")))


def forms_of(kind: str) -> tuple[str, ...]:
    """The kinds of the forms that a method takes; every other form is refused when the method is made.

    Example:
        >>> forms_of("snfs")
        ('unstructured',)
    """
    if kind not in family("method"):
        raise SettingsError(f"There is no method {kind!r}. {nearest(kind, names())}")
    allowed = getattr(family("method")[kind], "forms")  # noqa: B009 (any registered class; mypy knows only `type`)
    return tuple(kind for kind, form in sorted(family("form").items()) if issubclass(form, allowed))
