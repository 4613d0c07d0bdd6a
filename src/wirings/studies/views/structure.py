"""Wirings looked at: degrees before and after, where connections begin, how a wiring came about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirings.analysis.overlap import churn, jaccard
from wirings.core.settings import resolved
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Picture, Series
from wirings.studies.views.parts import figure_of
from wirings.training.records import Record

UNITS = 40
"""Units whose degrees are drawn over time."""

BINS = 24
"""Bars of a histogram of degrees."""


class Track:
    """The wirings that a run has kept, from its first to its last step.

    A wiring that stood still is kept once on disk; here it stands at every step at which the run looked.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        kept = dict(record.history())
        steps = int(record.info["steps"])
        history = resolved(record.run, steps).history
        looks = {step for step in range(min(kept), steps + 1) if history(step)}
        self.at = sorted({*kept, *looks, steps})
        self.wirings: list[Wiring] = []
        for step in self.at:
            self.wirings.append(kept[step] if step in kept else self.wirings[-1])
        self.share = tuple(100 * step / steps for step in self.at)
        """When it looked, in percent of the run."""
        epoch = math.ceil(int(record.info["data"]["train"]) / record.run.batch_size)
        self.epochs = tuple(step / epoch for step in self.at)
        """When it looked, in epochs."""

    def nearest(self, epoch: float) -> int:
        """Which look was nearest to this moment, in epochs.

        Raises:
            ValueError: the nearest is more than a tenth of an epoch away.
        """
        found = min(range(len(self.epochs)), key=lambda i: abs(self.epochs[i] - epoch))
        if abs(self.epochs[found] - epoch) > 0.1:
            raise ValueError(
                f"`epoch` of `nearest` must be near a look of the run {self.record.id}. Got {epoch!r}, and the nearest "
                f"look is at {self.epochs[found]:.3g}; give the run a denser `history`."
            )
        return found

    def overlap(self) -> list[float]:
        """Jaccard overlap with the last wiring, at each look."""
        return [jaccard(wiring, self.wirings[-1]) for wiring in self.wirings]

    def news(self) -> list[float]:
        """Share of connections that are new since the look before; one value fewer than looks."""
        return [churn(before, after) for before, after in pairwise(self.wirings)]

    def degrees(self, layer: str) -> NDArray[np.int64]:
        """In-degrees of a layer's units at each look, shape (looks, units)."""
        return np.stack([wiring[layer].in_degrees.cpu().numpy() for wiring in self.wirings])


def degree_figure(records: Sequence[Record], *, what: str) -> Figure | None:
    """In-degrees of the first layer's units before and after training, a panel a run."""
    if not records:
        return None
    layer = next(iter(records[0].wiring))
    pairs = [(r, next(r.history())[1][layer], r.wiring[layer]) for r in records]
    after = [t.in_degrees.cpu().numpy() for _, _, t in pairs]
    edges, beyond = histogram_edges(after)
    panels = []
    for number, ((record, before, _), last) in enumerate(zip(pairs, after, strict=True)):
        full = before.nnz == before.numel
        panels.append(
            Panel(
                title=words.method(record.method) + (" (from dense)" if full else ""),
                x=Axis(label="inputs of a unit (in-degree)", low=0),
                y=Axis(label="units", low=0),
                series=histogram(None if full else before, last, edges, record.method),
                size="small",
                labels="legend" if number == 0 else "none",
            )
        )
    return Figure(
        name="degrees",
        title="How are the inputs shared out?",
        caption=f"In-degrees of the units of {words.layer(layer)} {what}: before training (grey) and after. A random "
        "wiring gives every unit about as many inputs; a wide or lopsided shape means that some units have become hubs "
        f"and others have gone. What begins dense has no grey shape: there every unit has every input.{beyond}",
        alt=f"Histograms of the in-degrees of {words.layer(layer)} before and after training, one a method.",
        panels=tuple(panels),
    )


def histogram_edges(degrees: Sequence[ArrayLike]) -> tuple[tuple[float, ...], str]:
    """Edges that show all but the farthest hubs, the last bar gathering those; and a sentence that says so."""
    every = np.concatenate([np.asarray(d) for d in degrees])
    largest, most = int(every.max()), math.ceil(np.quantile(every, 0.985))
    step = max(1, math.ceil((most + 1) / BINS))
    edges = tuple(float(e) for e in range(0, most + step + 1, step))
    if largest < edges[-1]:
        return edges, ""
    return edges, f" The last bar gathers every unit with {edges[-2]:.0f} inputs or more; the largest has {largest}."


def histogram(before: Topology | None, after: ArrayLike, edges: tuple[float, ...], method: str) -> tuple[Series, ...]:
    """Degrees before (grey) and after (in the method's colour), as steps over ``edges``."""
    parts = [("after training", np.asarray(after), method)]
    if before is not None:
        parts.insert(0, ("before training", before.in_degrees.cpu().numpy(), ""))
    last = edges[-1] - 1e-9
    return tuple(
        Series(
            label=label,
            method=colour,
            style="steps",
            x=edges,
            y=tuple(float(n) for n in np.histogram(np.minimum(values, last), bins=np.asarray(edges))[0]),
            quiet=not colour,
        )
        for label, values, colour in parts
    )


