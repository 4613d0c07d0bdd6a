"""Wirings that are searched for, in figures: accuracy against sparsity and time, checks, ingredients, the search."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.tables import Spread
from wirings.studies.views.parts import figure_of, mean_line, over_sparsity, rows_panel, seeds_row
from wirings.studies.views.searches import CHECKS, Searched, called, trained_label


def accuracy_figure(had: Searched, methods: Sequence[str]) -> Figure | None:
    """Trained accuracy against density; Gem-Miner's before fine-tuning beside it."""
    lines = [line for label in methods if (line := _line(had, trained_label(label), called(label), label))]
    before = [line for label in ("gem-miner", "edge-popup")
              if (line := _line(had, label, f"{called(label)}, before", label))]  # fmt: skip
    if not lines:
        return None
    panels = [over_sparsity(lines, had.densities, title="trained", size="half")]
    if before:
        panels.append(over_sparsity(before, had.densities, title="searched, weights as drawn", size="half"))
    return Figure(
        name="accuracy", title="Is a wiring found by scores as good as a ticket?",
        caption="Test accuracy against sparsity, mean and 95 % interval over seeds. Left, with trained weights; right, "
        "what the search alone reaches.",
        alt="Lines of test accuracy against sparsity, one a method: trained, and before fine-tuning.",
        panels=tuple(panels),
    )  # fmt: skip


def time_figure(had: Searched, methods: Sequence[str]) -> Figure | None:
    """Accuracy against all the seconds that it took, a panel a density."""
    panels = []
    for density in had.densities:
        points = []
        for label in methods:
            seconds, values = had.seconds(label, density), had.trained(label, density)
            if seconds and values:
                points.append(Series(
                    label=called(label), method=label, style="points", x=(statistics.fmean(seconds.values()),),
                    y=(statistics.fmean(values.values()),), runs=(had.ids(label, density),),
                ))  # fmt: skip
        if points:
            panels.append(Panel(
                title=f"{words.sparsity(density)} sparse",
                x=Axis(label="processor time in all (s)", scale="log", ticks=_round(points)),
                y=Axis(label="test accuracy (%)"), series=tuple(points), size="small",
            ))  # fmt: skip
    return figure_of(
        panels, name="time", title="How long does it take to a trained sparse network?",
        caption="Test accuracy against the processor time of everything that had to be trained, masked, on one thread; "
        "means over seeds. A ticket pays for all its rounds, a search for itself and its fine-tuning.",
        alt="Points of test accuracy against processor time, one a method, for each sparsity.",
    )  # fmt: skip


def check_figure(had: Searched) -> Figure | None:
    """What each sanity check costs, seed by seed."""
    panels = []
    for density in had.densities:
        series: list[Series] = []
        for place, (check, name) in enumerate((c, n) for c, n in CHECKS.items() if c):
            lost = had.differences(f"gem-miner-tuned-{check}", "gem-miner-tuned", density)
            if lost:
                series += seeds_row(name, "gem-miner", Spread(tuple(lost.values())), place)
        if series:
            level = Series(label="as found", style="level", across=True, x=(0.0,), y=())
            panels.append(
                rows_panel(
                    [level, *series],
                    title=f"{words.sparsity(density)} sparse",
                    x="test accuracy above the wiring as found",
                    rows=[n for c, n in CHECKS.items() if c],
                    size="small",
                )
            )
    return figure_of(
        panels, name="checks", title="Is it the wiring, or only its densities?",
        caption="Accuracy after fine-tuning relative to Gem-Miner's wiring as found, in points. Small dots are single "
        "seeds, large ones their mean with its 95 % interval.",
        alt="For each sanity check the accuracy relative to the wiring as found: seeds, mean and interval.",
    )  # fmt: skip


def chain_figure(had: Searched, chain: Sequence[str]) -> Figure | None:
    """Accuracy along the chain of ablations, before and after fine-tuning."""
    density = had.densities[len(had.densities) // 2]
    panels = []
    for title, final in (("before fine-tuning", False), ("fine-tuned", True)):
        series: list[Series] = []
        for place, label in enumerate(chain):
            values = had.trained(label, density) if final else had.accuracies(label, density)
            if values:
                series += seeds_row(called(label), label, Spread(tuple(values.values())), place)
        if series:
            panels.append(rows_panel(series, title=title, x="test accuracy (%)", rows=[called(c) for c in chain]))
    return figure_of(
        panels, name="chain", title="Which ingredient of Gem-Miner helps?",
        caption=f"From edge-popup to Gem-Miner at {words.sparsity(density)} sparsity, one ingredient a row. Small dots "
        "are single seeds, large ones their mean with its 95 % interval.",
        alt="Accuracy of each method between edge-popup and Gem-Miner, before and after fine-tuning.",
    )  # fmt: skip


def used_figure(had: Searched) -> Figure | None:
    """How much of the network the search uses, and how good it is, while it goes on."""
    using, reaching = [], []
    for density in had.densities:
        records = had.records("gem-miner", density)
        if not records:
            continue
        seed = min(records)
        rows = [row for row in records[seed].metrics if row["step"]]
        accuracy = "held_out_accuracy" if "held_out_accuracy" in rows[0] else "test_accuracy"
        at, name = tuple(float(row["epoch"]) for row in rows), f"to {100 * density:g} %"
        using.append(Series(label=name, method="gem-miner", x=at, y=tuple(100 * row["density"] for row in rows)))
        reaching.append(Series(label=name, method="gem-miner", x=at, y=tuple(100 * row[accuracy] for row in rows)))
    if not using:
        return None
    epoch = Axis(label="epoch of the search")
    used = Axis(label="density used (%)", scale="log", ticks=(0.5, 1, 2, 5, 10, 20, 50, 100))
    return Figure(
        name="used",
        title="What does Gem-Miner use while it searches?",
        caption="Left: the density of what forward uses, survivors with a score above one half; at the end all "
        "survivors are used. Right: the accuracy of that network on held-out images. One seed.",
        alt="Density used and accuracy over the epochs of the search, for each target density.",
        panels=(
            Panel(x=epoch, y=used, series=tuple(using), size="half"),
            Panel(x=epoch, y=Axis(label="held-out accuracy (%)"), series=tuple(reaching), size="half"),
        ),
    )


def _round(points: Sequence[Series]) -> tuple[float, ...]:
    """Where points stand along x, to two digits."""
    return tuple(sorted({float(f"{point.x[0]:.2g}") for point in points}))


def _line(had: Searched, label: str, name: str, method: str) -> Series | None:
    cells = {d: Spread(tuple(values.values())) for d in had.densities if (values := had.accuracies(label, d))}
    ids = [tuple(r.id for _, r in sorted(had.records(label, d).items())) for d in cells]
    return mean_line(name, method, list(cells.items()), runs=ids) if cells else None
