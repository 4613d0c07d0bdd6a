"""The hybrid shown: accuracy against the freezing epoch, what freezing saves, and accuracy against cost."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence

from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measures.freezing import ALL, Costs, Plan, Spent, above, busy, flops, ratio
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.studies.views.parts import figure_of, span_of


def accuracy_figure(
    curves: Mapping[float, Sequence[Sequence[Spent]]], dense: Sequence[Spent], names: Sequence[str]
) -> Figure | None:
    """Accuracy against the freezing epoch, a panel a density.

    Args:
        curves: density -> the runs of each freezing epoch, in the order of ``names``.
        dense: runs of the dense network.
        names: of the freezing epochs.
    """
    panels = []
    for density, curve in curves.items():
        line = _line(curve, lambda run: run.accuracy, label="DNW, frozen", method="dnw-frozen")
        if line.x:
            panels.append(
                Panel(
                    title=f"{words.sparsity(density)} sparse",
                    x=Axis(label="epochs of search", names=tuple(names)),
                    y=Axis(label="test accuracy (%)"),
                    series=(*_level(dense, lambda run: run.accuracy), line, dataclasses.replace(line, style="points")),
                    size="small",
                    labels="none",
                )
            )
    return figure_of(
        panels,
        name="accuracy",
        title="What does each epoch of search bring?",
        caption="Test accuracy against the epochs after which DNW's wiring is frozen, mean over seeds with 95 % "
        "intervals; dashed, the dense network. At 0 stand the largest first values, at the right DNW itself.",
        alt="Test accuracy against the freezing epoch, a panel a sparsity, with the dense network as a dashed line.",
    )


def saving_figure(
    counted: Sequence[Sequence[Spent]],
    masked: Sequence[Sequence[Spent]],
    sparse: Sequence[Sequence[Spent]],
    dense: Sequence[Spent],
    names: Sequence[str],
    *,
    density: float,
) -> Figure | None:
    """Counted operations and measured seconds over dense, against the freezing epoch."""
    if not dense:
        return None
    unit = statistics.median(run.seconds for run in dense)
    lines = [
        _line(masked, lambda run: run.seconds / unit, label="seconds, masked", method="dnw", middle=True),
        _line(sparse, lambda run: run.seconds / unit, label="seconds, truly sparse", method="dnw-frozen", middle=True),
        _line(counted, lambda run: run.flops, label="operations, counted", method="static", middle=True),
    ]
    lines = [line for line in lines if line.x]
    if not lines:
        return None
    return Figure(
        name="saving",
        title="What does freezing save?",
        caption=f"Cost of the whole training at {words.sparsity(density)} sparsity over that of dense training "
        "(dashed), against the epochs of search: medians over seeds. Counted "
        "operations are what a machine that skips every zero would need; seconds are measured, on one thread.",
        alt="Training cost relative to dense against the freezing epoch: seconds masked, seconds truly sparse, and "
        "counted operations.",
        panels=(
            Panel(
                x=Axis(label="epochs of search", names=tuple(names)),
                y=Axis(label="cost of training (× dense)", low=0),
                series=(Series(label="dense", method="dense", style="level", x=(), y=(1.0,)), *lines),
            ),
        ),
    )


def cost_figure(
    curve: Sequence[Sequence[Spent]],
    ladders: Mapping[str, Sequence[Sequence[Spent]]],
    dense: Sequence[Spent],
    names: Sequence[str],
    *,
    density: float,
) -> Figure | None:
    """Accuracy against cost, hybrid and rivals: counted on the left, measured on the right.

    The hybrid's last point, DNW itself, was trained masked, so it is left out on the right.
    """
    if not dense:
        return None
    unit = statistics.median(run.seconds for run in dense)
    sides: list[tuple[str, Callable[[Spent], float], Sequence[Sequence[Spent]]]] = [
        ("training operations (× dense)", lambda run: run.flops, curve),
        ("measured seconds, truly sparse (× dense)", lambda run: run.seconds / unit, curve[:-1]),
    ]
    panels = []
    for label, measure, hybrids in sides:
        lines = [_against(hybrids, measure, label="DNW, frozen", method="dnw-frozen")]
        lines += [_against(of, measure, label=words.method(name), method=name) for name, of in ladders.items()]
        lines = [line for line in lines if line.x]
        if lines:
            panels.append(
                Panel(
                    title=label.partition(" (")[0],
                    x=Axis(label=label, scale="log"),
                    y=Axis(label="test accuracy (%)"),
                    series=tuple(lines),
                    size="half",
                    labels="legend",
                )
            )
    return figure_of(
        panels,
        name="cost",
        title="Would RigL or Top-KAST have used the effort better?",
        caption=f"Test accuracy against the cost of training at {words.sparsity(density)} sparsity, mean over seeds "
        "(the points tell their 95 % intervals). The hybrid's points are those frozen after "
        f"{', '.join(names)} epochs; the rivals are trained longer from point to point.",
        alt="Test accuracy against training cost, counted and measured, a line a method.",
    )


def _line(
    curve: Sequence[Sequence[Spent]],
    value: Callable[[Spent], float],
    *,
    label: str,
    method: str,
    middle: bool = False,
) -> Series:
    """A line over the places that have runs: means with 95 % intervals, or medians alone."""
    told = [(float(i), tuple(map(value, of)), of) for i, of in enumerate(curve) if of]
    spans = [] if middle else [span_of(Spread(values)) for _, values, _ in told]
    return Series(
        label=label,
        method=method,
        x=tuple(x for x, _, _ in told),
        y=tuple(statistics.median(values) if middle else statistics.fmean(values) for _, values, _ in told),
        low=tuple(span.low for span in spans),
        high=tuple(span.high for span in spans),
        runs=tuple(tuple(run.run for run in of) for _, _, of in told),
    )


def _against(curve: Sequence[Sequence[Spent]], measure: Callable[[Spent], float], *, label: str, method: str) -> Series:
    """Accuracy over the median cost."""
    line = _line(curve, lambda run: run.accuracy, label=label, method=method)
    return dataclasses.replace(line, x=tuple(statistics.median(map(measure, of)) for of in curve if of))


def _level(runs: Sequence[Spent], value: Callable[[Spent], float]) -> list[Series]:
    if not runs:
        return []
    ids = tuple(run.run for run in runs)
    level = statistics.fmean(map(value, runs))
    return [Series(label="dense", method="dense", style="level", x=(), y=(level,), runs=(ids,))]


# ---------------------------------------------------------------------- tables

_PAID = (
    Column(title="Operations", unit="× dense", help="counted, of the whole training (Evci et al. 2020)"),
    Column(title="Seconds, masked", unit="× dense", help="measured; median over seeds over the median of dense runs"),
    Column(title="Seconds, sparse", unit="× dense", help="measured, truly sparse"),
    Column(title="Energy, sparse", unit="× dense", help="as the records say: see the caption"),
    Column(title="n"),
)


def hybrid_table(plan: Plan, cost: Costs) -> Table:
    """A row a density and freezing epoch: accuracy, and what it cost."""
    columns = (
        Column(title="Sparsity"),
        Column(title="Searched for", help="epochs until the wiring is frozen"),
        Column(title="Test accuracy", unit="%"),
        Column(title="Above k = 0", unit="points", signed=True, help="by seed"),
        Column(title="… 95 % interval", unit="points", signed=True),
        Column(
            title="Gain reached", unit="%", digits=0, help="mean gain over k = 0, over that of searching to the end"
        ),
        *_PAID,
    )
    rows = [Row(values=("0 %", "dense", _accuracy(dense), None, None, None, 1.0, 1.0, None, None, len(dense)),
                runs=_ids(dense), method="dense") for dense in [cost.of("dense", 1.0, 0)] if dense]  # fmt: skip
    for density in plan.densities:
        nothing, full = cost.of("hybrid", density, 0), cost.of("hybrid", density, ALL)
        for k in plan.epochs:
            here = cost.of("hybrid", density, k)
            if not here:
                continue
            masked = cost.of("masked", density, k)
            sparse = cost.of("searching", density, ALL) if k == ALL else here
            gained, most = (above(of, nothing) for of in (here, full))
            reached = gained.mean / most.mean if gained and most and most.mean else None
            rows.append(
                Row(
                    values=(
                        words.sparsity(density),
                        "all" if k == ALL else str(k),
                        _accuracy(here),
                        gained.mean if gained and k else None,
                        gained.interval if gained and k else None,
                        100 * reached if reached is not None and k else None,
                        statistics.fmean(run.flops for run in here),
                        *times(cost, masked, sparse),
                        len(here),
                    ),
                    runs=tuple(dict.fromkeys(_ids(here) + _ids(masked) + _ids(sparse))),
                    method="dnw" if k == ALL else "dnw-frozen",
                )
            )
    caption = (
        "DNW whose wiring is frozen after k epochs of one schedule; frozen networks trained truly sparse from the "
        "first step on, DNW itself masked. k = 0 is static, the largest first values. Seconds are those for which a "
        "run kept its processor busy, evaluation included, or wall time where energy is measured; runs go side by "
        "side, one thread each, all for this study, so only ratios are told. Energy is an estimate (10 W for each "
        "busy second of a core) unless a record says that it was measured. Masked times: at the highest sparsity only."
    )
    return Table(name="freezing", title="The wiring frozen after k epochs", columns=columns, rows=tuple(rows),
                 caption=caption)  # fmt: skip


def times(cost: Costs, masked: Sequence[Spent], sparse: Sequence[Spent]) -> tuple[float | None, ...]:
    """Seconds masked and truly sparse, and energy truly sparse, over dense."""
    dense = cost.of("dense", 1.0, 0)
    return (
        ratio([run.seconds for run in masked], [run.seconds for run in dense]),
        ratio([run.seconds for run in sparse], [run.seconds for run in dense]),
        ratio([run.joules for run in sparse], [run.joules for run in dense]),
    )


def rival_table(plan: Plan, cost: Costs) -> Table:
    """A row a rival and length of its training."""
    columns = (
        Column(title="Sparsity"),
        Column(title="Method"),
        Column(title="Length", unit="× hybrid", digits=0, help="epochs of training over those of the hybrid"),
        Column(title="Test accuracy", unit="%"),
        *(column for column in _PAID if "masked" not in column.title),
    )
    rows = []
    density = plan.densities[-1]
    for method, lengths in (("rigl", plan.rigl), ("top-kast", plan.top_kast)):
        for length in lengths:
            here = cost.of(method, density, length)
            if here:
                operations = statistics.fmean(run.flops for run in here)
                values = (words.sparsity(density), words.method(method), length, _accuracy(here), operations,
                          *times(cost, [], here)[1:], len(here))  # fmt: skip
                rows.append(Row(values=values, runs=_ids(here), method=method))
    caption = "All truly sparse. Every schedule is stretched with the training: learning rate, exchanges and all."
    return Table(name="rivals", title="RigL and Top-KAST, trained longer and longer", columns=columns, rows=tuple(rows),
                 caption=caption)  # fmt: skip


def equal_table(plan: Plan, cost: Costs) -> Table:
    """A row a freezing epoch, measure of cost and rival: how far it is ahead."""
    columns = (
        Column(title="Sparsity"),
        Column(title="Searched for", help="epochs until the wiring is frozen"),
        Column(title="Equal in"),
        Column(title="Rival"),
        Column(title="Rival ahead by", unit="points", signed=True, help="mean over seeds, by seed"),
        Column(title="95 % interval", unit="points", signed=True),
        Column(title="n"),
    )
    rows = []
    density = plan.densities[-1]
    for k in plan.epochs:
        for measure, how in ((flops, "operations"), (busy, "seconds")):
            for rival in ("rigl", "top-kast"):
                values, ids = cost.ahead(rival, density, k, measure)
                if values and not (k == ALL and measure is busy):
                    lead = Spread(tuple(values))
                    told = (words.sparsity(density), "all" if k == ALL else str(k), how, words.method(rival), lead.mean,
                            lead.interval, lead.n)  # fmt: skip
                    rows.append(Row(values=told, runs=tuple(ids), method=rival))
    caption = (
        "The rival's accuracy at the hybrid's cost, read from its trainings of several lengths, straight over the "
        "logarithm of cost. Where the hybrid costs more than the longest of them, that one stands in, which has "
        "spent less; where it costs less than the shortest, there is no row."
    )
    return Table(name="equal", title="At equal cost", columns=columns, rows=tuple(rows), caption=caption)


def _accuracy(runs: Sequence[Spent]) -> Spread:
    return Spread(tuple(run.accuracy for run in runs))


def _ids(runs: Sequence[Spent]) -> tuple[str, ...]:
    return tuple(run.run for run in runs)
