"""What a training costs, as its record tells it; and accuracy at equal cost, read from a ladder of longer trainings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from wirings.studies.cells import training_flops
from wirings.studies.tables import Spread
from wirings.training import host
from wirings.training.records import Record

Cost = Callable[["Spent"], float]
"""What a run cost, by one measure."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one finished run reached, and what it cost.

    Args:
        run: its id.
        seed: of the run.
        accuracy: of the last values on the test images, in percent.
        held_out: the same on held-out images, in percent; what choices are made on.
        flops: counted operations of the training, over those of dense training of the same length as the dense run.
        seconds: measured, see `seconds`.
        joules: as the record says, measured or estimated.
    """

    run: str
    seed: int
    accuracy: float
    held_out: float
    flops: float
    seconds: float
    joules: float


def spent(record: Record, dense_flops: float) -> Spent:
    """What a finished run reached and cost; operations in units of ``dense_flops``."""
    return Spent(
        run=record.id,
        seed=record.seed,
        accuracy=100 * record.test_accuracy_last,
        held_out=100 * float(record.results.get("held_out_accuracy_last", math.nan)),
        flops=training_flops(record) / dense_flops,
        seconds=seconds(record),
        joules=float(record.energy.get("joules", math.nan)),
    )


def seconds(record: Record) -> float:
    """Seconds that a run kept its processor busy, or its wall time where the record does not tell those.

    Runs go side by side, one thread each, often on a machine with other work: then wall time says how busy the machine
    was. A record whose energy is the estimate holds the busy seconds, times `host.WATTS_PER_CORE`.
    """
    if record.energy.get("source") == "estimate":
        return float(record.energy["joules"]) / host.WATTS_PER_CORE
    return record.seconds


def ratio(values: Sequence[float], to: Sequence[float]) -> float | None:
    """The median of some values over the median of others; ``None`` where there are none."""
    return statistics.median(values) / statistics.median(to) if values and to else None


def at_equal(cost: float, ladder: Sequence[Spent], measure: Cost) -> float | None:
    """The accuracy that a ladder of longer and longer trainings reaches at a cost.

    Between two rungs it is interpolated, straight over the logarithm of the cost. Above the top rung it is the top
    rung's: the ladder has then spent less, and is told worse than it may be. Below the lowest there is none.

    Example:
        >>> rungs = [rung(accuracy=80.0, flops=0.1), rung(accuracy=90.0, flops=0.4)]
        >>> at_equal(0.2, rungs, lambda spent: spent.flops)
        85.0

    Args:
        cost: to be met.
        ladder: runs of one method and seed.
        measure: which cost.
    """
    rungs = sorted((measure(rung), rung.accuracy) for rung in ladder)
    if not rungs or cost < rungs[0][0]:
        return None
    for (low, a), (high, b) in pairwise(rungs):
        if cost <= high:
            return a + (b - a) * math.log(cost / low) / math.log(high / low) if high > low else b
    return rungs[-1][1]


def by_seed(runs: Sequence[Spent]) -> dict[int, Spent]:
    """Seed -> run."""
    return {run.seed: run for run in runs}


# ---------------------------------------------------------------------- of a whole study

ALL = -1
"""The freezing epoch of DNW itself: never."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a preset trains.

    Args:
        net: the network, of `seed0.NETS`.
        densities: from dense to sparse; claims and times are at the last.
        epochs: after which the wiring is frozen, `ALL` last.
        rigl, top_kast: lengths of the rivals' trainings, in those of the hybrid.
        again: epochs whose hybrids train masked, too, for the time that it takes.
        sparse_search: whether DNW itself is trained truly sparse, too.
    """

    net: str
    densities: tuple[float, ...]
    epochs: tuple[int, ...] = (0, 1, 2, 3, 5, ALL)
    rigl: tuple[float, ...] = (1, 2, 5)
    top_kast: tuple[float, ...] = (1, 4)
    again: tuple[int, ...] = (0, 1, 2, 3, 5)
    sparse_search: bool = True


Key = tuple[str, float, float]
"""What is trained ("dense", "hybrid", "masked", "searching", "rigl", "top-kast"), density, freezing epoch or length."""


@dataclass(frozen=True)
class Costs:
    """The finished runs of each setting, with what they cost in units of the dense training."""

    runs: Mapping[Key, list[Spent]] = field(repr=False)

    def of(self, method: str, density: float, k: float) -> list[Spent]:
        """The finished runs of a setting, by seed; none where none is finished."""
        return self.runs.get((method, density, k), [])

    def ladder(self, method: str, density: float, seed: int) -> list[Spent]:
        """A rival's trainings of one seed, of all lengths."""
        return [run for (m, d, _), of in self.runs.items() if (m, d) == (method, density) for run in of
                if run.seed == seed]  # fmt: skip

    def ahead(self, rival: str, density: float, k: int, measure: Cost) -> tuple[list[float], list[str]]:
        """How far a rival is ahead of the hybrid at equal cost, by seed; and the ids of the hybrids."""
        pairs = [(hybrid, at_equal(measure(hybrid), self.ladder(rival, density, hybrid.seed), measure))
                 for hybrid in self.of("hybrid", density, k)]  # fmt: skip
        met = [(hybrid, there) for hybrid, there in pairs if there is not None]
        return [there - hybrid.accuracy for hybrid, there in met], [hybrid.run for hybrid, _ in met]


def flops(run: Spent) -> float:
    """Counted operations."""
    return run.flops


def busy(run: Spent) -> float:
    """Measured seconds."""
    return run.seconds


def above(runs: Sequence[Spent], base: Sequence[Spent]) -> Spread | None:
    """How much more accurate some runs are than others, in points, seed by seed."""
    rival = by_seed(base)
    values = tuple(run.accuracy - rival[run.seed].accuracy for run in runs if run.seed in rival)
    return Spread(values) if values else None


__all__ = [
    "ALL",
    "Cost",
    "Costs",
    "Key",
    "Plan",
    "Spent",
    "above",
    "at_equal",
    "busy",
    "by_seed",
    "flops",
    "ratio",
    "seconds",
    "spent",
]
