"""What a study is: a question, the runs that it takes, and what the finished runs say, as data.

One file per published experiment, in this folder or in a plug-in (entry points ``wirings.studies``), that ends in
``study = Study(...)``. Nothing in it trains, draws or prints: `wirings.studies.execute` makes the runs,
`wirings.report` draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from wirings.analysis.claims import Verdict
from wirings.core.errors import SettingsError, nearest
from wirings.studies.cells import Cell, cells_of
from wirings.studies.figures import Figure
from wirings.studies.measurement import Measurement
from wirings.studies.tables import Table
from wirings.training.records import Record
from wirings.training.settings import Run

PRESETS = ("smoke", "laptop", "overnight", "paper")
"""Scales of a study: seconds; at most half an hour on two cores; a night; the paper's own settings, for a GPU."""


@runtime_checkable
class Procedure(Protocol):
    """Runs that follow from each other, such as the rounds of `wirings.procedures.lottery.Lottery`."""

    @property
    def first(self) -> Run:
        """The run that it begins with."""
        ...

    @property
    def rounds(self) -> int:
        """How many runs follow, at most."""
        ...

    def then(self, record: Record) -> Iterable[Run]:
        """The runs that follow from this finished one; none where it is not this procedure's."""
        ...


Work = Run | Procedure
"""What a study asks for."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One scale of a study.

    Args:
        seeds: how many, from 0.
        takes: what it takes, in words: data, network, time.
    """

    seeds: int
    takes: str


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The finished runs of a study, and what they were asked for with.

    Args:
        study: whose they are.
        preset: at which scale.
        seeds: of the runs that were asked for.
        records: finished runs, in the order in which the study asks for them.
        measurements: id -> what was measured beside the runs, as its file tells it.
        missing: ids of runs and measurements that are not finished, and why.
        command: what makes them all again.
    """

    study: Study
    preset: str
    seeds: tuple[int, ...]
    records: tuple[Record, ...] = field(repr=False)
    measurements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    missing: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: str = ""

    @property
    def scale(self) -> Literal["paper", "reduced"]:
        """What verdicts may say: "reproduced" only at the paper's own scale."""
        return "paper" if self.preset == "paper" else "reduced"

    @property
    def cells(self) -> list[Cell]:
        """The runs by setting: network and data, then from dense to sparse, then method."""
        return cells_of(self.records)

    def of(self, *methods: str, density: float | None = None) -> list[Record]:
        """The runs of these methods, by seed; at this density where one is given (to 2 % of it)."""
        found = [r for r in self.records if r.method in methods and _near(r.density, density)]
        return sorted(found, key=lambda r: (methods.index(r.method), -r.density, r.seed))

    def measured(self, measurement: Measurement) -> Mapping[str, Any] | None:
        """The result of a measurement, or None where it is not made yet."""
        found = self.measurements.get(measurement.id)
        return None if found is None else found["result"]

    def cell(self, method: str, density: float | None = None) -> Cell | None:
        """The cell of a method (at this density), or None where no run of it is finished."""
        found = cells_of(self.of(method, density=density))
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and its runs.

    Example:
        >>> study = Study(name="mine", title="Is it the seed?", question="...", runs=runs, tables=tables,
        ...               figures=figures, presets={"smoke": Preset(seeds=2, takes="seconds")})

    Args:
        name: what the command line calls it.
        title: of its page.
        question: what is asked, in a paragraph or two, parted by empty lines.
        presets: scale -> how many seeds, and what it takes; `PRESETS` says what the scales mean.
        runs: (preset, seeds) -> everything to be trained; single runs, and procedures.
        measurements: findings -> what is to be computed once from the finished runs, or without any.
        tables: findings -> tables, the main one first.
        figures: findings -> figures, one a question.
        claims: findings -> verdicts on published claims, already corrected for being several (`judge_all`).
        answers: findings -> what was found, in sentences; they stand above all else.
        source: the publication: authors, year, title.
    """

    name: str
    title: str
    question: str
    presets: Mapping[str, Preset]
    runs: Callable[[str, Sequence[int]], Sequence[Work]]
    tables: Callable[[Findings], Sequence[Table]]
    figures: Callable[[Findings], Sequence[Figure]]
    measurements: Callable[[Findings], Sequence[Measurement]] = lambda found: ()
    claims: Callable[[Findings], Sequence[Verdict]] = lambda found: ()
    answers: Callable[[Findings], Sequence[str]] = lambda found: ()
    source: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"`name` of `Study` must be lower-case letters, digits and _. Got {self.name!r}.")
        if not self.presets or not set(self.presets) <= set(PRESETS):
            raise ValueError(f"`presets` of `Study` must be some of {', '.join(PRESETS)}. Got {list(self.presets)}.")

    def preset(self, name: str | None = None) -> str:
        """The name of a preset, checked; by default ``"laptop"``, or the first there is.

        Raises:
            SettingsError: the study has no such preset.
        """
        if name is None:
            return "laptop" if "laptop" in self.presets else next(iter(self.presets))
        if name not in self.presets:
            raise SettingsError(f"`--preset` of `{self.name}` must be one of its presets. Got {name!r}. "
                                f"{nearest(name, self.presets)}")  # fmt: skip
        return name


def _near(density: float, wanted: float | None) -> bool:
    return wanted is None or abs(density - wanted) <= 0.02 * wanted
