"""Top-KAST: use the largest weights, train somewhat more of them; never a dense gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Unstructured
from wirings.core.schedules import Every, When
from wirings.core.scores import magnitude
from wirings.core.select import top
from wirings.core.settings import in_range, register
from wirings.core.support import Support
from wirings.methods.method import Method, Site, Sites, Supports, everywhere, shapes_of
from wirings.methods.rule import Rule, Straight


@register("method")
@dataclass(frozen=True, kw_only=True)
class TopKAST(Method):
    """Always sparse training: forward uses the top of ``|w|`` (A), the optimizer moves a larger top (B contains A).

    Jayakumar et al. 2020, section 2. An L2 penalty, stronger on the rim B - A, makes newcomers earn their place and
    lets exploration die by itself: values on the rim fall until those in use are safe.
    Differs from the paper: what leaves B is gone (zero) unless ``remember``. The paper keeps a dense copy in host
    memory and ranks all of it; without one, B stays the top of the initial weights and A moves inside it.

    Example:
        >>> method = TopKAST(density=0.1, backward=0.2, remember=True)  # the paper's, for 90 % forward, 80 % backward

    Args:
        density: of A over all prunable weights, in (0, 1]. The paper's 0.2 (with 0.5 backward) for ImageNet.
        backward: density of B, at least ``density``.
        budget: how both are shared out over the weights; uniform in the paper, with the first layer dense.
        when: the steps at which A and B are chosen anew, after every one by default; the paper says that 1 to 100 do
            alike. Between two choices a value on the rim moves without being felt; at 100 and a learning rate of 0.1
            it moved a LeNet-300-100 beyond repair. ``Every(1, until=0.5)`` stops half-way.
        decay: L2 strength on A. The paper's lambda is half of it; 1e-4 is neutral.
        rim_decay: L2 strength on B - A, before it is divided by the density of A. The paper's equals ``decay``.
        remember: keep the values outside B, as the paper does; runs masked only.
    """

    density: float = 0.2
    backward: float = 0.5
    budget: AnyBudget = uniform
    when: When = Every(1)
    decay: float = 1e-4
    rim_decay: float = 1e-4
    remember: bool = False
    kind: Literal["top-kast"] = field(default="top-kast", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density, "TopKAST")
        in_range("backward", self, self.density, 1)
        in_range("decay", self, 0, 1)
        in_range("rim_decay", self, 0, 1)

    def rule(self) -> Rule:
        return Straight(decay=self.decay, rim_decay=self.rim_decay)

    def remembers(self) -> bool:
        return self.remember

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return self.update(sites, 0, rng)

    def due(self, step: int) -> bool:
        return self.when(step)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        shapes = shapes_of(sites)
        used, moved = self.budget(shapes, self.density), self.budget(shapes, self.backward)
        return {name: self._nested(site, used[name], moved[name], step) for name, site in sites.items()}

    def _nested(self, site: Site, used: int, moved: int, step: int) -> Support:
        pool = site.support.backward if step and not self.remember else everywhere(site)
        forward = self.form.top(magnitude(site.weight(on=pool)), self.form.settle(used, site.shape), pool)
        rest = pool - forward
        rim = top(magnitude(site.weight(on=rest)), max(moved - forward.nnz, 0), rest)
        return Support(forward, forward | rim)
