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
from wirings.core.select import top_global
from wirings.core.settings import Duration, register
from wirings.core.support import Support
from wirings.core.wiring import Wiring
from wirings.methods.method import Method, Sites, Supports, check_schedule, everywhere


@register("method")
@dataclass(frozen=True, kw_only=True)
class GradualMagnitude(Method):
    """Prune the smallest weights, a little more each time, until the final density (Zhu & Gupta 2017, section 3).

    Dense before the first pruning step, whatever the form. By default pruning is sticky: what is gone stays gone.
    With ``sticky=False`` every weight is ranked each time, as in the authors' code: masked weights keep the value that
    they had, get weight decay but no gradient, and come back (without memory) once others have shrunk below them.
    Differs from the paper: exact counts per weight instead of thresholds from a histogram.

    Example:
        >>> method = GradualMagnitude(density=Cubic(final=0.05, begin=0.2, until=0.8), when=Every(100))

    Args:
        density: of all prunable weights together, by step. Default: cubic from dense at 10 % of the run to 0.1 at 75 %.
        when: the steps at which connections go. The paper's every 100 to 1,000.
        budget: how a density is shared out over the weights; uniform in the paper.
        scope: rank within each weight (the paper), or over the whole network (then ``budget`` is not asked).
        sticky: whether a pruned connection is gone for good; ``False`` keeps dense values, so it runs masked only.
    """

    density: AnySchedule = Cubic(final=0.1, begin=0.1, until=0.75)
    when: When = Every(100)
    budget: AnyBudget = uniform
    scope: Literal["local", "global"] = "local"
    sticky: bool = True
    kind: Literal["gradual"] = field(default="gradual", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule("density", self, 0, 1, open_low=True)
        if self.scope == "global" and not isinstance(self.form, Unstructured):
            raise ValueError(
                f'`form` of `GradualMagnitude` must be Unstructured() with scope="global". Got {self.form!r}.'
            )

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return {name: Support.both(everywhere(site)) for name, site in sites.items()}

    def due(self, step: int) -> bool:
        return self.when(step)

    def remembers(self) -> bool:
        return not self.sticky

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        density = self.density(step)
        check_density(density, "GradualMagnitude")
        pools = {n: s.support.forward if self.sticky else everywhere(s) for n, s in sites.items()}
        strength = {name: magnitude(site.weight(on=pools[name])) for name, site in sites.items()}
        counts = self._counts(strength, Wiring(pools), density)
        return {
            n: Support.both(self.form.top(strength[n], counts[n], pool)) if counts[n] < pool.nnz else sites[n].support
            for n, pool in pools.items()
        }

    def _counts(self, strength: Mapping[str, Tensor], pools: Wiring, density: float) -> dict[str, int]:
        if self.scope == "global":
            return top_global(strength, min(round(density * pools.numel), pools.nnz), pools).counts
        return {n: self.form.settle(k, pools[n].shape) for n, k in self.budget(pools.shapes, density).items()}


def one_time(
    density: float, at: Duration, *, budget: AnyBudget = uniform, scope: Literal["local", "global"] = "local"
) -> GradualMagnitude:
    """Prune once, at step ``at`` (steps or a share of the run), and train on: one-time pruning of Alford et al. 2019.

    Their Caffe networks have one threshold for all weights, biases too: ``scope="global"``, here without biases.
    """
    return GradualMagnitude(density=Constant(density), when=Every(1, begin=at, until=at), budget=budget, scope=scope)


def thresholds(weights: Mapping[str, Tensor], wiring: Wiring) -> dict[str, float]:
    """The smallest ``|w|`` that each weight still uses: asked right after an update, the threshold it was pruned at."""
    return {
        name: float(magnitude(weights[name].detach().reshape(-1)[t.index]).min()) for name, t in wiring.items() if t.nnz
    }
