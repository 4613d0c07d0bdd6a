"""Cells: finished runs that differ in their seed alone, and what they say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wirings.training.records import Record


@dataclass(frozen=True)
class Cell:
    """The finished runs of one setting, over its seeds; accuracies in percent, of the test set.

    ``best`` was chosen on what ``chosen_on`` says: held-out images, or the test set itself under the protocol "paper".
    """

    records: tuple[Record, ...]

    @property
    def group(self) -> str:
        """The runs' identity without their seed."""
        return self.records[0].group

    @property
    def model(self) -> str:
        """Name of the network."""
        return str(self.records[0].info["settings"]["model"])

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.records[0].info["data"]["name"])

    @property
    def method(self) -> str:
        """What tables call the method."""
        return self.records[0].method

    @property
    def n(self) -> int:
        """How many runs."""
        return len(self.records)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Their seeds, ascending."""
        return tuple(r.seed for r in self.records)

    @property
    def ids(self) -> tuple[str, ...]:
        """Their run ids, in the order of ``seeds``."""
        return tuple(r.id for r in self.records)

    @property
    def density(self) -> float:
        """Connections over positions, at the end."""
        return statistics.fmean(r.density for r in self.records)

    @property
    def sparsity(self) -> float:
        """In percent, rounded to what a person would say."""
        return round(100 * (1 - self.density), 2)

    @property
    def effective_density(self) -> float:
        """Connections on a path from input to output, over positions."""
        return statistics.fmean(r.effective_density for r in self.records)

    @property
    def last(self) -> tuple[float, ...]:
        """Test accuracy of the last values, in percent, in the order of ``seeds``."""
        return tuple(100 * r.test_accuracy_last for r in self.records)

    @property
    def best(self) -> tuple[float, ...]:
        """Test accuracy of the best epoch, in percent."""
        return tuple(100 * r.test_accuracy_best for r in self.records)

    @property
    def chosen_on(self) -> str:
        """What chose the best epoch: ``"held-out"`` or ``"test"``."""
        return self.records[0].best_chosen_on

    @property
    def flops(self) -> float:
        """Floating-point operations of the training; NaN where a record does not say."""
        return statistics.fmean(training_flops(r) for r in self.records)

    @property
    def seconds(self) -> float:
        """Wall time of a run."""
        return statistics.fmean(r.seconds for r in self.records)

    @property
    def joules(self) -> float:
        """Energy of a run."""
        return statistics.fmean(float(r.energy.get("joules", math.nan)) for r in self.records)


def cells_of(records: Iterable[Record]) -> list[Cell]:
    """Finished runs by setting: by network and data, then from dense to sparse, then by method.

    Runs that begin with a file of their own (the rounds of a lottery, a wiring that is trained again) have groups of
    their own; they are told together where all beside the files is the same, unless two of them share a seed.
    """
    told: dict[object, list[Record]] = {}
    for record in records:
        if record.finished:
            told.setdefault(_key(record), []).append(record)
    groups: dict[object, list[Record]] = {}
    for key, members in told.items():
        alike = len({record.seed for record in members}) == len(members)
        for record in members:
            groups.setdefault(key if alike else record.group, []).append(record)
    cells = [Cell(tuple(sorted(members, key=lambda r: r.seed))) for members in groups.values()]
    return sorted(cells, key=lambda c: (c.model, c.data, c.sparsity, c.method))


def training_flops(record: Record) -> float:
    """Floating-point operations of a run's training; NaN where its record does not say."""
    said = record.results.get("training_flops")
    return math.nan if said is None else float(said)


def sd(values: Sequence[float]) -> float:
    """Standard deviation of a sample; NaN for one value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def plus_minus(values: Sequence[float], digits: int = 2) -> str:
    """``97.31 ± 0.12``: mean and standard deviation; the mean alone where there is one value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {sd(values):.{digits}f}"


def dense_of(cell: Cell, cells: Iterable[Cell]) -> Cell | None:
    """The dense network beside a cell: same model, same data, no method."""
    return next((c for c in cells if (c.model, c.data, c.method) == (cell.model, cell.data, "dense")), None)


def _key(record: Record) -> object:
    """Equal for the runs of one cell: the group; where a run begins with files of its own, what is beside the files."""
    settings = record.info["settings"]
    if "values" not in settings and not _begins_with_file(settings.get("method")):
        return record.group
    beside = {k: v for k, v in settings.items() if k not in _NOT_COMMON}
    return record.method, f"{record.density:.4f}", repr(sorted(beside.items(), key=lambda item: item[0]))


def _begins_with_file(method: object) -> bool:
    begin = method.get("begin") if isinstance(method, Mapping) else None
    return isinstance(begin, Mapping) and "fingerprint" in begin


_NOT_COMMON = ("seed", "values", "method", "threads", "device", "checkpoint")
