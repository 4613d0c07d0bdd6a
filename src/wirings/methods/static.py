"""Static: a wiring that stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.forms import NM, Block, ConstantFanIn, Unstructured
from wirings.core.settings import register
from wirings.makers.maker import AnyBeginning
from wirings.methods.method import Method, Sites, Supports, planned


@register("method")
@dataclass(frozen=True, kw_only=True)
class Static(Method):
    """Train on a fixed wiring: random, explicit, pruned at initialisation, or found by an earlier training.

    Example:
        >>> method = Static(begin=ErdosRenyi(0.05))

    Args:
        begin: the wiring, or a maker of it.
    """

    begin: AnyBeginning
    kind: Literal["static"] = field(default="static", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(self.begin, sites, rng, self.form)
