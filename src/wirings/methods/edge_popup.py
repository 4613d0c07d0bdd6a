"""Edge-popup: the weights stay as they were drawn; what trains is a score for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Unstructured
from wirings.core.schedules import Exponential
from wirings.core.scores import magnitude
from wirings.core.select import top_global
from wirings.core.settings import Duration, check_duration, duration, in_range, register
from wirings.core.support import Support
from wirings.core.wiring import Wiring
from wirings.methods.method import Method, Sites, Supports, everywhere, shapes_of
from wirings.methods.rule import Rule, Scored


@register("method")
@dataclass(frozen=True, kw_only=True)
class EdgePopup(Method):
    """What is hidden in a randomly weighted network: use the weights with the largest ``|score|``, train the scores.

    Ramanujan et al. 2020, section 3; the gradient goes straight through the selection to every ``|score|``. The paper's
    networks have signed-constant weights (``wirings.models.reinitialise(model, rng, "signed-constant")``) and
    batch norm without scale and shift; forgetting either costs points.
    ``scope``, ``sparser_until`` and ``decay`` are the steps from here to Gem-Miner (Sreenivasan et al. 2022).
    Differs from the paper: counts are exact over the network (``Uniform(rounding="truncated-zeros")`` is the authors').

    Example:
        >>> method = EdgePopup(density=0.3)  # the paper's ResNet-50: keep 30 % of each weight

    Args:
        density: of what forward uses, in (0, 1]. The paper's accuracies peak near 0.5.
        budget: how it is shared out over the weights; uniform in the paper.
        scope: rank within each weight (the paper), or over the whole network (then ``budget`` is not asked).
        sparser_until: let the density fall from 1 by equal factors until this step (or share of the run); ``None``
            (the paper) uses ``density`` from the first step.
        decay: L2 strength on the scores, in [0, 1]; the paper leaves it to the optimizer.
    """

    density: float = 0.5
    budget: AnyBudget = uniform
    scope: Literal["local", "global"] = "local"
    sparser_until: Duration | None = duration(default=None)
    decay: float = 0.0
    kind: Literal["edge-popup"] = field(default="edge-popup", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density, "EdgePopup")
        check_duration("sparser_until", self, optional=True)
        in_range("decay", self, 0, 1)
        if self.scope == "global" and not isinstance(self.form, Unstructured):
            raise ValueError(f'`form` of `EdgePopup` must be Unstructured() with scope="global". Got {self.form!r}.')

    def rule(self) -> Rule:
        return Scored(decay=self.decay)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return self.update(sites, 0, rng)

    def due(self, step: int) -> bool:
        return True  # the paper selects at every forward pass

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        shapes, density = shapes_of(sites), self.density
        if self.sparser_until is not None:
            density = Exponential(initial=1.0, final=self.density, until=self.sparser_until)(step)
        whole = Wiring({name: everywhere(site) for name, site in sites.items()})
        strength = {name: magnitude(site.weight(on=whole[name])) for name, site in sites.items()}
        if self.scope == "global":
            used = top_global(strength, round(density * whole.numel), whole)
            return {name: Support(used[name], whole[name]) for name in sites}
        counts = {n: self.form.settle(k, shapes[n]) for n, k in self.budget(shapes, density).items()}
        return {n: Support(self.form.top(strength[n], counts[n], whole[n]), whole[n]) for n in sites}
