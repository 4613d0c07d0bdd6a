"""Wirings that are searched for, in tables: accuracy before and after, time to a wiring, checks, ingredients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from wirings.studies import words
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.studies.views.searches import CHECKS, SEARCHES, SWEEP_SEED, Searched, called, swept, trained_label
from wirings.training.records import Record


def accuracy_table(had: Searched, methods: Sequence[str]) -> Table:
    """A row a method and density: accuracy before and after, against lottery tickets, and the time it takes."""
    columns = (
        Column(title="Density", unit="%"),
        Column(title="Method"),
        Column(title="Before fine-tuning", unit="%", help="test accuracy of what the search used, weights as drawn"),
        Column(title="Trained", unit="%", help="test accuracy of the last values; mean ± sd over seeds"),
        Column(title="95 % interval", unit="%", help="of the mean (Student's t)"),
        Column(title="n", help="runs, a seed each"),
        Column(title="Above lottery ticket", unit="points", signed=True, help="mean difference, seed by seed"),
        Column(title="… 95 % interval", unit="points", signed=True, help="of that difference, paired by seed"),
        Column(title="Time to the wiring", unit="s", digits=1, help="processor time until it is known"),
        Column(title="Time in all", unit="s", digits=1, help="processor time until the network is trained"),
    )
    dense = had.dense()
    rows = [] if not dense else [Row(
        values=(100.0, words.method("dense"), None, Spread(tuple(100 * r.test_accuracy_last for r in dense)),
                Spread(tuple(100 * r.test_accuracy_last for r in dense)).interval, len(dense), None, None, None,
                statistics.fmean(r.busy_seconds for r in dense)),
        runs=tuple(r.id for r in dense), method="dense",
    )]  # fmt: skip
    for density in had.densities:
        for label in methods:
            values = had.trained(label, density)
            if not values:
                continue
            before = tuple(had.accuracies(label, density).values()) if label in SEARCHES else ()
            trained = Spread(tuple(values.values()))
            above = Spread(tuple(had.minus(trained_label(label), had.accuracies("lottery", density), density).values()))
            rows.append(Row(
                values=(
                    100 * density, called(label), Spread(before) if before else None, trained, trained.interval,
                    trained.n, above.mean if above.n and label != "lottery" else None,
                    above.interval if above.n and label != "lottery" else None,
                    _mean(had.seconds_to_mask(label, density)), _mean(had.seconds(label, density)),
                ),
                runs=had.ids(label, density), method=label,
            ))  # fmt: skip
    return Table(
        name="accuracy", title="Every method at equal density", columns=columns, rows=tuple(rows),
        caption="All but searches and tickets are trained once on their wiring. Times are processor time (of "
        "scoring, wall time) of masked execution on one thread, where a sparse step takes as long as a dense one: at "
        "equal seconds the dense network is the rival.",
    )  # fmt: skip


def check_table(had: Searched, published: Mapping[str, float]) -> Table:
    """What is left of Gem-Miner's accuracy under each sanity check."""
    columns = (
        Column(title="Density", unit="%"),
        Column(title="Wiring"),
        Column(title="Fine-tuned", unit="%"),
        Column(title="n"),
        Column(title="Lost", unit="points", signed=True, help="to the wiring as found, seed by seed"),
        Column(title="… 95 % interval", unit="points", signed=True),
        Column(title="Published", unit="%", help="ResNet-20 on CIFAR-10 at 1.79 %, one development run"),
    )
    rows = []
    for density in had.densities:
        for check, name in CHECKS.items():
            label = "-".join(part for part in ("gem-miner-tuned", check) if part)
            if not (values := had.accuracies(label, density)):
                continue
            lost = Spread(tuple(had.differences("gem-miner-tuned", label, density).values())) if check else None
            rows.append(Row(
                values=(100 * density, name, Spread(tuple(values.values())), len(values),
                        lost.mean if lost and lost.n else None, lost.interval if lost and lost.n else None,
                        published.get(check)),
                runs=tuple(r.id for _, r in sorted(had.records(label, density).items())), method="gem-miner",
            ))  # fmt: skip
    return Table(
        name="checks", title="Is it the wiring?", columns=columns, rows=tuple(rows),
        caption="Shuffled and inverted wirings have as many connections in each layer and weights of the same draw. "
        "Weights drawn anew come with new batches. The published numbers are of another network and data set.",
    )  # fmt: skip


