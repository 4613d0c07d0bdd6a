"""Overlap: how much two wirings share, how far one moved, and how much a training has explored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

Set = TypeVar("Set", Topology, Wiring)


def jaccard(a: Set, b: Set) -> float:
    """Connections in both over connections in either, in [0, 1]; 1 where neither has any.

    Example:
        >>> jaccard(Topology.at((4,), [0, 1]), Topology.at((4,), [1, 2]))
        0.3333333333333333
    """
    shared = (a & b).nnz
    either = a.nnz + b.nnz - shared
    return shared / either if either else 1.0


def hamming(a: Set, b: Set) -> int:
    """Positions that are connected in one and not in the other.

    Example:
        >>> hamming(Topology.at((4,), [0, 1]), Topology.at((4,), [1, 2]))
        2
    """
    return a.nnz + b.nnz - 2 * (a & b).nnz


def churn(before: Set, after: Set) -> float:
    """Share of the connections after that did not exist before; 0 where there are none."""
    return (after - before).nnz / after.nnz if after.nnz else 0.0


def path_length(history: Sequence[Set]) -> int:
    """All changes along the way, also those that were taken back: the sum of Hamming distances of neighbours."""
    return sum(hamming(a, b) for a, b in pairwise(history))


def net_change(history: Sequence[Set]) -> int:
    """The Hamming distance from the first to the last; at most :func:`path_length`."""
    return hamming(history[0], history[-1]) if history else 0


class Exploration:
    """How much of a network a training has tried: the share of positions that were connected at any time.

    The in-time over-parameterisation rate R_s of Liu et al. 2021 (ITOP). It starts at the density, never falls, and
    is at most 1.

    Example:
        >>> explored = Exploration()
        >>> explored.see(Wiring({"fc": Topology.at((4,), [0])}))
        >>> explored.see(Wiring({"fc": Topology.at((4,), [1])}))
        >>> explored.rate
        0.5
    """

    def __init__(self, seen: Wiring | None = None) -> None:
        """``seen`` goes on from what an earlier one had seen (after a resume)."""
        self.seen = seen

    def see(self, wiring: Wiring | Mapping[str, Topology]) -> None:
        """Add the connections of a wiring; called once for every wiring that was in use."""
        told = wiring if isinstance(wiring, Wiring) else Wiring(wiring)
        self.seen = told if self.seen is None else self.seen | told

    @property
    def rate(self) -> float:
        """Share of all positions seen so far."""
        return self.seen.density if self.seen is not None else 0.0

    @property
    def rates(self) -> dict[str, float]:
        """Weight name -> share of its positions seen so far."""
        return {name: t.density for name, t in self.seen.items()} if self.seen is not None else {}
