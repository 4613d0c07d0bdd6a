"""Figures as data: panels of series and pictures, with axes in words; the report floor draws them.

A figure answers one question. Its panels stand side by side as far as the page is wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Style = Literal["line", "points", "steps", "trace", "level"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis.

    Args:
        label: quantity and unit, in words.
        scale: ``"linear"``, ``"log"``, or ``"sparsity"``: the values are densities, drawn on a logarithmic axis from
            dense to sparse and labelled in percent of missing connections.
        low, high: its ends; by default what the data needs.
        names: for an axis of names, told at 0, 1, 2, ...
        ticks: where values are told; by default round numbers.
    """

    label: str = ""
    scale: Literal["linear", "log", "sparsity"] = "linear"
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()

    def name_at(self, value: float) -> str:
        """The name that a value belongs to; points may stand a little beside it.

        Example:
            >>> Axis(names=("here", "there")).name_at(0.87)
            'there'
        """
        return self.names[min(max(round(value), 0), len(self.names) - 1)]

    def told(self, value: float) -> float | str:
        """The value, or the name that it stands for."""
        return self.name_at(value) if self.names else value


@dataclass(frozen=True, kw_only=True)
class Series:
    """Numbers that belong together.

    Args:
        label: what they are, told beside them.
        x, y: one value a point; for ``"steps"`` (a histogram) ``x`` are the edges, one more than ``y``.
        low, high: ends of an interval around each point: of y, or of x where ``across`` says so.
        method: whose colour they have; empty for a neutral one.
        style: ``"line"`` (with points), ``"points"``, ``"steps"``, ``"trace"`` (a thin line among many) or ``"level"``
            (a line over the whole panel at its one y, or x where ``across``).
        across: whether intervals (and the level) are read along x.
        runs: the run ids behind each point.
        quiet: drawn small and pale, a line dotted and with hollow points, as what lies behind the message.
        bound: drawn as arrows where the values are not known: they lie ``"below"`` or ``"above"`` these.
    """

    label: str
    x: tuple[float, ...] = field(repr=False)
    y: tuple[float, ...] = field(repr=False)
    low: tuple[float, ...] = field(default=(), repr=False)
    high: tuple[float, ...] = field(default=(), repr=False)
    method: str = ""
    style: Style = "line"
    across: bool = False
    runs: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    quiet: bool = False
    bound: Literal["", "below", "above"] = ""

    def __post_init__(self) -> None:
        wanted = len(self.x) - (self.style == "steps")
        if self.style != "level" and len(self.y) != wanted:
            raise ValueError(f"`y` of the series `{self.label}` must have {wanted} values. Got {len(self.y)}.")
        for name in ("low", "high", "runs"):
            if (found := getattr(self, name)) and len(found) != max(len(self.x), len(self.y)) - (self.style == "steps"):
                raise ValueError(f"`{name}` of the series `{self.label}` must have a value a point. Got {len(found)}.")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A matrix drawn as an image, from no colour to the full one; ``unit`` says what is counted.

    Args:
        values: (rows, columns), at least 0.
        none: values up to this have no colour.
        full: the value of the full colour; by default the largest.
    """

    values: NDArray[np.float64] = field(repr=False)
    unit: str = ""
    method: str = ""
    none: float = 0.0
    full: float | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One drawing.

    Args:
        title: what tells it from its neighbours.
        x, y: its axes.
        series: from back to front.
        picture: instead of series.
        size: ``"wide"`` fills a line, ``"half"`` shares it with another, ``"small"`` with two, ``"tile"`` with five.
        labels: where series are named: ``"direct"`` beside their last point, ``"legend"``, or not at all.
    """

    title: str = ""
    x: Axis = Axis()
    y: Axis = Axis()
    series: tuple[Series, ...] = field(default=(), repr=False)
    picture: Picture | None = None
    size: Literal["wide", "half", "small", "tile"] = "wide"
    labels: Literal["direct", "legend", "none"] = "direct"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One question and its drawing.

    Args:
        name: of its files.
        title: the question.
        caption: what is to be seen, in words, and how it was counted.
        alt: the same for who cannot see it, without the numbers that its data holds.
        panels: from left to right.
    """

    name: str
    title: str
    caption: str
    alt: str
    panels: tuple[Panel, ...] = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("name", "title", "caption", "alt"):
            if not getattr(self, name).strip():
                raise ValueError(f"`{name}` of a `Figure` must say something. Got an empty text.")
        if not self.panels:
            raise ValueError(f"`panels` of the figure `{self.name}` must have at least one.")

    def data(self, *, joined: bool = False) -> Iterator[dict[str, object]]:
        """What is drawn: a row a point, with panel, series, values (or their names) and runs; of pictures, a row a
        filled pixel.

        ``joined``: of a trace, one row, with all its values in each cell, parted by spaces.
        """
        for panel in self.panels:
            for series in panel.series:
                if joined and series.style == "trace":
                    yield _joined(panel, series)
                    continue
                for i in range(max(len(series.y), len(series.x) - (series.style == "steps"))):
                    yield {
                        "panel": panel.title,
                        "series": series.label,
                        "x": panel.x.told(series.x[i]) if series.x else None,
                        "y": panel.y.told(series.y[i]) if series.y else None,
                        "low": series.low[i] if series.low else None,
                        "high": series.high[i] if series.high else None,
                        "runs": " ".join(series.runs[i]) if series.runs else "",
                    }
            if panel.picture is not None:
                for row, column in zip(*np.nonzero(panel.picture.values), strict=True):
                    yield {
                        "panel": panel.title,
                        "series": panel.picture.unit,
                        "x": int(column),
                        "y": int(row),
                        "value": float(panel.picture.values[row, column]),
                        "runs": "",
                    }


def _joined(panel: Panel, series: Series) -> dict[str, object]:
    runs = dict.fromkeys(run for point in series.runs for run in point)
    row: dict[str, object] = {"panel": panel.title, "series": series.label}
    for name in ("x", "y", "low", "high"):
        row[name] = " ".join(f"{value:.6g}" for value in getattr(series, name))
    return row | {"runs": " ".join(runs)}
