"""Tables as data: columns with units, rows with values; the report floor writes them out."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spread:
    """The values of several runs, told as mean ± standard deviation.

    Example:
        >>> spread = Spread((97.2, 97.4))
        >>> round(spread.mean, 1), round(spread.sd, 3)
        (97.3, 0.141)
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Their standard deviation (n - 1); NaN for one value."""
        return statistics.stdev(self.values) if self.n > 1 else math.nan

    @property
    def interval(self) -> Span | None:
        """The 95 % t interval of the mean; None for one value."""
        from wirings.analysis.statistics import mean_interval

        if self.n < 2:
            return None
        found = mean_interval(self.values)
        return Span(found.low, found.high)


@dataclass(frozen=True)
class Span:
    """An interval, told as "low to high"."""

    low: float
    high: float


Value = str | int | float | Spread | Span | None
"""What a table holds; None (and NaN) is told as a dash."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Args:
        title: its head.
        unit: of its numbers, told in the head.
        digits: after the point.
        help: what the head alone does not say.
        signed: whether numbers carry a plus.
    """

    title: str
    unit: str = ""
    digits: int = 2
    help: str = ""
    signed: bool = False

    @property
    def head(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: a value a column, the runs behind it, and the method whose colour it carries."""

    values: tuple[Value, ...]
    runs: tuple[str, ...] = ()
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Args:
        name: of its files.
        title: what it shows, in words.
        columns: what its rows hold, in order.
        rows: from top to bottom.
        caption: how to read it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(repr=False)
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"A row of the table `{self.name}` must have {len(self.columns)} values. Got {len(row.values)}."
                )
