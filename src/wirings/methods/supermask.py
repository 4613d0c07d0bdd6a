"""Learned supermasks: each connection of an untrained network exists with a probability, and that is what trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Generator

from wirings.core.forms import Unstructured
from wirings.core.settings import Duration, check_duration, duration, register
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.methods.method import Method, Site, Sites, Supports, everywhere
from wirings.methods.rule import Rule, Scored


@register("method")
@dataclass(frozen=True, kw_only=True)
class Supermask(Method):
    """A mask learned over frozen weights: connected with probability ``sigmoid(score)``, drawn anew at every step.

    Zhou et al. 2019, section 5.2: the gradient of a score is that of the effective weight, times the frozen weight,
    times the slope of the sigmoid, straight through the draw. There is no target density; nothing rewards a sparse
    mask. What is used is multiplied by positions over connections of its weight (dynamic weight rescaling), so that a
    drawn mask changes the scale of no layer. The wiring at the end is the last draw.
    For masks by criteria on initial and trained weights see :mod:`wirings.makers.supermask`.
    Differs from the paper: scores begin Kaiming-uniform, near probability one half; the factor of the rescaling is a
    constant for the gradient; one draw is tested, not an average over ten. Such scores want large learning rates (SGD
    with 100 in the paper).

    Example:
        >>> method = Supermask()  # weights: wirings.models.reinitialise(model, rng, "signed-constant")

    Args:
        settle_at: the step (or share of the run) from which nothing is drawn and the likelier half is used, so that no
            draw decides. Leave time to train after it: where most chances are near one half, that is another network.
            Never (``None``) in the paper.
        rescale: dynamic weight rescaling. On in the paper's best supermasks.
    """

    settle_at: Duration | None = duration(default=None)
    rescale: bool = True
    kind: Literal["supermask"] = field(default="supermask", repr=False)

    forms: ClassVar[tuple[type, ...]] = (Unstructured,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_duration("settle_at", self, optional=True)

    def rule(self) -> Rule:
        return Scored(read="chance", rescale=self.rescale)

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return self.update(sites, 0, rng)

    def due(self, step: int) -> bool:
        return True

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        settled = self.settle_at is not None and step >= self.settle_at
        return {name: _drawn(site, settled, rng) for name, site in sites.items()}


def _drawn(site: Site, settled: bool, rng: Generator) -> Support:
    whole = everywhere(site)
    chance = site.weight(on=whole).double().sigmoid().cpu()
    bar = 0.5 if settled else torch.rand(chance.shape, generator=rng, dtype=torch.float64)
    return Support(Topology.of((chance > bar).view(site.shape)), whole)
