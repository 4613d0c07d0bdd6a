"""How a wiring came about, drawn: its way over the epochs, ranks, traces and amplification of in-degrees."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.tables import Span, Spread
from wirings.studies.views.structure import ranked_traces


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What `wirings.studies.measures.emergence.Emergence` said of the runs of one setting.

    Args:
        net, method, density: of the runs; the method as they are labelled.
        name: of the method, in words.
        results: one a seed.
        runs: their ids.
    """

    net: str
    method: str
    density: float
    name: str
    results: tuple[Mapping[str, Any], ...] = field(repr=False)
    runs: tuple[str, ...] = field(repr=False)

    def at(self, what: str, epoch: float) -> list[float | None]:
        """``result[what]`` at a moment, of each run; ``None`` where it did not look within 0.06 epochs of it."""
        found: list[float | None] = []
        for result in self.results:
            near = min(range(len(result["epochs"])), key=lambda i, e=result["epochs"]: abs(e[i] - epoch))  # type: ignore[misc]
            found.append(result[what][near] if abs(result["epochs"][near] - epoch) <= 0.06 else None)
        return found

    @property
    def common(self) -> list[int]:
        """Moments that every run has."""
        return list(range(min(len(result["epochs"]) for result in self.results)))


_EPOCHS = Axis(label="epochs", low=0)


def change_figure(gathered: Sequence[Seen]) -> Figure | None:
    """Net change behind, over the epochs; a panel a density, a line a method."""
    densities = sorted({one.density for one in gathered}, reverse=True)
    panels = [
        Panel(
            title=f"{words.sparsity(density)} sparse",
            x=_EPOCHS,
            y=Axis(label="net change behind (%)", low=0, high=100),
            series=(_half(), *(_net_line(one) for one in gathered if one.density == density)),
            size="half",
            labels="legend",
        )
        for density in densities
    ]
    return _figure(
        panels,
        name="change",
        title="How early does the wiring come about?",
        caption="Share of the net change of connections, from the first to the last wiring, that lies behind; mean "
        "over seeds; each point tells its 95 % interval. The dashed line is half: the paper "
        "has DNW above it after one epoch.",
        alt="Share of the net change of connections over the epochs, a line a method, with a dashed line at one half.",
    )


def rate_figure(gathered: Sequence[Seen]) -> Figure | None:
    """The same for DNW at other learning rates."""
    panel = Panel(
        x=_EPOCHS,
        y=Axis(label="net change behind (%)", low=0, high=100),
        series=(_half(), *(_net_line(one) for one in gathered)),
    )
    at = f" at {words.sparsity(gathered[0].density)} sparsity" if gathered else ""
    return _figure(
        [panel] if len(gathered) > 1 else [],
        name="rates",
        title="Is it the high learning rate of the first epoch?",
        caption=f"Net change behind of DNW{at}: under the usual schedule (highest at first, then a cosine to zero), "
        "with a warm-up over the first quarter, at a tenth of the rate, and at a constant rate. Where late epochs "
        "have a high rate, the wiring keeps moving.",
        alt="Share of DNW's net change over the epochs, a line a learning rate schedule.",
    )


def trace_figure(gathered: Sequence[Seen]) -> Figure | None:
    """In-degrees of single units, by how many inputs they had after one epoch; methods by rows, layers by columns."""
    panels: list[Panel] = []
    for one in gathered:
        result = one.results[0]
        for name, layer in result["layers"].items():
            if "traces" in layer and layer["spearman"][result["early"]] is not None and len(layer["units"]) >= 20:
                panels.append(
                    ranked_traces(
                        result["epochs"],
                        layer["traces"],
                        title=f"{one.name}, {words.layer(name)}",
                        units=layer["units"],
                        runs=(one.runs[0],),
                    )
                )
    return _figure(
        panels,
        name="traces",
        title="Do units with many inputs after one epoch keep and gain them?",
        caption="In-degrees of at most 40 units of a layer over training, one line a unit, the first seed. Red: the "
        "fifth with most inputs after one epoch; blue: the fifth with fewest. If structure is amplified, red and "
        "blue part ever more.",
        alt="Lines of in-degree over the epochs, one a unit, coloured by the in-degree after one epoch; a panel a "
        "method and layer.",
    )


