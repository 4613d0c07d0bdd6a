"""GraNet: prune gradually and regrow at the same time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, erk
from wirings.core.forms import Unstructured
from wirings.core.schedules import AnySchedule, Cosine, Cubic, Every, When
from wirings.core.scores import magnitude
from wirings.core.select import top_global
from wirings.core.settings import register
from wirings.core.wiring import Wiring
from wirings.makers.random import ErdosRenyi
from wirings.methods.drop_grow import by_gradient, exchange
from wirings.methods.method import Method, Sites, Supports, check_schedule, planned, shapes_of


@register("method")
@dataclass(frozen=True, kw_only=True)
class GraNet(Method):
    """Gradual pruning with zero-cost neuroregeneration: after each pruning, exchange more connections by gradient.

    Liu et al. 2021 ("Sparse training via boosting pruning plasticity"), Algorithm 1. Each update first lowers the total
    to what the cubic schedule says, by magnitude over the whole network, then drops the weakest share of each weight
    and grows as many where the dense gradient is largest. The total follows the schedule exactly.
    Differs from the authors' code: the dropped share rounds down, not up; ties never cost more than the asked count.

    Example:
        >>> method = GraNet(density=Cubic(initial=0.5, final=0.05, until=0.6875))

    Args:
        density: of all prunable weights together, by step; at step 0 that of the first wiring. The authors' cubic from
            0.5 until epoch 110 of 160; ``initial=1.0`` is their dense-to-sparse setting.
        when: the steps at which connections change. The paper's every 1,000 of 62,560 steps (160 epochs of CIFAR-10).
        fraction: share of each weight's connections exchanged after pruning. The authors' 0.5, cosine to 0.005.
        budget: how the first wiring is shared out over the weights; ERK in the paper.
        scope: prune over the whole network (the paper), or to ``budget`` within each weight.
    """

    density: AnySchedule = Cubic(initial=0.5, final=0.1, until=0.6875)
    when: When = Every(1 / 64)
    fraction: AnySchedule = Cosine(0.5, final=0.005)
    budget: AnyBudget = erk
    scope: Literal["global", "local"] = "global"
    kind: Literal["granet"] = field(default="granet", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule("density", self, 0, 1, open_low=True)
        check_schedule("fraction", self, 0, 1)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return planned(ErdosRenyi(self.density(0), budget=self.budget), sites, rng, self.form)

    def due(self, step: int) -> bool:
        return self.when(step)

    def hears(self, step: int) -> bool:
        return self.due(step)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        share, counts, grow = self.fraction(step), self._counts(sites, self.density(step)), by_gradient(self.form)
        return {name: exchange(site, share, self.form, grow, count=counts[name]) for name, site in sites.items()}

    def _counts(self, sites: Sites, density: float) -> dict[str, int]:
        check_density(density, "GraNet")
        if self.scope == "local":
            return dict(self.budget(shapes_of(sites), density))
        now = Wiring({name: site.support.forward for name, site in sites.items()})
        strength = {name: magnitude(site.weight(on=now[name])) for name, site in sites.items()}
        return top_global(strength, min(round(density * now.numel), now.nnz), now).counts
