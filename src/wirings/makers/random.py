"""Random wirings: positions drawn uniformly, counts settled by a budget. None costs more than its connections."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from wirings.core.budgets import AnyBudget, check_density, erk
from wirings.core.forms import AnyForm, Unstructured
from wirings.core.settings import register
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring


@register("maker")
@dataclass(frozen=True)
class ErdosRenyi:
    """Exactly as many connections as the budget says, at uniformly random positions.

    Mocanu et al. 2018 for linear layers, Evci et al. 2020 with kernels.

    Example:
        >>> wiring = ErdosRenyi(0.1)({"fc.weight": (20, 30)}, torch.Generator().manual_seed(0))
        >>> wiring.nnz
        60

    Args:
        density: of the network's prunable weights together, in (0, 1].
        budget: how the connections are shared out over the weights; ERK by default, as in RigL.
        form: what each topology must look like; the budget's count is lowered to what the form can hold.
    """

    density: float
    budget: AnyBudget = field(default=erk, kw_only=True)
    form: AnyForm = field(default=Unstructured(), kw_only=True)
    kind: Literal["erdos-renyi"] = field(default="erdos-renyi", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "ErdosRenyi")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        return Wiring({name: self._draw(shape, counts[name], rng) for name, shape in shapes.items()})

    def _draw(self, shape: tuple[int, ...], k: int, rng: Generator) -> Topology:
        everything = Topology.full(shape)
        if isinstance(self.form, Unstructured):
            return everything.sample(k, rng)
        scores = torch.rand(everything.numel, generator=rng, dtype=torch.float64)
        return self.form.top(scores, self.form.settle(k, shape), everything)


@register("maker")
@dataclass(frozen=True)
class Bernoulli:
    """Every connection exists with its weight's density, independently: counts vary (Alford et al. 2019's random nets).

    Args:
        density: expected density of the prunable weights together, in (0, 1].
        budget: the expected share of each weight.
    """

    density: float
    budget: AnyBudget = field(default=erk, kw_only=True)
    kind: Literal["bernoulli"] = field(default="bernoulli", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "Bernoulli")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        return Wiring({name: self._draw(shape, counts[name], rng) for name, shape in shapes.items()})

    def _draw(self, shape: tuple[int, ...], expected: int, rng: Generator) -> Topology:
        # Independent coins with one probability are a binomial count and then any set of that size.
        everything = Topology.full(shape)
        positions = torch.tensor(float(everything.numel), dtype=torch.float64)
        share = torch.tensor(expected / max(everything.numel, 1), dtype=torch.float64)
        return everything.sample(int(torch.binomial(positions, share, generator=rng)), rng)


@register("maker")
@dataclass(frozen=True)
class FixedFanIn:
    """Every output unit of a weight has the same number of connections, at random inputs.

    Args:
        density: of the prunable weights together, in (0, 1]; each weight's count is rounded to the nearest whole
            fan-in of at least 1, so the total is near the budget, not equal to it.
        budget: how the connections are shared out over the weights.
    """

    density: float
    budget: AnyBudget = field(default=erk, kw_only=True)
    kind: Literal["fixed-fan-in"] = field(default="fixed-fan-in", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "FixedFanIn")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        return Wiring({name: self._draw(shape, counts[name], rng) for name, shape in shapes.items()})

    def _draw(self, shape: tuple[int, ...], k: int, rng: Generator) -> Topology:
        outs, ins = shape[0], math.prod(shape[1:])
        fan_in = min(max(round(k / max(outs, 1)), 1), ins)
        return drawn_in_rows(shape, torch.full((outs,), fan_in), rng)


def drawn_in_rows(shape: tuple[int, ...], degrees: Tensor, rng: Generator) -> Topology:
    """A topology whose output units have these in-degrees, at uniformly random inputs; costs O(connections).

    Args:
        shape: of the weight.
        degrees: connections of each output unit, shape ``(out,)``, on the CPU.
        rng: for the draws.
    """
    columns = math.prod(shape[1:])
    crowded = 2 * degrees > columns  # there the free positions are drawn: repeats stay rare
    wanted = torch.where(crowded, columns - degrees, degrees)
    starts = torch.arange(len(degrees)) * columns
    missing, drawn = wanted, torch.empty(0, dtype=torch.int64)
    while bool(missing.any()):  # what was drawn twice is drawn again, one for one, so no set is preferred
        again = starts.repeat_interleave(missing)
        drawn = torch.unique(torch.cat([drawn, again + torch.randint(columns, (len(again),), generator=rng)]))
        missing = wanted - torch.bincount(drawn // columns, minlength=len(degrees))
    if bool(crowded.all()):
        return ~Topology(shape, index=drawn)
    if bool(crowded.any()):
        rows = (starts[crowded][:, None] + torch.arange(columns)).flatten()
        of_crowded = crowded[drawn // columns]
        filled = Topology(shape, index=rows) - Topology(shape, index=drawn[of_crowded])
        return filled | Topology(shape, index=drawn[~of_crowded])
    return Topology(shape, index=drawn)
