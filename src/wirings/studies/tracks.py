"""A run's wiring over time, as numbers: degrees, overlap with the end, what is new."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.training.records import Record


def in_degrees(topology: Topology) -> list[int]:
    """Connections into each unit (each output channel).

    Example:
        >>> in_degrees(Topology.at((2, 3), [0, 1, 5]))
        [2, 1]
    """
    out, *rest = topology.shape
    return torch.bincount(topology.index // math.prod(rest), minlength=out).tolist()


def out_degrees(topology: Topology) -> list[int]:
    """Connections out of each unit below (each input channel).

    Example:
        >>> out_degrees(Topology.at((2, 3), [0, 1, 4]))
        [1, 2, 0]
    """
    _, units, *kernel = topology.shape
    return torch.bincount(topology.index // math.prod(kernel) % units, minlength=units).tolist()


def jaccard(a: Wiring, b: Wiring) -> float:
    """Connections in both over connections in either: 1 for the same wiring, 0 for nothing in common."""
    shared = (a & b).nnz
    either = a.nnz + b.nnz - shared
    return shared / either if either else 1.0


def new_share(before: Wiring, now: Wiring) -> float:
    """The share of today's connections that were not there before."""
    return 1 - (now & before).nnz / now.nnz if now.nnz else 0.0


class Track:
    """The wirings that a run has kept, from its first to its last step.

    A wiring that stood still is kept once on disk; here it stands at every step at which the run looked.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.steps = int(record.info["steps"])
        kept = list(record.history())
        looked = sorted({0, self.steps, *(step for step, _ in kept), *_looks(record, self.steps)})
        found: list[Wiring] = []
        for step in looked:
            newest = [wiring for at, wiring in kept if at <= step]
            found.append(newest[-1] if newest else kept[0][1])
        self.at = tuple(looked)
        self.wirings = tuple(found)

    @property
    def share(self) -> tuple[float, ...]:
        """When it looked, in percent of the run."""
        return tuple(100 * step / self.steps for step in self.at)

    def overlap(self) -> list[float]:
        """Jaccard overlap with the last wiring, at each look."""
        return [jaccard(wiring, self.wirings[-1]) for wiring in self.wirings]

    def news(self) -> list[float]:
        """Share of connections that are new since the look before; one value fewer than looks."""
        return [new_share(a, b) for a, b in zip(self.wirings, self.wirings[1:], strict=False)]

    def degrees(self, layer: str) -> list[list[int]]:
        """In-degrees of a layer's units, at each look."""
        return [in_degrees(wiring[layer]) for wiring in self.wirings]


def mean_of(tracks: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The mean over runs, look by look."""
    return tuple(sum(values) / len(values) for values in zip(*tracks, strict=True))


def _looks(record: Record, steps: int) -> list[int]:
    """The steps at which the run would have kept its wiring, had it changed."""
    from wirings.core.settings import resolved

    history = resolved(record.run, steps).history
    return [step for step in range(1, steps + 1) if history(step)]