def chain_table(had: Searched, chain: Sequence[str], published: Mapping[str, tuple[float, float]]) -> Table:
    """From edge-popup to Gem-Miner, one ingredient a row, at the middle density."""
    columns = (
        Column(title="Method"),
        Column(title="Before fine-tuning", unit="%"),
        Column(title="Fine-tuned", unit="%"),
        Column(title="n"),
        Column(title="Step", unit="points", signed=True, help="over the row above, fine-tuned, seed by seed"),
        Column(title="… 95 % interval", unit="points", signed=True),
        Column(title="Empty layers", digits=1, help="weights without any connection at the end, mean over seeds"),
        Column(title="Published, before", unit="%", help="ResNet-20 on CIFAR-10 at about 1.8 %, one development run"),
        Column(title="Published, fine-tuned", unit="%"),
    )
    density = had.densities[len(had.densities) // 2]
    rows = []
    for place, label in enumerate(chain):
        values = had.trained(label, density)
        if not values:
            continue
        before = had.accuracies(label, density)
        step = had.differences(trained_label(label), trained_label(chain[place - 1]), density) if place else {}
        over = Spread(tuple(step.values())) if step else None
        rows.append(Row(
            values=(called(label), Spread(tuple(before.values())) if before else None, Spread(tuple(values.values())),
                    len(values), over.mean if over else None, over.interval if over else None,
                    _mean({s: float(_empty(r)) for s, r in had.records(label, density).items()}),
                    *published.get(label, (None, None))),
            runs=had.ids(label, density), method=label,
        ))  # fmt: skip
    return Table(
        name="chain", title=f"Which ingredient helps, at {100 * density:g} % density?", columns=columns,
        rows=tuple(rows), caption="Every row adds one ingredient to the row above.",
    )  # fmt: skip


def layer_table(had: Searched) -> Table:
    """Where the connections are: density of each layer."""
    labels = [label for label in ("gem-miner", "lottery", "edge-popup", "synflow", "snip", "smart-ratio", "static")
              if any(had.records(label, density) for density in had.densities)]  # fmt: skip
    layers = next((list(r.results["layers"]) for label in labels for density in had.densities
                   for r in had.records(label, density).values()), [])  # fmt: skip
    columns = (Column(title="Density", unit="%"), Column(title="Method"), Column(title="n"),
               *(Column(title=words.layer(layer), unit="%") for layer in layers))  # fmt: skip
    rows = []
    for density in had.densities:
        for label in labels:
            records = [r for _, r in sorted(had.records(label, density).items())]
            if records:
                kept = [statistics.fmean(100 * r.results["layers"][layer]["density"] for r in records)
                        for layer in layers]  # fmt: skip
                rows.append(Row(values=(100 * density, called(label), len(records), *kept),
                                runs=tuple(r.id for r in records), method=label))  # fmt: skip
    return Table(name="layers", title="Where are the connections?", columns=columns, rows=tuple(rows),
                 caption="Share of each layer's positions that are connected, mean over seeds.")  # fmt: skip


def rate_table(found: Findings, tried: Mapping[str, Sequence[float]], chosen: Mapping[str, float]) -> Table:
    """Held-out accuracy of every learning rate that was tried, after fine-tuning where there is one."""
    columns = (
        Column(title="Method"),
        Column(title="Learning rate", digits=1),
        Column(title="Before fine-tuning", unit="%", help="accuracy on held-out images"),
        Column(title="Trained", unit="%", help="accuracy on held-out images; this decided"),
        Column(title="Chosen"),
    )
    by = {r.method: r for r in found.records if r.seed == SWEEP_SEED}
    rows = []
    for name, rates in tried.items():
        for rate in rates:
            label = swept(name, rate)
            last, before = by.get(trained_label(label, name)), by.get(label) if name in SEARCHES else None
            if last is not None:
                rows.append(
                    Row(
                        values=(called(name), rate, _held_out(before), _held_out(last), "yes" * (chosen[name] == rate)),
                        runs=(last.id,) if before is None else (before.id, last.id),
                        method=name,
                    )
                )
    return Table(name="rates", title="The learning rates", columns=columns, rows=tuple(rows),
                 caption=f"One run each with seed {SWEEP_SEED}, which no other run has, at the middle density. Weights "
                 "train at the highest rate at which the dense network does, all at the same.")  # fmt: skip


def _held_out(record: Record | None) -> float | None:
    return None if record is None else 100 * float(record.results["held_out_accuracy_last"])


def _empty(record: Record) -> int:
    return sum(layer["density"] == 0 for layer in record.results["layers"].values())


def _mean(values: Mapping[int, float]) -> float:
    return statistics.fmean(values.values()) if values else math.nan
