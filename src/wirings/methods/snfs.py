"""SNFS: sparse networks from scratch, where connections move between layers towards the larger momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.forms import Unstructured
from wirings.core.schedules import AnySchedule, Cosine, Every, When
from wirings.core.scores import magnitude
from wirings.core.select import top
from wirings.core.settings import in_range, register
from wirings.core.support import Support
from wirings.makers.maker import AnyBeginning
from wirings.makers.random import ErdosRenyi
from wirings.methods.method import Method, Site, Sites, Supports, check_schedule, planned


@register("method")
@dataclass(frozen=True, kw_only=True)
class SNFS(Method):
    """Sparse momentum: drop the weakest of each weight, grow where the momentum of dense gradients is largest.

    Dettmers & Zettlemoyer 2019, Algorithm 1. What was freed in all weights is shared out in proportion to the mean
    ``|momentum|`` over each weight's connections; a weight that would overflow gets what fits and the others the rest.
    The total never changes, the counts of single weights do. New connections start at zero, without memory.
    Differs from the paper: the momentum is a running sum kept beside the optimizer's, so any optimizer will do; shares
    are rounded by largest remainders, so the total is exact; steps instead of epochs.

    Example:
        >>> shared_out(10, {"a": 3.0, "b": 1.0}, {"a": 4, "b": 20})
        {'a': 4, 'b': 6}

    Args:
        begin: the first wiring, or a maker of it. Default: ERK at density 0.1.
        fraction: share of each weight's connections dropped, by step. The authors' 0.5, cosine to 0.005.
        when: the steps at which connections are exchanged. The authors' every epoch; here every 100 steps.
        momentum: how much of the running sum of gradients stays each step, in [0, 1). The paper's 0.9.
    """

    begin: AnyBeginning = ErdosRenyi(0.1)
    fraction: AnySchedule = Cosine(0.5, final=0.005)
    when: When = Every(100)
    momentum: float = 0.9
    kind: Literal["snfs"] = field(default="snfs", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured,)
    keeps_momentum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule("fraction", self, 0, 1)
        in_range("momentum", self, 0, 1, open_high=True)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(self.begin, sites, rng, self.form)

    def due(self, step: int) -> bool:
        return self.when(step)

    def hears(self, step: int) -> bool:
        return self.when.until is None or step <= self.when.until  # every step: momentum is made of all of them

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        share = self.fraction(step)
        now = {name: site.support.forward for name, site in sites.items()}
        freed = {name: int(share * t.nnz) for name, t in now.items()}
        pull = {name: _pull(site) for name, site in sites.items()}
        room = {name: t.numel - t.nnz + freed[name] for name, t in now.items()}
        grown = shared_out(sum(freed.values()), pull, room)
        supports = {}
        for name, site in sites.items():
            keep = top(magnitude(site.weight(on=now[name])), now[name].nnz - freed[name], now[name])
            free = ~keep
            supports[name] = Support.both(keep | top(magnitude(site.momentum(on=free)), grown[name], free))
        return supports


def _pull(site: Site) -> float:
    """The mean ``|momentum|`` over a weight's connections."""
    now = site.support.forward
    return float(site.momentum(on=now).abs().double().mean()) if now.nnz else 0.0


def shared_out(total: int, pull: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Integers in proportion to ``pull``, none above its ``room``, that add up to ``total`` exactly."""
    ideal: dict[str, float] = {}
    open_ = [name for name in room if room[name]]
    while open_:
        left = total - sum(ideal.values())
        strongest = max(pull[name] for name in open_)
        weights = {
            name: pull[name] / strongest if strongest else float(room[name]) for name in open_
        }  # no pull: by room
        scale = left / sum(weights.values())
        full = [name for name in open_ if weights[name] * scale >= room[name]]
        if not full:
            ideal |= {name: weights[name] * scale for name in open_}
            break
        ideal |= {name: float(room[name]) for name in full}
        open_ = [name for name in open_ if name not in full]
    counts = {name: math.floor(ideal.get(name, 0.0)) for name in room}
    by_remainder = sorted((n for n in room if counts[n] < room[n]), key=lambda n: counts[n] - ideal.get(n, 0.0))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
