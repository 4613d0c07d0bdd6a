"""Lattices and small worlds: every unit wired to its neighbours, and a few of these wires moved far away."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.settings import in_range, register
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.channels import over_kernel, units


def band(outs: int, ins: int, k: int) -> Topology:
    """Exactly ``k`` connections, each output wired to the inputs nearest to it on a ring; degrees within one.

    Output o stands at ``o * ins / outs`` on the ring of inputs.

    Example:
        >>> band(4, 4, 12).mask.int().tolist()
        [[1, 1, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 1, 1]]
    """
    return Topology.at((outs, ins), _band_index(outs, ins, k))


def small_world(outs: int, ins: int, k: int, rewire: float, rng: Generator) -> Topology:
    """A :func:`band` in which every connection moves, with probability ``rewire``, to a random input outside the band.

    Watts & Strogatz 1998, on a bipartite ring. In-degrees stay; 0 is the lattice, 1 nearly a random graph.
    """
    if not 0 <= rewire <= 1:
        raise ValueError(f"`rewire` of `small_world` must be in [0, 1]. Got {rewire!r}.")
    lattice = band(outs, ins, k)
    draws = torch.rand(k, generator=rng, dtype=torch.float64)
    moved = torch.zeros(outs * ins, dtype=torch.bool)
    moved[lattice.index[draws < rewire]] = True
    moving = moved.view(outs, ins).sum(1)
    far = torch.rand(outs, ins, generator=rng, dtype=torch.float64).masked_fill_(lattice.mask, 2.0)
    room = (~lattice.mask).sum(1)
    ranks = _ranks(far)
    landed = ranks < torch.minimum(moving, room)[:, None]
    # a row with fewer free inputs than moving connections keeps the surplus where it was
    keep = lattice.mask & ~moved.view(outs, ins)
    short = (moving - room).clamp(min=0)
    order = _ranks(torch.where(moved.view(outs, ins), far.new_zeros(()), far.new_ones(())).expand(outs, ins))
    stay = moved.view(outs, ins) & (order < short[:, None])
    return Topology.of(keep | landed | stay)


@register("maker")
@dataclass(frozen=True)
class SmallWorld:
    """A ring lattice between neighbouring layers, rewired at random (Watts & Strogatz 1998).

    Convolutions are wired channel by channel, with whole kernels.

    Args:
        density: of the network's prunable weights together, in (0, 1].
        rewire: the probability that a connection moves, in [0, 1]; 0.1 lies in Watts and Strogatz's small-world range.
        budget: how the connections are shared out over the weights.
    """

    density: float
    rewire: float = field(default=0.1, kw_only=True)
    budget: AnyBudget = field(default=uniform, kw_only=True)
    kind: Literal["small-world"] = field(default="small-world", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "SmallWorld")
        in_range("rewire", self, 0, 1)

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        topologies = {}
        for name, shape in shapes.items():
            outs, ins = units(shape, "SmallWorld")
            k = round(counts[name] / math.prod(shape[2:]))
            topologies[name] = over_kernel(small_world(outs, ins, k, self.rewire, rng), shape)
        return Wiring(topologies)


@register("maker")
@dataclass(frozen=True)
class Band:
    """A ring lattice between neighbouring layers: every unit wired to the nearest ones only.

    Args:
        density: of the network's prunable weights together, in (0, 1].
        budget: how the connections are shared out over the weights.
    """

    density: float
    budget: AnyBudget = field(default=uniform, kw_only=True)
    kind: Literal["band"] = field(default="band", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "Band")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        topologies = {}
        for name, shape in shapes.items():
            outs, ins = units(shape, "Band")
            topologies[name] = over_kernel(band(outs, ins, round(counts[name] / math.prod(shape[2:]))), shape)
        return Wiring(topologies)


def _band_index(outs: int, ins: int, k: int) -> Tensor:
    if not 0 <= k <= outs * ins:
        raise ValueError(f"`k` of `band` must be in [0, {outs * ins}]. Got {k}.")
    row = torch.arange(outs)
    degrees = (row + 1) * k // outs - row * k // outs  # floor or ceiling of k / outs, spread evenly
    first = row * ins // outs - (degrees - 1) // 2
    within = torch.arange(k) - torch.repeat_interleave(degrees.cumsum(0) - degrees, degrees)
    columns = (torch.repeat_interleave(first, degrees) + within) % ins
    return torch.repeat_interleave(row, degrees) * ins + columns


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value within its row, 0 for the smallest; ties to the lower index."""
    order = values.argsort(dim=1, stable=True)
    ranks = torch.empty_like(order)
    return ranks.scatter_(1, order, torch.arange(values.shape[1]).expand_as(order).contiguous())
