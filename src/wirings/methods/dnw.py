"""DNW: discover the wiring while training, every position heard; and the hybrid that stops listening."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.forms import NM, Block, ConstantFanIn, Unstructured
from wirings.core.scores import magnitude
from wirings.core.settings import Duration, check_duration, duration, register
from wirings.core.support import Support
from wirings.methods.method import Method, Site, Sites, Supports, everywhere, shapes_of


@register("method")
@dataclass(frozen=True, kw_only=True)
class DNW(Method):
    """Discovering neural wirings: after every step use the largest weights; train all of them, straight through.

    Wortsman et al. 2019, section 3 (sparse training); the forward topology is the top of ``|w|`` in each weight, the
    backward topology everything, so weight decay and momentum act everywhere. With ``freeze_at`` it is the hybrid of
    Van Gelder et al. 2020: from that step on the wiring stands still, and no dense gradient is made any more; survivors
    keep value and momentum (the text leaves that open). With form ``NM(2, 4)`` it is straight-through N:M training.
    Differs from the authors' code: counts are exact over the network; theirs zeroes ``int(rate * numel)`` of each
    weight (``Uniform(rounding="truncated-zeros")``).

    Example:
        >>> method = DNW(density=0.05, freeze_at=0.2)  # dense gradients for the first fifth of the run only

    Args:
        density: of the forward topology over all prunable weights, in (0, 1].
        budget: how it is shared out; uniform in the paper.
        freeze_at: the step from which the wiring is fixed (steps or a share of the run); 0 is magnitude at
            initialisation; ``None`` (the paper) never.
    """

    density: float = 0.1
    budget: AnyBudget = uniform
    freeze_at: Duration | None = duration(default=None)
    kind: Literal["dnw"] = field(default="dnw", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured, NM, Block, ConstantFanIn)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density, "DNW")
        check_duration("freeze_at", self, optional=True)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return self.update(sites, 0, rng)

    def due(self, step: int) -> bool:
        return self.freeze_at is None or step <= self.freeze_at

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        counts = self.budget(shapes_of(sites), self.density)
        return {name: self._strongest(site, counts[name], step) for name, site in sites.items()}

    def _strongest(self, site: Site, k: int, step: int) -> Support:
        whole = site.support.backward if step else everywhere(site)
        best = self.form.top(magnitude(site.weight(on=whole)), self.form.settle(k, site.shape), whole)
        frozen = self.freeze_at is not None and step >= self.freeze_at
        return Support(best, best if frozen else whole)
