"""Runs of one experiment beside each other: the spread that each source of chance brings, and how pairs drift apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measures.reproducibility import CHANGES, Divergence
from wirings.studies.tables import Column, Row, Span, Spread, Table
from wirings.studies.views.parts import figure_of, rows_panel, seeds_row
from wirings.training.records import Record

METHODS = ("dense", "static", "rigl")

METHOD_TITLES = {"dense": "dense", "static": "random sparse", "rigl": "RigL"}

SOURCES = {
    "order": "data order",
    "wiring": "random wiring",
    "init": "first values",
    "all": "all of these",
    "fold": "images (ten folds)",
}
"""Source of chance -> what people call it."""

Spreads = Mapping[tuple[str, str], Sequence[Record]]
"""(method, source) -> the runs in which that source is new."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two trainings of one run, the second under another condition."""

    method: str
    change: str
    seed: int
    measurement: Divergence


Followed = Sequence[tuple[Pair, Mapping[str, Any]]]
"""Pairs, and what was measured of them."""


def error_range(records: Sequence[Record]) -> float:
    """Largest less smallest error rate, in percent of the mean error rate."""
    errors = [1 - record.test_accuracy_last for record in records]
    return 100 * (max(errors) - min(errors)) / statistics.fmean(errors) if any(errors) else 0.0


def source_table(spreads: Spreads) -> Table | None:
    """A row a method and source."""
    if not spreads:
        return None
    columns = (
        Column(title="Method"),
        Column(title="New in each run"),
        Column(title="n", help="runs"),
        Column(title="Test accuracy", unit="%", help="of the last values; mean ± standard deviation"),
        Column(title="Standard deviation", unit="points", help="of the test accuracy"),
        Column(title="… 95 % interval", unit="points", help="of the standard deviation, by chi-squared"),
        Column(title="Smallest to largest", unit="%"),
        Column(title="Range of the error rate", unit="% of its mean", digits=1),
        Column(title="Published", unit="% of its mean", digits=0, help="up to so much"),
    )
    rows = []
    for (method, source), records in spreads.items():
        spread = Spread(tuple(100 * record.test_accuracy_last for record in records))
        rows.append(
            Row(
                values=(
                    METHOD_TITLES[method],
                    SOURCES[source],
                    spread.n,
                    spread,
                    spread.sd,
                    sd_interval(spread),
                    Span(min(spread.values), max(spread.values)),
                    error_range(records),
                    25.0,
                ),
                runs=tuple(record.id for record in records),
                method=method,
            )
        )
    caption = (
        "Everything but what is named is the same in all runs of a row, down to the last bit. The folds test each run "
        "on other images, so their spread holds that of the test sets too."
    )
    return Table(
        name="sources", title="What each source of chance brings", columns=columns, rows=tuple(rows), caption=caption
    )


def sd_interval(spread: Spread) -> Span:
    """The 95 % interval of a normal sample's standard deviation.

    Example:
        >>> found = sd_interval(Spread((1.0, 2.0, 3.0)))
        >>> round(found.low, 2), round(found.high, 2)
        (0.52, 6.28)
    """
    from scipy.stats import chi2

    freedom = spread.n - 1
    low, high = (spread.sd * (freedom / float(chi2.ppf(q, freedom))) ** 0.5 for q in (0.975, 0.025))
    return Span(low, high)


def change_table(followed: Followed) -> Table | None:
    """A row a method and change: what two trainings have in common at their ends."""
    if not followed:
        return None
    columns = (
        Column(title="Method"),
        Column(title="Different the second time"),
        Column(title="Pairs", help="a seed each"),
        Column(title="Equal bit for bit", help="pairs whose last values are"),
        Column(title="Largest difference of a value", digits=9),
        Column(title="Distance of the values", unit="% of their norm", digits=4),
        Column(title="Largest difference of a logit", digits=6),
        Column(title="Predictions that differ", unit="%"),
        Column(title="Wiring in common", unit="%", digits=1, help="Jaccard index"),
        Column(title="Accuracy, second − first", unit="points", signed=True),
        Column(title="Stands for", help="what is not on this machine"),
    )
    rows = []
    for method in METHODS:
        for change in CHANGES:
            ends = [(pair, result) for pair, result in followed if (pair.method, pair.change) == (method, change)]
            if ends:
                rows.append(_change_row(method, change, [result for _, result in ends], [p for p, _ in ends]))
    return Table(
        name="changes",
        title="The same run under another condition",
        columns=columns,
        rows=tuple(rows),
        caption="Largest of all pairs for values and logits, means for the rest. A difference in the last bit of one "
        "value is enough to part two trainings; what follows from it grows to the size of the last rows.",
    )


def _change_row(method: str, change: str, ends: Sequence[Mapping[str, Any]], pairs: Sequence[Pair]) -> Row:
    def mean(values: Sequence[float]) -> float:
        return statistics.fmean(values)

    versions = sorted({str(end["versions"]["torch"]) for end in ends}) if CHANGES[change].python else []
    return Row(
        values=(
            METHOD_TITLES[method],
            CHANGES[change].title + (f" ({', '.join(versions)})" if versions else ""),
            len(ends),
            f"{sum(end['equal'] for end in ends)} of {len(ends)}",
            max(end["largest"] for end in ends),
            100 * mean([end["distance"][-1] for end in ends]),
            max(end["logits"] for end in ends),
            100 * mean([end["predictions"] for end in ends]),
            100 * mean([end["wiring"] for end in ends]) if method != "dense" else None,
            mean([100 * (end["accuracy"][1] - end["accuracy"][0]) for end in ends]),
            CHANGES[change].stands_for or None,
        ),
        runs=tuple(pair.measurement.run for pair in pairs),
        method=method,
    )


