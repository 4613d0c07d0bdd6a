"""Gem-Miner: find a rare gem, a sparse subnetwork at initialisation that also trains well, by training scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Generator

from wirings.core.budgets import check_density
from wirings.core.forms import Unstructured
from wirings.core.schedules import Every, Exponential, When
from wirings.core.select import top_global
from wirings.core.settings import Duration, check_duration, duration, in_range, register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.methods.method import Method, Site, Sites, Supports, everywhere, shapes_of
from wirings.methods.rule import Rule, Scored


@register("method")
@dataclass(frozen=True, kw_only=True)
class GemMiner(Method):
    """Scores in [0, 1] over frozen weights: forward uses those above one half; now and then the lowest go for good.

    Sreenivasan et al. 2022, Algorithm 1. Scores begin uniform on [0, 1], are pulled to zero by an L2 penalty and
    clamped after each step. A survivor is a position not yet pruned; after each round as many survive over the whole
    network as a density falling by equal factors says. From ``finish`` on every survivor is used, so that the wiring
    has the asked density; train it with ``Static`` afterwards, on signed-constant weights.
    Differs from the authors' code: exact counts instead of a strict threshold, and a draw among scores clamped to the
    same bound; no fallback where all scores fall below one half (lower ``decay``).

    Example:
        >>> method = GemMiner(density=0.0144, decay=2e-4)  # the paper's ResNet-20 at 98.56 % sparse

    Args:
        density: of the survivors at the end, in (0, 1]. The paper's 0.0059 to 0.5.
        when: the steps at which the lowest scores go. The paper's every 5 of 150 epochs.
        until: when the last ones go. The paper's epoch 145 of 150.
        finish: from when on every survivor is used, whatever its score.
        decay: L2 strength on the scores. Twice the paper's lambda: 2e-4 for 0.0144, 6e-5 for 0.0372, 2e-8 for 0.5.
    """

    density: float = 0.1
    when: When = Every(1 / 30)
    until: Duration = duration(default=29 / 30)
    finish: Duration = duration(default=1.0)
    decay: float = 6e-5
    kind: Literal["gem-miner"] = field(default="gem-miner", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density, "GemMiner")
        check_duration("until", self)
        check_duration("finish", self)
        in_range("decay", self, 0, 1)

    def rule(self) -> Rule:
        return Scored(read="value", decay=self.decay)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return self._used({n: everywhere(s) for n, s in sites.items()}, sites, 0)

    def due(self, step: int) -> bool:
        return step <= self.finish

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        alive = {name: site.support.backward for name, site in sites.items()}
        if self.when(step) or step == self.finish:
            falling = Exponential(initial=1.0, final=self.density, until=self.until)
            whole = Wiring(alive)
            k = min(round(falling(step) * Wiring.full(shapes_of(sites)).numel), whole.nnz)
            scores = {name: site.weight(on=alive[name]) for name, site in sites.items()}
            # many stand at exactly 1, where they were clamped: ties by place would empty the last weights
            alive = dict(top_global(scores, k, whole, ties=rng))
        return self._used(alive, sites, step)

    def _used(self, alive: dict[str, Topology], sites: Sites, step: int) -> Supports:
        if step >= self.finish:
            return {name: Support.both(topology) for name, topology in alive.items()}
        return {name: Support(_above_half(site, alive[name]), alive[name]) for name, site in sites.items()}


def _above_half(site: Site, alive: Topology) -> Topology:
    return Topology.at(alive.shape, alive.index[(site.weight(on=alive) > 0.5).to(alive.device)], trusted=True)
