"""Methods beside each other: accuracy, difference to a reference, cost; as a table and as figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from wirings.studies import words
from wirings.studies.cells import Cell, training_flops
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.studies.views.parts import figure_of, mean_line, over_sparsity, rows_panel, seeds_row
from wirings.training.records import Record


def method_table(
    found: Findings, methods: Sequence[str], densities: Sequence[float], *, against: str = "static", caption: str = ""
) -> Table:
    """A row a method and density, the dense network first: accuracy, interval, difference to ``against``, and cost."""
    rival = words.method(against)
    columns = (
        Column(title="Sparsity", help="share of the weights that is missing"),
        Column(title="Method"),
        Column(title="Test accuracy", unit="%", help="of the last values; mean ± standard deviation over seeds"),
        Column(title="95 % interval", unit="%", help="of the mean (Student's t)"),
        Column(title="n", help="runs, a seed each"),
        Column(title=f"Above {rival}", unit="points", signed=True, help="mean difference, seed by seed"),
        Column(title="… 95 % interval", unit="points", signed=True, help="of that difference, paired by seed"),
        Column(title="Density", unit="%", help="connections at the end over positions"),
        Column(title="Training FLOPs", unit="× dense", help="all rounds together for the lottery"),
        Column(title="Wall time", unit="s", digits=1, help="of a run; all rounds together for the lottery"),
    )
    dense = found.cell("dense")
    cells = [dense, *(found.cell(method, density) for density in densities for method in methods)]
    rows = tuple(_row(found, cell, dense, against) for cell in cells if cell is not None)
    return Table(name="methods", title="Every method", columns=columns, rows=rows, caption=caption)


def _row(found: Findings, cell: Cell, dense: Cell | None, against: str) -> Row:
    accuracy, above = Spread(cell.last), difference(found, cell, against)
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
            None if dense is None else mean(flops(found, record) for record in cell.records) / dense.flops,
            mean(sum(r.seconds for r in chain(found, record)) for record in cell.records),
        ),
        runs=cell.ids,
        method=cell.method,
    )


def difference(found: Findings, cell: Cell, against: str) -> Spread | None:
    """How far a cell is above another method at its sparsity, in points, seed by seed; None for itself and dense."""
    if cell.method in (against, "dense"):
        return None
    rival = {r.seed: 100 * r.test_accuracy_last for r in found.of(against, density=cell.density)}
    pairs = [value - rival[seed] for seed, value in zip(cell.seeds, cell.last, strict=True) if seed in rival]
    return Spread(tuple(pairs)) if pairs else None


def chain(found: Findings, record: Record) -> list[Record]:
    """What had to be trained for a run: itself, and for a lottery ticket every round before."""
    if record.method != "lottery":
        return [record]
    return [r for r in found.of("dense", "lottery") if r.seed == record.seed and r.density >= record.density]


def flops(found: Findings, record: Record) -> float:
    """Floating-point operations of all that had to be trained for a run; NaN where a record does not say."""
    return sum(training_flops(r) for r in chain(found, record))


def mean(values: Iterable[float]) -> float:
    """The mean, NaN where a value is."""
    return statistics.fmean(values)


# ---------------------------------------------------------------------- figures


def accuracy_figure(found: Findings, methods: Sequence[str], *, caption: str = "") -> Figure | None:
    """Accuracy against sparsity, a line a method, the dense network as a level."""
    lines = [line for method in methods if (line := accuracy_line(found.cells, method)) is not None]
    if not lines:
        return None
    dense = found.cell("dense")
    ticks = tuple(sorted({x for line in lines for x in line.x}, reverse=True))
    return Figure(
        name="accuracy",
        title="How much accuracy survives?",
        caption=f"Test accuracy against sparsity, mean over {len(found.seeds)} seeds; the line across is the dense "
        f"network. {caption}".strip(),
        alt="Lines of test accuracy against sparsity, one a method, with the dense network as a level line.",
        panels=(over_sparsity([*([] if dense is None else [level(dense)]), *lines], ticks),),
    )


def accuracy_line(cells: Iterable[Cell], method: str) -> Series | None:
    """A method's mean accuracy from dense to sparse, with its intervals; None where there is no cell of it."""
    cells = sorted((c for c in cells if c.method == method), key=lambda c: -c.density)
    if not cells:
        return None
    points = [(c.density, Spread(c.last)) for c in cells]
    return mean_line(words.method(method), method, points, runs=[c.ids for c in cells])


def level(cell: Cell) -> Series:
    """A cell's mean accuracy as a line across the panel."""
    return Series(
        label=words.method(cell.method), method=cell.method, style="level", x=(), y=(mean(cell.last),), runs=(cell.ids,)
    )


def difference_figure(
    found: Findings, methods: Sequence[str], densities: Sequence[float], *, against: str = "static"
) -> Figure | None:
    """Each method's accuracy above another's, seed by seed, with mean and 95 % interval; a panel a sparsity."""
    rival = words.method(against)
    panels = []
    for density in densities:
        cells = [c for method in methods if (c := found.cell(method, density)) is not None]
        pairs = [(c, s) for c in cells if (s := difference(found, c, against)) is not None]
        series = [Series(label=rival, method=against, style="level", across=True, x=(0.0,), y=())]
        for place, (cell, spread) in enumerate(pairs):
            each = [(name,) for name in cell.ids] if spread.n == cell.n else []
            series += seeds_row(words.method(cell.method), cell.method, spread, place, runs=cell.ids, each=each)
        if pairs:
            panels.append(
                rows_panel(
                    series,
                    title=f"{words.sparsity(density)} sparse",
                    x=f"test accuracy above {rival} (points)",
                    rows=[words.method(c.method) for c, _ in pairs],
                )
            )
    return figure_of(
        panels,
        name="differences",
        title="What is a chosen wiring worth, and how sure is it?",
        caption=f"Difference in test accuracy to {rival} at the same sparsity, seed by seed. Small dots are single "
        "seeds, the large dot their mean, the bar its 95 % interval (paired t). A bar that crosses the line does not "
        f"tell the method from {rival}; few seeds make wide bars.",
        alt=f"For each method its accuracy above {rival}: single seeds, mean and 95 % interval.",
    )


def cost_figure(found: Findings, methods: Sequence[str], densities: Sequence[float]) -> Figure | None:
    """Accuracy against training arithmetic relative to dense, a panel a sparsity."""
    dense = found.cell("dense")
    panels = []
    for density in densities:
        cells = [c for method in methods if (c := found.cell(method, density)) is not None]
        if dense is None or not cells:
            continue
        costs = [mean(flops(found, record) for record in cell.records) / dense.flops for cell in cells]
        points = [
            Series(
                label=words.method(cell.method),
                method=cell.method,
                style="points",
                x=(cost,),
                y=(mean(cell.last),),
                runs=(cell.ids,),
            )
            for cell, cost in zip(cells, costs, strict=True)
            if math.isfinite(cost)
        ]
        if points:
            panels.append(
                Panel(
                    title=f"{words.sparsity(density)} sparse",
                    x=Axis(label="training FLOPs (× dense)", scale="log"),
                    y=Axis(label="test accuracy (%)"),
                    series=(level(dense), *points),
                    size="half",
                )
            )
    return figure_of(
        panels,
        name="cost",
        title="What does it cost to find?",
        caption="Arithmetic of the whole training relative to the dense network, counted as the papers do: what a "
        "machine that skips every zero would need. A lottery ticket pays for all its rounds.",
        alt="Test accuracy against training arithmetic relative to dense, a point a method.",
    )
