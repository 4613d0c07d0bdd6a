"""Retraining: a run or a lottery, and then every wiring that it found, trained again from fresh values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wirings.procedures.lottery import Lottery
from wirings.procedures.reinitialise import Control, structure_only_run
from wirings.training.records import Record
from wirings.training.settings import Run

FRESH = 1000
"""What is added to a seed for the seed of its fresh values: no run finds a wiring with such a seed."""


@dataclass(kw_only=True, eq=False)
class Retraining:
    """Find a wiring, then train it from fresh values: as it was found, and changed by controls.

    All that is trained again from wirings of one seed has the same first values and the same batches, so that
    methods and controls compare in pairs.

    Example:
        >>> both = Retraining(after=Run(method=RigL.at(0.05), seed=3),
        ...                   controls={"structure": None, "shuffled": shuffled})
        >>> train_all([both.first], "runs", then=both.then)  # rigl-s3, rigl-structure-s1003, rigl-shuffled-s1003

    Args:
        after: what finds the wirings; of a lottery, every ticket.
        controls: what the new run is called after the method's name -> how the wiring is changed first; ``None``: as
            it was found.
        wanted: which of the finished runs are trained again. Default: all.
        changes: settings of the new runs that differ from those of the run that found the wiring.
    """

    after: Run | Lottery
    controls: Mapping[str, Control | None] = field(default_factory=lambda: {"structure": None})
    wanted: Callable[[Record], bool] = lambda record: True
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.after, Run) and self.after.method is None:
            raise ValueError("`after` of `Retraining` must have a method: a dense network has no wiring to train.")

    @property
    def first(self) -> Run:
        """The run that it begins with."""
        return self.after if isinstance(self.after, Run) else self.after.first

    @property
    def rounds(self) -> int:
        """How many runs follow, at most."""
        found = 1 if isinstance(self.after, Run) else self.after.rounds
        return (found if isinstance(self.after, Lottery) else 0) + found * len(self.controls)

    def then(self, record: Record) -> list[Run]:
        """The next round of the lottery, and the runs that train the wiring of this record again."""
        following = self.after.then(record) if isinstance(self.after, Lottery) else []
        return following + (self._again(record) if self._found(record) and self.wanted(record) else [])

    def _found(self, record: Record) -> bool:
        if not record.finished:
            return False
        if isinstance(self.after, Run):
            return record.id == self.after.id
        return self.after.levels.get(record.id, 0) > 0

    def _again(self, record: Record) -> list[Run]:
        seed = record.seed + FRESH
        return [
            dataclasses.replace(
                structure_only_run(record, seed=seed, control=control, label=f"{record.method}-{name}"), **self.changes
            )
            for name, control in self.controls.items()
        ]


__all__ = ["FRESH", "Retraining"]
