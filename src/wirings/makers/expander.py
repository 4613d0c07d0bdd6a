"""Expander layers: sparse, yet no group of units is cut off; random (X-Net) and explicit (affine planes)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator

from wirings.core.budgets import AnyBudget, check_density, uniform
from wirings.core.settings import register
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.channels import over_kernel, units


def x_layer(outs: int, ins: int, expand: int, rng: Generator) -> Topology:
    """X-Linear, or the channels of X-Conv (Prabhu, Varma & Namboodiri 2018).

    With fewer outputs than inputs every output chooses ``expand`` random inputs, else every input ``expand`` outputs.
    """
    chosen, among = (ins, outs) if outs >= ins else (outs, ins)
    if not 1 <= expand <= among:
        raise ValueError(f"`expand` of `x_layer` must be in [1, {among}]. Got {expand}.")
    draws = torch.rand(chosen, among, generator=rng, dtype=torch.float64)
    mask = torch.zeros(chosen, among, dtype=torch.bool).scatter_(1, draws.argsort(dim=1, stable=True)[:, :expand], True)
    return Topology.of(mask.T if outs >= ins else mask, nnz=chosen * expand)


@register("maker")
@dataclass(frozen=True)
class XNet:
    """Deep expander network: X-Linear and X-Conv layers, random with one constant degree (Prabhu et al. 2018).

    Convolutions are wired channel by channel, with whole kernels.

    Args:
        density: of the network's prunable weights together, in (0, 1]; each weight's is rounded to whole degrees.
        budget: how the connections are shared out; uniform in the paper, where the first convolution and the
            classifier stay dense: ``Uniform(dense=("conv1", "fc"))``.
    """

    density: float
    budget: AnyBudget = field(default=uniform, kw_only=True)
    kind: Literal["x-net"] = field(default="x-net", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "XNet")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        counts = self.budget(shapes, self.density)
        topologies = {}
        for name, shape in shapes.items():
            outs, ins = units(shape, "XNet")
            expand = max(1, round(counts[name] / math.prod(shape[2:]) / min(outs, ins)))
            topologies[name] = over_kernel(x_layer(outs, ins, expand, rng), shape)
        return Wiring(topologies)


def affine_expander(outs: int, ins: int, q: int) -> Topology:
    """An explicit expander of density 1/q: points and lines of the affine plane over the field of ``q`` elements.

    Input (x, y) meets output (m, b) where ``y = m x + b`` modulo the prime q. Where ``q`` divides both sides and they
    are at most q², with a = ins / q and c = outs / q, the degrees are c and a, the largest singular value is
    ``sqrt(a c)`` and no other exceeds ``sqrt(q)``. So it is Ramanujan, ``sqrt(q) <= sqrt(a - 1) + sqrt(c - 1)``, where
    a and c are large enough; :func:`is_ramanujan` tells. Larger sides repeat the plane, others are trimmed.

    Example:
        >>> t = affine_expander(25, 25, 5)
        >>> t.density, [round(s, 3) for s in two_singular_values(t)]
        (0.2, [5.0, 2.236])
    """
    if not _is_prime(q):
        raise ValueError(f"`q` of `affine_expander` must be prime. Got {q}.")
    i = torch.arange(ins)
    x, y = (i // q) % q, i % q
    rows = torch.arange(outs)
    m, b = (rows // q) % q, rows % q
    index = []
    for at in range(0, outs, 4096):  # in blocks of outputs, so that no table of out * in numbers is made at once
        part = slice(at, at + 4096)
        meets = (m[part, None] * x + b[part, None] - y) % q == 0
        index.append(meets.flatten().nonzero().squeeze(1) + at * ins)
    return Topology.at((outs, ins), torch.cat(index), trusted=True)


def two_singular_values(topology: Topology) -> tuple[float, float]:
    """The largest and the second largest singular value of a topology of (out, in), as a 0/1 matrix in float64."""
    values = torch.linalg.svdvals(topology.mask.double())
    return float(values[0]), float(values[1]) if len(values) > 1 else 0.0


def is_ramanujan(topology: Topology) -> bool:
    """Whether a bi-regular topology expands as well as any of its degrees can: ``s_2 <= sqrt(a - 1) + sqrt(c - 1)``.

    The bound of Feng & Li 1996 for bi-regular bipartite graphs; False where the degrees are not constant.
    """
    ins, outs = topology.in_degrees, topology.out_degrees
    if bool((ins != ins[0]).any()) or bool((outs != outs[0]).any()) or not int(ins[0]):
        return False
    bound = math.sqrt(int(ins[0]) - 1) + math.sqrt(int(outs[0]) - 1)
    return two_singular_values(topology)[1] <= bound + 1e-9


@register("maker")
@dataclass(frozen=True)
class AffineExpander:
    """:func:`affine_expander` in every layer, with the prime q for which 1/q is nearest to the density.

    It is named after what it is, not "Ramanujan": that holds for some sizes only. Convolutions are wired channel by
    channel, with whole kernels; a layer with a side shorter than q stays dense.

    Args:
        density: of each layer, in (0, 1/2]; the achieved one is 1/q, up to trimming.
    """

    density: float
    kind: Literal["affine-expander"] = field(default="affine-expander", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "AffineExpander")
        if self.density > 0.5:
            raise ValueError(f"`density` of `AffineExpander` must be in (0, 0.5]. Got {self.density!r}.")

    @property
    def q(self) -> int:
        """The prime."""
        near = round(1 / self.density)
        primes = [n for n in range(2, 2 * near + 2) if _is_prime(n)]
        return min(primes, key=lambda n: abs(1 / n - self.density))

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        topologies = {}
        for name, shape in shapes.items():
            outs, ins = units(shape, "AffineExpander")
            if min(outs, ins) < self.q:
                topologies[name] = Topology.full(shape)
            else:
                topologies[name] = over_kernel(affine_expander(outs, ins, self.q), shape)
        return Wiring(topologies)


def _is_prime(n: int) -> bool:
    return n >= 2 and all(n % d for d in range(2, math.isqrt(n) + 1))
