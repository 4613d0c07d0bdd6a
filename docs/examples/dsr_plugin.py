"""Dynamic sparse reparameterization, a method that the library does not have, as a plug-in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.forms import Unstructured
from wirings.core.schedules import AnySchedule, Constant, Every, When
from wirings.core.scores import magnitude
from wirings.core.select import top_global
from wirings.core.settings import register
from wirings.core.support import Support
from wirings.core.wiring import Wiring
from wirings.makers.maker import AnyBeginning
from wirings.makers.random import ErdosRenyi
from wirings.methods import Method, Sites, Supports, planned, shared_out


@register("method")
@dataclass(frozen=True, kw_only=True)
class DSR(Method):
    """Drop the weakest of the whole network, grow at random, more where more survived (Mostafa & Wang 2019).

    Differs from the paper: an exact share goes, instead of what lies below a threshold that adapts.
    """

    begin: AnyBeginning = ErdosRenyi(0.1)
    share: AnySchedule = Constant(0.1)
    when: When = Every(100)
    kind: Literal["dsr"] = field(default="dsr", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured,)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(self.begin, sites, rng, self.form)

    def due(self, step: int) -> bool:
        return self.when(step)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        now = Wiring({name: site.support.forward for name, site in sites.items()})
        freed = int(self.share(step) * now.nnz)
        strength = {name: magnitude(site.weight(on=now[name])) for name, site in sites.items()}
        keep = top_global(strength, now.nnz - freed, now)
        room = {name: t.numel - t.nnz for name, t in keep.items()}
        grown = shared_out(freed, {name: float(t.nnz) for name, t in keep.items()}, room)
        return {name: Support.both(t | (~t).sample(grown[name], rng)) for name, t in keep.items()}
