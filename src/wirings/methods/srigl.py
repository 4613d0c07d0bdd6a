"""SRigL: RigL with the same number of inputs at every living unit, and units that may die."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from wirings.core.budgets import AnyBudget, check_density, erk
from wirings.core.forms import AnyForm, ConstantFanIn
from wirings.core.schedules import AnySchedule, Cosine, Every, When
from wirings.core.scores import magnitude
from wirings.core.select import top
from wirings.core.settings import in_range, register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.makers.random import FixedFanIn
from wirings.methods.method import Method, Site, Sites, Supports, check_schedule, everywhere, planned, shapes_of


@register("method")
@dataclass(frozen=True, kw_only=True)
class SRigL(Method):
    """Structured RigL: constant fan-in, and ablation of units that too few salient connections reach.

    Lasby et al. 2024, section 3.1. A connection is salient if its weight is among the kept ones of its layer or
    its gradient among the strongest of the others. A unit with fewer salient inputs than ``gamma`` times the fan-in
    is ablated; its connections go to the others. One that gathers enough again is revived. The last weight's units
    are never ablated. The update takes the place of the weight update, as in RigL.
    Differs from the authors' code: a unit with too many kept connections keeps those of largest magnitude (theirs
    trims in arbitrary order); living units are never so few that the budget would not fit.

    Example:
        >>> method = SRigL(density=0.1, gamma=0.95)  # the paper's for vision transformers

    Args:
        density: of all prunable weights, in (0, 1]; a weight's count is its fan-in, rounded, times its living units.
        budget: how it is shared out over the weights; ERK in the paper for CNNs, uniform for transformers.
        fraction: share of each weight's connections exchanged, by step. The paper's 0.3, cosine to 75 % of the run.
        when: the steps at which connections are exchanged. The paper's every 100, until 75 %.
        gamma: least share of the fan-in that must be salient, in [0, 1]. The paper's 0.3; 0 still ablates at none.
    """

    form: AnyForm = ConstantFanIn()
    density: float = 0.1
    budget: AnyBudget = erk
    fraction: AnySchedule = Cosine(0.3, over=0.75)
    when: When = Every(100, until=0.75)
    gamma: float = 0.3
    kind: Literal["srigl"] = field(default="srigl", repr=False)

    forms: ClassVar[tuple[type, ...]] = (ConstantFanIn,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density, "SRigL")
        check_schedule("fraction", self, 0, 1)
        in_range("gamma", self, 0, 1)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(FixedFanIn(self.density, budget=self.budget), sites, rng, self.form)

    def due(self, step: int) -> bool:
        return self.when(step)

    def hears(self, step: int) -> bool:
        return self.due(step)

    def replaces_step(self) -> bool:
        return True

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        share, last = self.fraction(step), list(sites)[-1]
        counts = self.budget(shapes_of(sites), self.density)
        gammas = {name: None if name == last else self.gamma for name in sites}
        return {name: Support.both(rewired(s, share, counts[name], gammas[name])) for name, s in sites.items()}


def rewired(site: Site, share: float, count: int, gamma: float | None) -> Topology:
    """One update of one weight towards ``count`` connections; ``gamma=None`` ablates no unit."""
    now, units = site.support.forward, site.shape[0]
    inputs = math.prod(site.shape[1:])
    dropped = int(share * now.nnz)
    if not dropped:
        return now
    keep = top(magnitude(site.weight(on=now)), now.nnz - dropped, now)
    salient = keep | site.strongest_gradient(dropped, among=~keep)
    fan_in = max(round(now.nnz / max(int((now.in_degrees > 0).sum()), 1)), 1)
    enough = 0 if gamma is None else max(1, int(gamma * fan_in))
    fewest = min(max(math.ceil(count / inputs), 1), units)
    living = _living(salient.in_degrees.cpu(), enough, fewest)
    each = min(max(round(count / int(living.sum())), 1), inputs)
    chosen = _best_per_unit(site, keep, each) & living.to(keep.device)[:, None]
    return Topology.of(chosen.view(site.shape))


def _living(salient: Tensor, enough: int, fewest: int) -> Tensor:
    """The units with enough salient inputs, or the ``fewest`` best of them."""
    living = salient >= enough
    if int(living.sum()) < fewest:
        living = torch.zeros_like(living)
        living[salient.argsort(descending=True, stable=True)[:fewest]] = True
    return living


def _best_per_unit(site: Site, keep: Topology, each: int) -> Tensor:
    """A mask ``(units, inputs)``: of each unit's kept connections the largest, then positions of strongest gradient."""
    whole = everywhere(site)
    weight, gradient = (magnitude(t).view(site.shape[0], -1) for t in (site.weight(on=whole), site.gradient(on=whole)))
    kept = keep.mask.view(weight.shape)
    order = gradient.masked_fill(kept, math.inf).sort(dim=1, descending=True, stable=True).indices
    kept_first = weight.masked_fill(~kept, -1).gather(1, order).sort(dim=1, descending=True, stable=True).indices
    best = order.gather(1, kept_first)[:, :each]
    return torch.zeros_like(kept).scatter_(1, best, True)
