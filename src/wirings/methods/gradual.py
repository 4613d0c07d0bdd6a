"""Gradual magnitude pruning: from dense to sparse while training, and the one-time jump as its special case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Unstructured
from wirings.core.schedules import AnySchedule, Cubic, Every, When
from wirings.core.scores import magnitude
from wirings.core.settings import register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.methods.method import Method, Sites, Supports, shapes_of


@register("method")
@dataclass(frozen=True, kw_only=True)
class GradualMagnitude(Method):
    """Prune the smallest weights, a little more each time, until the final density (Zhu & Gupta 2017, section 3).

    Pruning is sticky: what is gone stays gone. In the authors' TensorFlow code masks are recomputed from weights that
    get no gradient while masked, which can hardly bring one back (Alford et al. 2019 found the same).
    Differs from the paper: exact counts per weight instead of thresholds from a histogram.

    Example:
        >>> method = GradualMagnitude(density=Cubic(final=0.05, begin=0.2, until=0.8), when=Every(100))

    Args:
        density: of all prunable weights together, by step. Default: cubic from dense at 10 % of the run to 0.1 at 75 %.
        when: the steps at which connections go.
        budget: how a density is shared out over the weights; uniform in the paper.
    """

    density: AnySchedule = Cubic(final=0.1, begin=0.1, until=0.75)
    when: When = Every(100)
    budget: AnyBudget = uniform
    kind: Literal["gradual"] = field(default="gradual", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return {name: Support.both(Topology.full(site.shape)) for name, site in sites.items()}

    def due(self, step: int) -> bool:
        return self.when(step)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        density = self.density(step)
        check_density(density, "GradualMagnitude")
        counts = self.budget(shapes_of(sites), density)
        supports = {}
        for name, site in sites.items():
            now = site.support.forward
            k = min(self.form.settle(counts[name], site.shape), now.nnz)
            supports[name] = (
                site.support if k == now.nnz else Support.both(self.form.top(magnitude(site.weight(on=now)), k, now))
            )
        return supports
