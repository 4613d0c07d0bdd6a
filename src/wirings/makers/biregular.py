"""Bi-regular wirings: every output has the same number of connections, and so has every input."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, erk
from wirings.core.settings import register
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.channels import over_kernel, units


def biregular(outs: int, ins: int, k: int, rng: Generator) -> Topology:
    """Exactly ``k`` random connections; degrees of outputs differ by at most one, and so do those of inputs.

    Superposed permutations: a stream of random permutations of the inputs is dealt out, row by row. Where a row takes
    from two of them, the second begins with inputs that the row does not have yet. Where ``k`` is a multiple of both
    sides, all degrees are equal: a random regular bipartite graph, an expander with high probability.

    Example:
        >>> t = biregular(6, 9, 18, torch.Generator().manual_seed(0))
        >>> t.in_degrees.tolist(), t.out_degrees.tolist()
        ([3, 3, 3, 3, 3, 3], [2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    if not 0 <= k <= outs * ins:
        raise ValueError(f"`k` of `biregular` must be in [0, {outs * ins}]. Got {k}.")
    least, more = divmod(k, outs)
    degrees = torch.full((outs,), least)
    degrees[torch.randperm(outs, generator=rng)[:more]] += 1
    ends = degrees.cumsum(0)
    dealt: list[torch.Tensor] = []
    for start in range(0, k, ins):
        order = torch.randperm(ins, generator=rng)
        row = int(torch.searchsorted(ends, start, right=True))  # the row that is being dealt to at this point
        begun = int(ends[row] - degrees[row])
        if begun < start:
            mine = torch.cat(dealt)[begun:start]
            order = _without_first(order, mine, int(ends[row]) - start)
        dealt.append(order)
    columns = torch.cat(dealt)[:k] if dealt else torch.empty(0, dtype=torch.int64)
    rows = torch.repeat_interleave(torch.arange(outs), degrees)
    return Topology.at((outs, ins), rows * ins + columns)


def _without_first(order: torch.Tensor, mine: torch.Tensor, needed: int) -> torch.Tensor:
    """The same permutation, its first ``needed`` entries being none of ``mine``: those are moved behind them."""
    fresh = ~torch.isin(order, mine)
    front = order[fresh][:needed]
    return torch.cat([front, order[~torch.isin(order, front)]])


@register("maker")
@dataclass(frozen=True)
class BiRegular:
    """Random wirings with constant in- and out-degree, within one where the counts do not divide.

    The fair control for "explicit RadiX-Net against random": the same degrees, random otherwise.

    Args:
        density: of the network's prunable weights together, in (0, 1].
        budget: how the connections are shared out over the weights.
        whole_kernels: wire channels, with the whole kernel of every wired pair, instead of single kernel elements.
    """

    density: float
    budget: AnyBudget = field(default=erk, kw_only=True)
    whole_kernels: bool = field(default=False, kw_only=True)
    kind: Literal["bi-regular"] = field(default="bi-regular", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "BiRegular")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        topologies = {}
        for name, shape in shapes.items():
            outs, ins = units(shape, "BiRegular")
            kernel = math.prod(shape[2:])
            if self.whole_kernels:
                topologies[name] = over_kernel(biregular(outs, ins, round(counts[name] / kernel), rng), shape)
            else:
                flat = biregular(outs, ins * kernel, counts[name], rng)
                topologies[name] = Topology.at(shape, flat.index, trusted=True)
        return Wiring(topologies)
