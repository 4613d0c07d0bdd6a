"""What figures of many studies are made of: lines with intervals, rows of seeds below their mean, axes of sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.tables import Span, Spread

Ids = tuple[str, ...]


def figure_of(panels: Sequence[Panel], *, name: str, title: str, caption: str, alt: str) -> Figure | None:
    """The figure of these panels; None without any."""
    return Figure(name=name, title=title, caption=caption, alt=alt, panels=tuple(panels)) if panels else None


def over_sparsity(
    series: Sequence[Series],
    ticks: Sequence[float] = (),
    *,
    title: str = "",
    y: Axis | None = None,
    size: Literal["wide", "half"] = "wide",
    labels: Literal["direct", "legend"] = "direct",
) -> Panel:
    """Test accuracy, or what ``y`` says, against the share of weights that is missing; ``ticks`` are densities."""
    return Panel(
        title=title,
        x=Axis(label="sparsity (share of weights missing)", scale="sparsity", ticks=tuple(ticks)),
        y=Axis(label="test accuracy (%)") if y is None else y,
        series=tuple(series),
        size=size,
        labels=labels,
    )


def mean_line(label: str, method: str, points: Sequence[tuple[float, Spread]], *, runs: Sequence[Ids] = ()) -> Series:
    """A line through the means, with their 95 % intervals.

    Args:
        label: what it is, told beside it.
        method: whose colour it has.
        points: x, and the values there.
        runs: the run ids behind each point.
    """
    spans = [span_of(spread) for _, spread in points]
    return Series(
        label=label,
        method=method,
        x=tuple(x for x, _ in points),
        y=tuple(spread.mean for _, spread in points),
        low=tuple(span.low for span in spans),
        high=tuple(span.high for span in spans),
        runs=tuple(runs),
    )


def seeds_row(
    label: str,
    method: str,
    spread: Spread,
    place: int,
    *,
    runs: Ids = (),
    each: Sequence[Ids] = (),
    one: str = "one seed",
) -> list[Series]:
    """One row of a panel whose y are names: the mean with its 95 % interval, and each value as a small dot above it.

    Args:
        label: what it is.
        method: whose colour it has.
        spread: its values.
        place: which row, from 0.
        runs: the run ids behind the mean.
        each: the run ids behind each value.
        one: what a single value is.
    """
    span = span_of(spread)
    return [
        Series(label=label, method=method, style="points", across=True, x=(spread.mean,), y=(float(place),),
               low=(span.low,), high=(span.high,), runs=(runs,) if runs else ()),
        Series(label=f"{label}, {one}", method=method, style="points", quiet=True, x=spread.values,
               y=(place - 0.2,) * spread.n, runs=tuple(each)),
    ]  # fmt: skip


def rows_panel(
    series: Sequence[Series], *, title: str, x: str, rows: Sequence[str], size: Literal["half", "small"] = "half"
) -> Panel:
    """Names from top to bottom, and what stands in their rows along an axis called ``x``."""
    return Panel(
        title=title, x=Axis(label=x), y=Axis(names=tuple(rows)), series=tuple(series), size=size, labels="none"
    )


def span_of(spread: Spread) -> Span:
    """The 95 % interval of the mean, or the one value there is."""
    return spread.interval or Span(spread.mean, spread.mean)