def pixel_figure(records: Sequence[Record], *, what: str) -> Figure | None:
    """How many connections leave each pixel of a grey image into a linear first layer, a map a run."""
    if not records:
        return None
    channels, height, width = records[0].info["data"]["image_shape"]
    layer, first = next(iter(records[0].wiring.items()))
    if channels != 1 or first.shape[1:] != (height * width,):
        return None
    counts = [r.wiring[layer].out_degrees.cpu().numpy().reshape(height, width).astype(float) for r in records]
    full = max(float(np.quantile(np.stack(counts), 0.995)), 1.0)
    return Figure(
        name="pixels",
        title="Where does the network look?",
        caption=f"Connections that leave each pixel into {words.layer(layer)} after training, {what}; the full colour "
        f"is {full:.0f} connections. A wiring that has learnt from the images leaves their empty corners alone.",
        alt="A map of the image for each method: how many connections leave each pixel after training.",
        panels=tuple(
            Panel(
                title=words.method(r.method),
                picture=Picture(values=values, unit="connections", method=r.method, full=full),
                size="tile",
            )
            for r, values in zip(records, counts, strict=True)
        ),
    )


def evolution_figure(runs: dict[str, Sequence[Record]], *, what: str) -> Figure | None:
    """Overlap with the last wiring, and what is new, over training; a line a method, mean over its runs."""
    overlap, news = [], []
    for method, records in runs.items():
        tracks = [Track(record) for record in records]
        if not tracks or all(wiring == track.wirings[0] for track in tracks for wiring in track.wirings):
            continue  # it stands still
        overlap.append(_mean_line(method, tracks, [t.overlap() for t in tracks], tracks[0].share))
        fresh = [[100 * share for share in t.news()] for t in tracks]
        if any(map(any, fresh)):
            news.append(_mean_line(method, tracks, fresh, tracks[0].share[1:]))
    if not overlap:
        return None
    x = Axis(label="training done (%)", low=0, high=100)
    left = Panel(
        title="overlap with the last wiring",
        x=x,
        y=Axis(label="Jaccard overlap", low=0, high=1),
        series=tuple(overlap),
        size="half",
        labels="legend",
    )
    right = Panel(
        title="new since the look before",
        x=x,
        y=Axis(label="new connections (%)", low=0),
        series=tuple(news),
        size="half",
        labels="legend",
    )
    return Figure(
        name="evolution",
        title="When does the wiring settle?",
        caption=f"{what[:1].upper()}{what[1:]}, mean over seeds. Left: how much the wiring at each moment has in "
        "common with the last one (connections in both over connections in either); what comes from dense climbs as it "
        "is pruned. Right: the share of connections that were not there at the look before, a tenth of the run "
        "earlier. Wirings that stand still, or that only lose connections, are left out.",
        alt="Line charts over training time, a line a method: overlap with the last wiring, and the share of "
        "connections that are new.",
        panels=(left, right) if news else (left,),
    )


def _mean_line(method: str, tracks: Sequence[Track], values: Sequence[Sequence[float]], x: Sequence[float]) -> Series:
    ids = tuple(track.record.id for track in tracks)
    y = tuple(sum(column) / len(column) for column in zip(*values, strict=True))
    return Series(label=words.method(method), method=method, x=tuple(x), y=y, runs=(ids,) * len(x))


def trace_figure(records: Sequence[Record], *, what: str) -> Figure | None:
    """In-degrees of units of the first layer over training, a line a unit, a panel a run."""
    panels = []
    for record in records:
        panel = trace_panel(Track(record), next(iter(record.wiring)), words.method(record.method))
        panels.append(panel)
    return figure_of(
        panels,
        name="traces",
        title="Which units become hubs, and how early?",
        caption=f"In-degree of at most {UNITS} units of the first layer over training {what}, one line a unit, chosen "
        "evenly from the least to the best connected at the end.",
        alt="Lines of in-degree over training time, one a unit, in a panel a method.",
    )


RICH, POOR = "rich-units", "poor"
"""Whose colours the traces of units with most and with fewest inputs have: red and blue, no method's among these."""


def ranked_traces(
    epochs: Sequence[float],
    traces: Sequence[Sequence[float]],
    *,
    title: str,
    units: Sequence[int],
    runs: tuple[str, ...],
) -> Panel:
    """In-degrees of some units over training, red for the best connected fifth of them, blue for the worst.

    Args:
        epochs: moments of the training.
        traces: in-degrees at these moments, a unit each, from the fewest to the most inputs at the moment of choice.
        title: of the panel.
        units: which they are.
        runs: the ids behind them.
    """
    fifth = max(len(traces) // 5, 1)
    colours = [POOR] * fifth + [""] * (len(traces) - 2 * fifth) + [RICH] * fifth
    return Panel(
        title=title,
        x=Axis(label="epochs", low=0),
        y=Axis(label="inputs (in-degree)", low=0),
        series=tuple(
            Series(
                label=f"unit {unit}",
                method=colour,
                style="trace",
                x=tuple(epochs),
                y=tuple(map(float, trace)),
                runs=(runs,) * len(epochs),
            )
            for unit, trace, colour in zip(units, traces, colours, strict=False)
        ),
        size="small",
        labels="none",
    )


def trace_panel(track: Track, layer: str, title: str) -> Panel:
    """In-degrees of a layer's units over training, a line a unit."""
    degrees = track.degrees(layer)
    ranked = np.argsort(degrees[-1], kind="stable")
    chosen = ranked[np.linspace(0, len(ranked) - 1, min(UNITS, len(ranked))).round().astype(int)]
    return Panel(
        title=title,
        x=Axis(label="training done (%)", low=0, high=100),
        y=Axis(label="inputs (in-degree)", low=0),
        series=tuple(
            Series(
                label=f"unit {unit}",
                method=track.record.method,
                style="trace",
                x=track.share,
                y=tuple(map(float, degrees[:, unit])),
            )
            for unit in chosen.tolist()
        ),
        size="half",
        labels="none",
    )
