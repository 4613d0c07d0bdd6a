"""Gradual magnitude pruning: from dense to sparse while training, and the one-time jump as its special case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator, Tensor

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Unstructured
from wirings.core.schedules import AnySchedule, Constant, Cubic, Every, When
from wirings.core.scores import magnitude
from wirings.core.settings import Duration, register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.methods.method import Method, Site, Sites, Supports, check_schedule, shapes_of


@register("method")
@dataclass(frozen=True, kw_only=True)
class GradualMagnitude(Method):
    """Prune the smallest weights, a little more each time, until the final density (Zhu & Gupta 2017, section 3).

    Dense before the first pruning step, whatever the form. By default pruning is sticky: what is gone stays gone.
    With ``sticky=False`` every weight is ranked each time, as in the authors' code: masked weights keep the value that
    they had, get no gradient, and come back with it (without memory) once others have shrunk below them.
    Differs from the paper: exact counts per weight instead of thresholds from a histogram; no decay reaches a masked
    weight (in the authors' code an L2 loss does).

    Example:
        >>> method = GradualMagnitude(density=Cubic(final=0.05, begin=0.2, until=0.8), when=Every(100))

    Args:
        density: of all prunable weights together, by step. Default: cubic from dense at 10 % of the run to 0.1 at 75 %.
        when: the steps at which connections go. The paper's every 100 to 1,000.
        budget: how a density is shared out over the weights; uniform in the paper.
        sticky: whether a pruned connection is gone for good; ``False`` keeps dense values, so it runs masked only.
    """

    density: AnySchedule = Cubic(final=0.1, begin=0.1, until=0.75)
    when: When = Every(100)
    budget: AnyBudget = uniform
    sticky: bool = True
    kind: Literal["gradual"] = field(default="gradual", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule("density", self, 0, 1, open_low=True)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return {name: Support.both(Topology.full(site.shape)) for name, site in sites.items()}

    def due(self, step: int) -> bool:
        return self.when(step)

    def remembers(self) -> bool:
        return not self.sticky

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        density = self.density(step)
        check_density(density, "GradualMagnitude")
        counts = self.budget(shapes_of(sites), density)
        return {name: self._pruned(site, counts[name]) for name, site in sites.items()}

    def _pruned(self, site: Site, count: int) -> Support:
        pool = site.support.forward if self.sticky else Topology.full(site.shape)
        k = self.form.settle(count, site.shape)
        return site.support if k >= pool.nnz else Support.both(self.form.top(magnitude(site.weight(on=pool)), k, pool))


def one_time(density: float, at: Duration, *, budget: AnyBudget = uniform) -> GradualMagnitude:
    """Prune once, at step ``at`` (steps or a share of the run), and train on (Alford et al. 2019's one-time pruning)."""
    return GradualMagnitude(density=Constant(density), when=Every(1, begin=at, until=at), budget=budget)


def thresholds(weights: Mapping[str, Tensor], wiring: Wiring) -> dict[str, float]:
    """The smallest ``|w|`` that each weight still uses: asked right after an update, the threshold it was pruned at."""
    return {
        name: float(magnitude(weights[name].detach().reshape(-1)[t.index]).min()) for name, t in wiring.items() if t.nnz
    }
