"""MEST: memory-economic sparse training, with elastic mutation and a soft memory bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Generator, Tensor

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.schedules import Every, When
from wirings.core.settings import Duration, check_duration, duration, in_range, register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.makers.random import ErdosRenyi
from wirings.methods.drop_grow import at_random
from wirings.methods.method import Method, Site, Sites, Supports, planned, shapes_of


@register("method")
@dataclass(frozen=True, kw_only=True)
class MEST(Method):
    """Elastic mutation: drop what has neither weight nor gradient, grow at random, less and less of it.

    Yuan et al. 2021, section 3. Connections are ranked by ``|w| + slope * |gradient|``; no gradient outside the wiring
    is ever made. With ``soft`` (EM&S) the mutants come on top of the density and the weakest go at the next update,
    so training runs over-dense until mutation ends and nothing that was just useful is lost.
    Differs from the paper: random growth is exact; mutation is told relative to the connections.

    Example:
        >>> method = MEST(density=0.05, soft=True, mutation=1.0)  # the authors' EM&S: 10 %, 7.5 %, then 5 % dense

    Args:
        density: of all prunable weights at the end, and with plain mutation always, in (0, 1].
        budget: how it is shared out over the weights; uniform in the authors' profiles.
        when: the steps at which connections mutate. The authors' every 5 of 160 epochs.
        mutation: mutants as a share of each weight's connections, halved at ``halve_at``, none from ``stop_at`` on.
            The authors' 0.2 (at 10 and 5 % density); for EM&S 0.5 at 10 % and 1.0 at 5 %.
        halve_at: epoch 90 of 160.
        stop_at: epoch 120 of 160.
        slope: the paper's lambda, how much a gradient counts beside a weight, at least 0; 0 in the authors' scripts.
        soft: whether mutants come on top of the density (EM&S) or within it (EM).
    """

    density: float = 0.1
    budget: AnyBudget = uniform
    when: When = Every(1 / 32)
    mutation: float = 0.2
    halve_at: Duration = duration(default=0.5625)
    stop_at: Duration = duration(default=0.75)
    slope: float = 0.0
    soft: bool = False
    kind: Literal["mest"] = field(default="mest", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density, "MEST")
        in_range("mutation", self, 0, 1)
        in_range("slope", self, 0, 1e9)
        check_duration("halve_at", self)
        check_duration("stop_at", self)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        begun = planned(ErdosRenyi(self.density, budget=self.budget, form=self.form), sites, rng, self.form)
        if not self.soft:
            return begun
        there = {name: s.forward.to(sites[name].support.forward.device) for name, s in begun.items()}
        return {name: self._mutated(sites[name], t, t.nnz, 0, rng) for name, t in there.items()}

    def due(self, step: int) -> bool:
        return self.when(step)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        counts = self.budget(shapes_of(sites), self.density)
        return {name: self._mutated(s, s.support.forward, counts[name], step, rng) for name, s in sites.items()}

    def _mutated(self, site: Site, now: Topology, count: int, step: int, rng: Generator) -> Support:
        share = 0.0 if step >= self.stop_at else self.mutation / 2 if step >= self.halve_at else self.mutation
        base = self.form.settle(count, site.shape)
        mutants = self.form.settle(int(share * base), site.shape)
        stay = base if self.soft else base - mutants
        keep = now if stay >= now.nnz else self.form.top(self._worth(site, now), stay, now)
        free = ~keep
        mutants = min(mutants, self.form.settle(free.nnz, site.shape))
        return Support.both(keep | at_random(self.form, rng)(site, free, mutants)) if mutants else Support.both(keep)

    def _worth(self, site: Site, now: Topology) -> Tensor:
        worth = site.weight(on=now).abs()
        return worth + self.slope * site.gradient(on=now).abs() if self.slope else worth
