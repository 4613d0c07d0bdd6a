"""SET and RigL: drop the weakest connections, grow others; the two differ in the growth score alone. And ITOP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Generator

from wirings.core.forms import Form, Unstructured
from wirings.core.schedules import AnySchedule, Constant, Cosine, Every, When
from wirings.core.scores import magnitude, random
from wirings.core.settings import register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.makers.maker import AnyBeginning
from wirings.makers.random import ErdosRenyi
from wirings.methods.method import Method, Site, Sites, Supports, check_schedule, planned

Grow = Callable[[Site, Topology, int], Topology]
"""(site, free positions, k) -> the k positions to grow."""


def exchange(site: Site, share: float, form: Form, grow: Grow, *, count: int | None = None) -> Support:
    """Drop the weakest ``share`` of a site's connections and grow until there are ``count``, by default as many."""
    now = site.support.forward
    count = now.nnz if count is None else count
    stay = min(count, now.nnz)
    keep_k = stay - min(form.settle(int(share * stay), site.shape), stay)
    if keep_k == count == now.nnz:
        return site.support
    keep = form.top(magnitude(site.weight(on=now)), keep_k, now)
    free = ~keep  # ~keep, not ~now: what was just dropped may return, with its value and its memory
    return Support.both(keep | grow(site, free, count - keep_k))


def at_random(form: Form, rng: Generator) -> Grow:
    """Grow anywhere that the form allows, with equal chances, exactly ``k``."""
    if isinstance(form, Unstructured):
        return lambda site, free, k: free.sample(k, rng)
    return lambda site, free, k: form.top(random(site.weight(on=free), rng), k, free)


def by_gradient(form: Form) -> Grow:
    """Grow where the dense gradient is largest."""
    if isinstance(form, Unstructured):
        return lambda site, free, k: site.strongest_gradient(k, among=free)
    return lambda site, free, k: form.top(magnitude(site.gradient(on=free)), k, free)


@register("method")
@dataclass(frozen=True, kw_only=True)
class SET(Method):
    """Sparse evolutionary training: drop the weakest connections, grow others at random.

    Mocanu et al. 2018, Algorithm 1. Each weight keeps its count; new connections start at zero, without memory.
    Differs from the paper: the weakest are those of smallest magnitude, signs not treated apart (as in the authors of
    RigL); the weight update of that step is applied; steps instead of epochs.

    Example:
        >>> method = SET(begin=ErdosRenyi(0.1), fraction=Constant(0.3), when=Every(100))

    Args:
        begin: the first wiring, or a maker of it. Default: ERK at density 0.1.
        fraction: share of each weight's connections exchanged, in [0, 1], by step. The paper's zeta = 0.3.
        when: the steps at which connections are exchanged.
    """

    begin: AnyBeginning = ErdosRenyi(0.1)
    fraction: AnySchedule = Constant(0.3)
    when: When = Every(100)
    kind: Literal["set"] = field(default="set", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule("fraction", self, 0, 1)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(self.begin, sites, rng, self.form)

    def due(self, step: int) -> bool:
        return self.when(step)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        share = self.fraction(step)
        grow = at_random(self.form, rng)
        return {name: exchange(site, share, self.form, grow) for name, site in sites.items()}


@register("method")
@dataclass(frozen=True, kw_only=True)
class RigL(Method):
    """The rigged lottery: drop the weakest connections, grow where the dense gradient is largest.

    Evci et al. 2020, Algorithm 1, as in the authors' code: the update *replaces* the weight update of its step; each
    weight keeps its count; new connections start at zero, without memory; what was just dropped may return as it was.
    Differs from the authors' code: no noise on the drop score, ties go to the lower index.

    Example:
        >>> method = RigL(begin=ErdosRenyi(0.05))  # ERK, every 100 steps until 75 % of the run, cosine from 0.3

    Args:
        begin: the first wiring, or a maker of it. Default: ERK at density 0.1.
        fraction: share of each weight's connections exchanged, by step. The paper's alpha = 0.3, cosine to 75 %.
        when: the steps at which connections are exchanged. The paper's every 100, until 75 % of the run.
    """

    begin: AnyBeginning = ErdosRenyi(0.1)
    fraction: AnySchedule = Cosine(0.3, over=0.75)
    when: When = Every(100, until=0.75)
    kind: Literal["rigl"] = field(default="rigl", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule("fraction", self, 0, 1)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(self.begin, sites, rng, self.form)

    def due(self, step: int) -> bool:
        return self.when(step)

    def hears(self, step: int) -> bool:
        return self.due(step)

    def replaces_step(self) -> bool:
        return True

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        share = self.fraction(step)
        grow = by_gradient(self.form)
        return {name: exchange(site, share, self.form, grow) for name, site in sites.items()}


def itop(*, grow: Literal["gradient", "random"] = "gradient", begin: AnyBeginning = ErdosRenyi(0.1)) -> RigL | SET:
    """In-time over-parameterisation (Liu et al. 2021): the same methods, set to see as many connections as they can.

    Long intervals let new connections prove themselves, a large share of them is exchanged, until the very end. How
    much was explored is the share of positions that were ever connected: density at the start, at most 1.
    Differs from the paper: random growth is exact (the authors' code draws each position, so counts drift); with
    gradients, the update takes the place of the weight update (in the authors' code it follows).

    Example:
        >>> itop(grow="random").when
        Every(n=1500, begin=0, until=None)
    """
    if grow == "gradient":
        return RigL(begin=begin, fraction=Cosine(0.5), when=Every(4000))
    return SET(begin=begin, fraction=Cosine(0.5), when=Every(1500))