def repeat_table(
    repeats: Mapping[str, Sequence[Mapping[str, Any]]], replays: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Table | None:
    """A row a method: stored runs made again, and data orders replayed."""
    if not any(repeats.values()):
        return None
    columns = (
        Column(title="Method"),
        Column(title="Repetitions", help="from the settings in the run's folder, in processes of their own"),
        Column(title="Different values", help="distinct hashes of the last values, the stored run's included"),
        Column(title="Different wirings"),
        Column(title="Different data orders"),
        Column(title="Epochs replayed", help="epochs whose order is the recorded one, hash by hash"),
    )
    rows = []
    for method, results in repeats.items():
        if not results:
            continue
        every = [end for result in results for end in (result["stored"], result["again"])]
        replayed = replays.get(method, ())
        epochs = f"{sum(r['same'] for r in replayed)} of {sum(r['epochs'] for r in replayed)}" if replayed else None
        distinct = (len({end[key] for end in every}) for key in ("values", "wiring", "order"))
        rows.append(Row(values=(METHOD_TITLES[method], len(results), *distinct, epochs), method=method))
    return Table(
        name="repetitions", title="Stored runs made again", columns=columns, rows=tuple(rows),
        caption="One different value everywhere means: identical each time.",
    )  # fmt: skip


# ---------------------------------------------------------------------- figures

DRAWN = ("threads", "sparse", "older", "torch", "cuda", "nudge", "float64", "bfloat16", "order", "wiring", "init")
"""Changes that are drawn step by step."""


def spread_figure(spreads: Spreads) -> Figure | None:
    """Every run's accuracy by source, a panel a method."""
    panels = []
    for method in METHODS:
        mine = [(source, records) for (name, source), records in spreads.items() if name == method]
        series: list[Series] = []
        for place, (source, records) in enumerate(mine):
            spread, ids = Spread(tuple(100 * r.test_accuracy_last for r in records)), tuple(r.id for r in records)
            each = [(run,) for run in ids]
            series += seeds_row(SOURCES[source], method, spread, place, runs=ids, each=each, one="one run")
        if series:
            names = [SOURCES[source] for source, _ in mine]
            panels.append(rows_panel(series, title=METHOD_TITLES[method], x="test accuracy (%)", rows=names))
    return figure_of(
        panels,
        name="sources",
        title="How far apart are runs that differ by chance alone?",
        caption="Test accuracy of single runs (small dots), their mean and its 95 % interval, by what is new in each "
        "run. Folds are tested on other images.",
        alt="Dots of test accuracy for each source of chance, a panel a method.",
    )


def divergence_figure(followed: Followed) -> Figure | None:
    """Distance of two trainings by step, a line a change, a panel a method."""
    panels = []
    for method in METHODS:
        lines = [line for change in DRAWN if (line := _drift(followed, method, change)) is not None]
        if lines:
            panels.append(
                Panel(
                    title=METHOD_TITLES[method],
                    x=Axis(label="step", scale="log"),
                    y=Axis(label="distance of all values (share of their norm)", scale="log"),
                    series=tuple(lines),
                )
            )
    return figure_of(
        panels,
        name="divergence",
        title="How fast do two trainings of one run drift apart?",
        caption="Distance between all values of two trainings, relative to their norm, by step; geometric mean over "
        "seeds. Both have the same first values and the same batches, but for what the line names. Changes after which "
        "both stay equal to the last bit have no line; some more are in the table.",
        alt="Lines of distance against step on logarithmic axes, one for each change of conditions.",
    )


def _drift(followed: Followed, method: str, change: str) -> Series | None:
    ends = [(pair, result) for pair, result in followed if (pair.method, pair.change) == (method, change)]
    kept = [(pair, result) for pair, result in ends if any(result["distance"])]
    if not kept:
        return None
    points = []
    for place, step in enumerate(kept[0][1]["steps"]):
        values = [result["distance"][place] for _, result in kept]
        if all(value > 0 for value in values):
            points.append((float(step), statistics.geometric_mean(values)))
    runs = tuple(pair.measurement.run for pair, _ in kept)
    return Series(
        label=CHANGES[change].title,
        x=tuple(step for step, _ in points),
        y=tuple(value for _, value in points),
        method=f"net-{change}",
        runs=(runs,) * len(points),
    )


def drift_sentences(followed: Followed) -> list[str]:
    """How far the smallest change and the largest ones lead."""
    said = []
    for method in METHODS:
        ends = {
            change: [result for pair, result in followed if (pair.method, pair.change) == (method, change)]
            for change in ("nudge", "threads", "order", "init")
        }
        told = [
            f"{CHANGES[change].title}: {100 * statistics.fmean(r['distance'][-1] for r in results):.2g} %"
            for change, results in ends.items()
            if results
        ]
        if told:
            n = max(len(results) for results in ends.values())
            said.append(
                f"{METHOD_TITLES[method].capitalize()}: distance of all values at the end, relative to their norm, "
                f"after {'; '.join(told)} (n = {n})."
            )
    return said