def amplification_figure(gathered: Sequence[Seen]) -> Figure | None:
    """Change of each unit's in-degree after epoch 1 against what it was then, a panel a layer."""
    panels: list[Panel] = []
    for one in gathered:
        for name, layer in one.results[0]["layers"].items():
            if "degrees" not in layer or layer["amplification"] is None:
                continue
            then, last = layer["degrees"]
            panels.append(
                Panel(
                    title=f"{words.layer(name)}: slope {layer['amplification']:+.2f}",
                    x=Axis(label="inputs after one epoch"),
                    y=Axis(label="inputs gained later"),
                    series=(
                        Series(label="no change", style="level", x=(), y=(0.0,)),
                        Series(
                            label="units",
                            method=one.method,
                            style="points",
                            quiet=True,
                            x=tuple(map(float, then)),
                            y=tuple(float(b - a) for a, b in zip(then, last, strict=True)),
                            runs=((one.runs[0],),) * len(then),
                        ),
                    ),
                    size="small",
                    labels="none",
                )
            )
    return _figure(
        panels,
        name="amplification",
        title="Do the rich become richer?",
        caption="Each dot is a unit of a DNW network, the first seed: its inputs after one epoch, and how many it "
        "gained or lost from then on.",
        alt="Scatter plots of inputs gained after epoch 1 against inputs after epoch 1, a panel a layer.",
    )


def rank_figure(gathered: Sequence[Seen]) -> Figure | None:
    """Rank correlation of in-degrees with the last ones over the epochs, a line a layer, a panel a network."""
    panels: list[Panel] = []
    for one in gathered:
        lines = []
        for name in one.results[0]["layers"]:
            values = [[result["layers"][name]["spearman"][i] for result in one.results] for i in one.common]
            line = _line(one, values, label=words.layer(name), colour=words.layer(name))
            if line is not None:
                lines.append(line)
        if lines:
            panels.append(
                Panel(
                    title=f"{one.net}, {words.sparsity(one.density)} sparse",
                    x=_EPOCHS,
                    y=Axis(label="rank correlation with the last in-degrees", high=1),
                    series=tuple(lines),
                    size="half",
                    labels="legend",
                )
            )
    return _figure(
        panels,
        name="ranks",
        title="When is it known which units become hubs?",
        caption="Rank correlation of DNW's in-degrees at each moment with those at the end, layer by layer; mean "
        "over seeds; each point tells its 95 % interval. At 0 stands what the first values alone decide.",
        alt="Rank correlation of in-degrees with the last ones over the epochs, a line a layer, a panel a network.",
    )


def gini_figure(gathered: Sequence[Seen]) -> Figure | None:
    """Inequality of in-degrees over the epochs, a panel a layer, a line a method."""
    panels: list[Panel] = []
    for name in gathered[0].results[0]["layers"] if gathered else ():
        lines = []
        for one in gathered:
            values = [[result["layers"][name]["gini"][i] for result in one.results] for i in one.common]
            line = _line(one, values)
            if line is not None:
                lines.append(line)
        panels.append(
            Panel(
                title=words.layer(name),
                x=_EPOCHS,
                y=Axis(label="Gini coefficient of in-degrees", low=0),
                series=tuple(lines),
                size="small",
                labels="legend" if not panels else "none",
            )
        )
    return _figure(
        panels,
        name="gini",
        title="How unequal do units become?",
        caption="Gini coefficient of the in-degrees of each layer: 0 where all units have as many inputs, near 1 "
        "where one has all. Mean over seeds; each point tells its 95 % interval.",
        alt="Gini coefficient of in-degrees over the epochs, a line a method, a panel a layer.",
    )


def _net_line(one: Seen) -> Series:
    values = [[result["net"][i] for result in one.results] for i in one.common]
    line = _line(one, values, times=100)
    return line or Series(label=one.name, method=one.method, x=(), y=())


def _line(
    one: Seen, values: Sequence[Sequence[float | None]], *, label: str = "", colour: str = "", times: float = 1.0
) -> Series | None:
    """A line over the moments, mean over the runs that have a value there; None where none has at any."""
    x, y, low, high = [], [], [], []
    for i, column in zip(one.common, values, strict=True):
        known = tuple(times * value for value in column if value is not None)
        if known:
            spread = Spread(known)
            span = spread.interval or Span(spread.mean, spread.mean)
            x.append(statistics.fmean(float(result["epochs"][i]) for result in one.results))
            y.append(spread.mean)
            low.append(span.low)
            high.append(span.high)
    if not x:
        return None
    return Series(
        label=label or one.name,
        method=colour or one.method,
        x=tuple(x),
        y=tuple(y),
        low=tuple(low),
        high=tuple(high),
        runs=(one.runs,) * len(x),
    )


def _half() -> Series:
    return Series(label="", style="level", x=(), y=(50.0,))


def _figure(panels: Sequence[Panel], *, name: str, title: str, caption: str, alt: str) -> Figure | None:
    """The figure, where there is anything to draw."""
    drawn = tuple(panel for panel in panels if any(series.y for series in panel.series))
    return Figure(name=name, title=title, caption=caption, alt=alt, panels=drawn) if drawn else None
