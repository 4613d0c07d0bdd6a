"""The quickstart: eight ways to train LeNet-300-100 on handwritten digits, at 90 and 98 % sparsity.

Every method gets the same first weights, the same batches in the same order, the same number of steps and, but for the
lottery, the same connections a layer (ERK). It is a look at what there is: with three seeds it shows intervals and
gives no verdicts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wirings.core.budgets import erk
from wirings.core.schedules import Cosine, Cubic, Every
from wirings.core.wiring import Shapes
from wirings.makers.random import ErdosRenyi
from wirings.methods import DNW, SET, GradualMagnitude, RigL, Static
from wirings.procedures.lottery import Lottery, Pruning
from wirings.studies import words
from wirings.studies.cells import Cell
from wirings.studies.figures import Axis, Figure, Panel, Picture, Series
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Column, Row, Span, Spread, Table
from wirings.studies.tracks import Track, in_degrees, mean_of, out_degrees
from wirings.training.records import Record
from wirings.training.settings import Run

DENSITIES = (0.1, 0.02)
ROUNDS = (0.46, 0.215, 0.1, 0.045, 0.02)
"""What each round of the lottery keeps: a ticket at 90 % after three rounds of pruning, one at 98 % after five."""

UNITS = 40
"""Units whose degrees are drawn over time."""

METHODS = ("static", "set", "rigl", "dnw-frozen", "dnw", "gradual", "lottery")
"""From the one that knows least about the task to the one that costs most."""


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """Dense, six methods at two densities, and a lottery, for each seed; the longest chains first."""
    work: list[Work] = []
    for seed in seeds:
        dense = _run(preset, seed)
        work.append(Lottery(run=dense, rounds=len(ROUNDS), pruning=Keeping(densities=ROUNDS)))
    for density in DENSITIES:
        for method in _methods(density):
            work += [_run(preset, seed, method=method, label=_label(method)) for seed in seeds]
    return work


def _run(preset: str, seed: int, **settings: object) -> Run:
    if preset == "smoke":
        return Run(data="gaussian-blobs", epochs=2, seed=seed, **settings)  # type: ignore[arg-type]
    return Run(epochs=15, batch_size=64, learning_rate=0.05, seed=seed, **settings)  # type: ignore[arg-type]


def _methods(density: float) -> list[Static | SET | RigL | DNW | GradualMagnitude]:
    """The methods at one density, each layer at its ERK share; exchanges are as frequent as a short run needs."""
    begin, often = ErdosRenyi(density, budget=erk), Every(0.02, until=0.75)
    return [
        DNW(density=density, budget=erk),
        DNW(density=density, budget=erk, freeze_at=0.2),
        GradualMagnitude(density=Cubic(final=density, begin=0.1, until=0.75), when=Every(0.01), budget=erk),
        RigL(begin=begin, when=often),
        SET(begin=begin, fraction=Cosine(0.3, over=0.75), when=often),
        Static(begin=begin),
    ]


def _label(method: object) -> str:
    return "dnw-frozen" if getattr(method, "freeze_at", None) is not None else ""


@dataclass(frozen=True, kw_only=True)
class Keeping(Pruning):
    """Global magnitude pruning that keeps a given share after each round."""

    densities: tuple[float, ...] = ()

    def counts(self, shapes: Shapes, level: int) -> dict[str, int]:
        running, counts = 0.0, {}
        for name, shape in shapes.items():
            ideal = math.prod(shape) * (1.0 if level == 0 else self.densities[level - 1])
            counts[name] = round(running + ideal) - round(running)
            running += ideal
        return counts


# ---------------------------------------------------------------------- tables


def tables(found: Findings) -> list[Table]:
    """One row a method and sparsity."""
    dense = found.cell("dense")
    columns = (
        Column(title="Sparsity", help="share of the 266,200 weights that is missing"),
        Column(title="Method"),
        Column(title="Test accuracy", unit="%", help="of the last values; mean ± standard deviation over seeds"),
        Column(title="95 % interval", unit="%", help="of the mean (Student's t)"),
        Column(title="n", help="runs, a seed each"),
        Column(title="Above random", unit="points", signed=True, help="mean difference to the random wiring, same seeds"),
        Column(title="… 95 % interval", unit="points", signed=True, help="of that difference, paired by seed"),
        Column(title="Density", unit="%", help="connections at the end over positions"),
        Column(title="Training FLOPs", unit="× dense", help="all rounds together for the lottery"),
        Column(title="Wall time", unit="s", digits=1, help="a run, one thread; all rounds together for the lottery"),
    )
    rows = [] if dense is None else [_row(found, dense, dense)]
    for density in DENSITIES:
        cells = [found.cell(method, density) for method in METHODS]
        rows += [_row(found, cell, dense) for cell in cells if cell is not None]
    return [
        Table(
            name="methods",
            title="Every method, at both sparsities",
            columns=columns,
            rows=tuple(rows),
            caption="Accuracy is of the last values on the 2,000 test images of mnist-mini, read once. All methods share "
            "first weights, batches and steps; all but the lottery, which prunes globally, share the ERK budget. "
            "A lottery ticket has been trained several times; its cost counts every round.",
        )
    ]


def _row(found: Findings, cell: Cell, dense: Cell | None) -> Row:
    accuracy, above = Spread(cell.last), _above_random(found, cell)
    flops = _mean(_flops(found, record) for record in cell.records)
    return Row(
        values=(
            words.sparsity(cell.density),
            words.method(cell.method),
            accuracy,
            accuracy.interval,
            cell.n,
            above.mean if above else None,
            above.interval if above else None,
            100 * cell.density,
            None if dense is None else flops / dense.flops,
            _mean(_seconds(found, record) for record in cell.records),
        ),
        runs=cell.ids,
        method=cell.method,
    )


def _above_random(found: Findings, cell: Cell) -> Spread | None:
    """The differences to the random wiring of the same sparsity, seed by seed."""
    if cell.method in ("static", "dense"):
        return None
    random = {r.seed: 100 * r.test_accuracy_last for r in found.of("static", density=cell.density)}
    pairs = [value - random[seed] for seed, value in zip(cell.seeds, cell.last, strict=True) if seed in random]
    return Spread(tuple(pairs)) if pairs else None


def _rounds(found: Findings, record: Record) -> list[Record]:
    """What had to be trained for this run: itself, and for a ticket every round before."""
    if record.method != "lottery":
        return [record]
    return [r for r in found.of("dense", "lottery") if r.seed == record.seed and r.density >= record.density]


def _flops(found: Findings, record: Record) -> float:
    return sum(float(r.results.get("training_flops", math.nan)) for r in _rounds(found, record))


def _seconds(found: Findings, record: Record) -> float:
    return sum(r.seconds for r in _rounds(found, record))


def _mean(values: object) -> float:
    return statistics.fmean(values)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- figures


def figures(found: Findings) -> list[Figure]:
    """A figure a question."""
    drawn = [_accuracy(found), _differences(found), _cost(found), _degrees(found), _pixels(found)]
    return [figure for figure in [*drawn, _evolution(found), _traces(found)] if figure is not None]


def _accuracy(found: Findings) -> Figure | None:
    lines = []
    for method in METHODS:
        cells = sorted((c for c in found.cells if c.method == method), key=lambda c: -c.density)
        if cells:
            spreads = [Spread(c.last) for c in cells]
            spans = [s.interval or Span(s.mean, s.mean) for s in spreads]
            lines.append(
                Series(
                    label=words.method(method),
                    method=method,
                    x=tuple(c.density for c in cells),
                    y=tuple(s.mean for s in spreads),
                    low=tuple(s.low for s in spans),
                    high=tuple(s.high for s in spans),
                    runs=tuple(c.ids for c in cells),
                )
            )
    dense = found.cell("dense")
    if dense is not None:
        lines.insert(0, _level(dense))
    if not lines:
        return None
    ticks = sorted({x for line in lines for x in line.x}, reverse=True)
    return Figure(
        name="accuracy",
        title="How much accuracy survives?",
        caption=f"Test accuracy against sparsity, mean of {len(found.seeds)} seeds. The line across is the dense network. "
        "The lottery ticket shows every round of its pruning. The next figure shows how sure the order is.",
        alt="Lines of test accuracy against sparsity, one a method, with the dense network as a level line.",
        panels=(
            Panel(
                x=Axis(label="sparsity (share of weights missing)", scale="sparsity", ticks=tuple(ticks)),
                y=Axis(label="test accuracy (%)"),
                series=tuple(lines),
            ),
        ),
    )


def _level(dense: Cell, *, across: bool = False) -> Series:
    spread = Spread(dense.last)
    place = {"x": (spread.mean,), "y": ()} if across else {"x": (), "y": (spread.mean,)}
    return Series(label="dense", method="dense", style="level", across=across, runs=(dense.ids,), **place)


def _differences(found: Findings) -> Figure | None:
    panels = []
    for density in DENSITIES:
        cells = [found.cell(method, density) for method in METHODS if method != "static"]
        spreads = [(c, s) for c in cells if c is not None and (s := _above_random(found, c)) is not None]
        series = [Series(label="random wiring", method="static", style="level", across=True, x=(0.0,), y=())]
        for place, (cell, spread) in enumerate(spreads):
            span = spread.interval or Span(spread.mean, spread.mean)
            series += [
                Series(
                    label=f"{words.method(cell.method)}, one seed",
                    method=cell.method,
                    style="points",
                    quiet=True,
                    x=spread.values,
                    y=(float(place),) * spread.n,
                    runs=tuple((name,) for name in cell.ids[: spread.n]),
                ),
                Series(
                    label=words.method(cell.method),
                    method=cell.method,
                    style="points",
                    across=True,
                    x=(spread.mean,),
                    y=(float(place),),
                    low=(span.low,),
                    high=(span.high,),
                    runs=(cell.ids,),
                ),
            ]
        if spreads:
            panels.append(
                Panel(
                    title=f"{words.sparsity(density)} sparse",
                    x=Axis(label="test accuracy above random (points)"),
                    y=Axis(names=tuple(words.method(c.method) for c, _ in spreads)),
                    series=tuple(series),
                    size="half",
                    labels="none",
                )
            )
    if not panels:
        return None
    return Figure(
        name="differences",
        title="What is a chosen wiring worth, and how sure is it?",
        caption="Difference to a random wiring with the same number of connections in each layer and the same seed. "
        "Small dots are single seeds, the large dot their mean, the bar its 95 % interval (paired t). A bar that crosses "
        "the line does not tell the method from random; three seeds make wide bars.",
        alt="For each method, its accuracy above the random wiring: single seeds, mean and 95 % interval.",
        panels=tuple(panels),
    )


def _cost(found: Findings) -> Figure | None:
    dense = found.cell("dense")
    panels = []
    for density in DENSITIES:
        series = [] if dense is None else [_level(dense)]
        for method in METHODS:
            cell = found.cell(method, density)
            if cell is None or dense is None:
                continue
            cost = _mean(_flops(found, record) for record in cell.records) / dense.flops
            if math.isfinite(cost):
                series.append(
                    Series(
                        label=words.method(method),
                        method=method,
                        style="points",
                        x=(cost,),
                        y=(_mean(cell.last),),
                        runs=(cell.ids,),
                    )
                )
        if len(series) > 1:
            x = Axis(label="training FLOPs (× dense)", scale="log")
            y = Axis(label="test accuracy (%)")
            panels.append(Panel(title=f"{words.sparsity(density)} sparse", x=x, y=y, series=tuple(series), size="half"))
    if not panels:
        return None
    return Figure(
        name="cost",
        title="What does it cost to find?",
        caption="Arithmetic of the whole training, relative to the dense network, as the papers count it: what a machine "
        "that skips every zero would do. A lottery ticket pays for all its rounds.",
        alt="Test accuracy against training arithmetic relative to dense, a point a method.",
        panels=tuple(panels),
    )


def _degrees(found: Findings) -> Figure | None:
    density = DENSITIES[-1]
    shown = _one_each(found, density)
    if not shown:
        return None
    layer = next(iter(shown[0].wiring))
    before_after = [(r, next(r.history())[1][layer], r.wiring[layer]) for r in shown]
    largest = max(max(in_degrees(after)) for _, _, after in before_after)
    step = max(1, math.ceil((largest + 1) / 24))
    edges = tuple(float(e) for e in range(0, largest + step + 1, step))
    panels = []
    for record, before, after in before_after:
        grown = record.method in ("gradual", "lottery")  # from the dense network
        parts = [] if grown else [("before training", before, "")]
        series = [
            Series(label=label, method=method, style="steps", x=edges, y=_counted(in_degrees(t), edges), quiet=not method)
            for label, t, method in [*parts, ("after training", after, record.method)]
        ]
        panels.append(
            Panel(
                title=words.method(record.method) + (" (from dense)" if grown else ""),
                x=Axis(label="inputs of a unit (in-degree)", low=0),
                y=Axis(label="units", low=0),
                series=tuple(series),
                size="small",
                labels="legend",
            )
        )
    return Figure(
        name="degrees",
        title="How are the inputs shared out?",
        caption=f"In-degrees of the units of {words.layer(layer)} at {words.sparsity(density)} sparsity, seed "
        f"{shown[0].seed}: before training (grey) and after. A random wiring gives every unit about as many inputs; a "
        "wide or lopsided shape means that some units have become hubs and others have gone. What begins dense has no "
        "grey shape: there every unit has every input.",
        alt="Histograms of in-degrees of the first layer before and after training, one a method.",
        panels=tuple(panels),
    )


def _pixels(found: Findings) -> Figure | None:
    density = DENSITIES[-1]
    shown = _one_each(found, density)
    if not shown or shown[0].info["data"]["image_shape"][0] != 1:
        return None
    _, height, width = shown[0].info["data"]["image_shape"]
    layer = next(iter(shown[0].wiring))
    counts = {r.method: np.asarray(out_degrees(r.wiring[layer]), dtype=float).reshape(height, width) for r in shown}
    full = float(np.quantile(np.stack(list(counts.values())), 0.995))
    return Figure(
        name="pixels",
        title="Where does the network look?",
        caption=f"Connections that leave each pixel into {words.layer(layer)} after training, at {words.sparsity(density)} "
        f"sparsity, seed {shown[0].seed}; the full colour is {full:.0f} connections. A wiring that has learnt something "
        "leaves the empty corners alone.",
        alt="Maps of the image, one a method: how many connections leave each pixel after training.",
        panels=tuple(
            Panel(
                title=words.method(name),
                picture=Picture(values=values, unit="connections", method=name, full=full),
                size="tile",
            )
            for name, values in counts.items()
        ),
    )


def _evolution(found: Findings) -> Figure | None:
    density = DENSITIES[-1]
    overlap, news = [], []
    for method in METHODS:
        records = found.of(method, density=density)
        if not records or method in ("lottery", "static"):  # these stand still while they train
            continue
        tracks = [Track(record) for record in records]
        overlap.append(_line(method, tracks, [t.overlap() for t in tracks], tracks[0].share))
        news.append(_line(method, tracks, [[100 * v for v in t.news()] for t in tracks], tracks[0].share[1:]))
    if not overlap:
        return None
    x = Axis(label="training done (%)", low=0, high=100)
    return Figure(
        name="evolution",
        title="When does the wiring settle?",
        caption=f"At {words.sparsity(density)} sparsity, mean over seeds. Left: how much the wiring at each moment has in "
        "common with the last one (connections in both over connections in either); gradual magnitude comes from dense, "
        "so it climbs as it prunes. Right: the share of connections that were not there at the look before, a tenth of "
        "the run earlier. The random wiring and the lottery ticket stand still and are left out.",
        alt="Two line charts over training time, a line a method: overlap with the last wiring, and share of connections "
        "that are new.",
        panels=(
            Panel(title="overlap with the last wiring", x=x, y=Axis(label="Jaccard overlap", low=0, high=1),
                  series=tuple(overlap), size="half"),
            Panel(title="new since the look before", x=x, y=Axis(label="new connections (%)", low=0),
                  series=tuple(news), size="half"),
        ),
    )  # fmt: skip


def _line(method: str, tracks: Sequence[Track], values: Sequence[Sequence[float]], x: Sequence[float]) -> Series:
    ids = tuple(track.record.id for track in tracks)
    return Series(label=words.method(method), method=method, x=tuple(x), y=mean_of(values), runs=(ids,) * len(x))


def _traces(found: Findings) -> Figure | None:
    density = DENSITIES[-1]
    panels = []
    for method in ("set", "rigl", "dnw-frozen", "dnw"):
        for record in found.of(method, density=density)[:1]:
            track = Track(record)
            layer = next(iter(record.wiring))
            degrees = np.asarray(track.degrees(layer), dtype=float)  # (looks, units)
            ranked = np.argsort(degrees[-1], kind="stable")
            chosen = ranked[np.linspace(0, len(ranked) - 1, min(UNITS, len(ranked))).round().astype(int)]
            series = tuple(
                Series(label=f"unit {unit}", method=method, style="trace", x=track.share, y=tuple(degrees[:, unit]))
                for unit in chosen.tolist()
            )
            x, y = Axis(label="training done (%)", low=0, high=100), Axis(label="inputs (in-degree)", low=0)
            panels.append(Panel(title=words.method(method), x=x, y=y, series=series, size="half", labels="none"))
    if not panels:
        return None
    return Figure(
        name="traces",
        title="Which units become hubs, and how early?",
        caption=f"In-degree of {UNITS} units of the first layer over training at {words.sparsity(density)} sparsity, one "
        "line a unit, chosen evenly from the least to the best connected at the end.",
        alt="Lines of in-degree over training time, one a unit, in a panel a method.",
        panels=tuple(panels),
    )


def _one_each(found: Findings, density: float) -> list[Record]:
    """The run of the first seed, of each method."""
    return [record for method in METHODS for record in found.of(method, density=density)[:1]]


def _counted(values: Sequence[int], edges: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(n) for n in np.histogram(values, bins=np.asarray(edges))[0])


# ---------------------------------------------------------------------- in words


def answers(found: Findings) -> list[str]:
    """What the table says, with its uncertainty."""
    dense = found.cell("dense")
    said = []
    for density in DENSITIES:
        cells = [c for method in METHODS if (c := found.cell(method, density)) is not None]
        if dense is None or len(cells) < 2:
            continue
        best = max(cells, key=lambda c: _mean(c.last))
        lost = _mean(dense.last) - _mean(best.last)
        text = (
            f"At {words.sparsity(density)} sparsity the highest mean is that of {words.method(best.method)}: "
            f"{_mean(best.last):.2f} %, {abs(lost):.2f} points {'below' if lost >= 0 else 'above'} the dense network"
        )
        above = _above_random(found, best)
        if above is not None and above.interval is not None:
            span = above.interval
            text += f" and {above.mean:.2f} above a random wiring (95 % interval {span.low:.2f} to {span.high:.2f})"
        said.append(text + f", n = {best.n}.")
    if said:
        said.append("Three seeds show the size of things, not the order of neighbours: read the intervals.")
    return said


study = Study(
    name="quickstart",
    title="Eight ways to a sparse network",
    question="How much of a small network can be left out, which way of choosing its connections keeps the most accuracy, "
    "and what do the chosen wirings look like? LeNet-300-100 on 10,000 handwritten digits: dense, wired at random, and "
    "wired by six methods before, while or after training, at 90 and 98 % sparsity.",
    presets={
        "smoke": Preset(seeds=2, takes="seconds: small images of Gaussian blobs, two epochs"),
        "laptop": Preset(seeds=3, takes="at most three minutes on two cores: the embedded digits, 15 epochs"),
    },
    runs=runs,
    tables=tables,
    figures=figures,
    answers=answers,
)
