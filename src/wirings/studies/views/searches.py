"""Wirings that are searched for and then trained: accuracy before and after, time to a wiring, checks, ingredients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wirings.procedures.retraining import FRESH
from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Span, Spread, Table
from wirings.training.records import Record

NAMES = {
    "ep-global": "edge-popup, over the network",
    "ep-gradual": "… and gradually",
    "ep-decay": "… and with L2",
    "smart-ratio": "smart ratio",
    "synflow-twice": "SynFlow, twice as long",
    "snip-twice": "SNIP, twice as long",
}
"""What runs of these labels are called, beside what `wirings.studies.words` knows."""

CHECKS = {"": "as found", "redrawn": "weights drawn anew", "inverted": "inverted", "shuffled": "shuffled in layers"}
"""Sanity checks by what their runs are called after ``-tuned-``."""

SEARCHES = ("edge-popup", "ep-global", "ep-gradual", "ep-decay", "gem-miner")
"""Methods that search with scores; ``<name>`` is the search, ``<name>-tuned`` what follows it."""

SWEEP_SEED = 100
"""Of the runs that choose settings; nothing else looks at them."""


@dataclass(frozen=True)
class Searched:
    """The finished runs of such a study by label, density and seed; a redrawn run stands under its search's seed.

    Args:
        densities: that are compared, from dense to sparse.
        by: (label, density) -> seed -> run.
        chains: seed -> the dense network and all rounds of its lottery, from dense to sparse.
    """

    densities: tuple[float, ...]
    by: Mapping[tuple[str, float], Mapping[int, Record]] = field(repr=False)
    chains: Mapping[int, Sequence[Record]] = field(repr=False)

    @classmethod
    def of(cls, found: Findings, densities: Sequence[float]) -> Searched:
        """Sort what is finished; a density counts as one of these to 2 %."""
        by: dict[tuple[str, float], dict[int, Record]] = {}
        chains: dict[int, list[Record]] = {}
        for record in found.records:
            if record.seed == SWEEP_SEED:
                continue
            if record.method in ("dense", "lottery"):
                chains.setdefault(record.seed, []).append(record)
            for density in densities:
                if abs(record.density - density) <= 0.02 * density:
                    by.setdefault((record.method, density), {})[record.seed % FRESH] = record
        return cls(tuple(densities), by, {s: sorted(c, key=lambda r: -r.density) for s, c in chains.items()})

    @property
    def net(self) -> str:
        """The network's name."""
        return next((str(r.info["settings"]["model"]) for r in self._all()), "")

    @property
    def data(self) -> str:
        """The data set's name."""
        return next((str(r.info["data"]["name"]) for r in self._all()), "")

    def records(self, label: str, density: float) -> Mapping[int, Record]:
        """Seed -> run."""
        return self.by.get((label, density), {})

    def accuracies(self, label: str, density: float) -> dict[int, float]:
        """Seed -> test accuracy of the last values, in percent."""
        return {seed: 100 * r.test_accuracy_last for seed, r in sorted(self.records(label, density).items())}

    def differences(self, label: str, against: str, density: float) -> dict[int, float]:
        """Seed -> how far one is above the other, in points, where both are finished."""
        return self.minus(label, self.accuracies(against, density), density)

    def minus(self, label: str, rival: Mapping[int, float], density: float) -> dict[int, float]:
        """Seed -> how far it is above these accuracies, in points."""
        return {seed: mine - rival[seed] for seed, mine in self.accuracies(label, density).items() if seed in rival}

    def best_of(self, labels: Iterable[str], density: float) -> dict[int, float]:
        """Seed -> the accuracy of the label with the highest mean, where all are finished for a seed."""
        every = [self.accuracies(label, density) for label in labels]
        common = set.intersection(*(set(one) for one in every))
        whole = [{seed: one[seed] for seed in sorted(common)} for one in every]
        return max(whole, key=lambda one: statistics.fmean(one.values())) if common else {}

    def seconds_to_mask(self, label: str, density: float) -> dict[int, float]:
        """Seed -> processor seconds before the wiring is known: of the search, of all earlier rounds, of scoring."""
        records = self.records(label, density)
        if label in SEARCHES:
            return {seed: r.busy_seconds for seed, r in sorted(records.items())}
        if label == "lottery":
            return {seed: sum(r.busy_seconds for r in self.chains[seed] if r.density > 1.02 * density)
                    for seed in sorted(records)}  # fmt: skip
        return {seed: float(r.info["begin"]["seconds"]) for seed, r in sorted(records.items()) if "begin" in r.info}

    def seconds(self, label: str, density: float) -> dict[int, float]:
        """Seed -> processor seconds until the network is trained, the way to its wiring included."""
        final = sorted(self.records(_final(label), density).items())
        if label not in (*SEARCHES, "lottery"):
            return {seed: r.busy_seconds for seed, r in final}
        way = self.seconds_to_mask(label, density)
        return {seed: r.busy_seconds + way[seed] for seed, r in final if seed in way}

    def speedup(self, density: float) -> dict[int, float]:
        """Seed -> how many times as long the way to a ticket takes as Gem-Miner's search."""
        search, play = (self.seconds_to_mask(label, density) for label in ("gem-miner", "lottery"))
        return {seed: play[seed] / search[seed] for seed in search if seed in play and search[seed] > 0}

    def trained(self, label: str, density: float) -> dict[int, float]:
        """Seed -> accuracy with trained weights: after fine-tuning, where a search came before."""
        return self.accuracies(f"{label}-tuned" if label in SEARCHES else label, density)

    def ids(self, label: str, density: float) -> tuple[str, ...]:
        """The runs behind :meth:`trained`, by seed."""
        records = self.records(f"{label}-tuned" if label in SEARCHES else label, density)
        return tuple(records[seed].id for seed in sorted(records))

    def dense(self) -> list[Record]:
        """The dense networks."""
        return [r for chain in self.chains.values() for r in chain if r.method == "dense"]

    def _all(self) -> Iterable[Record]:
        return (r for records in self.by.values() for r in records.values())


def called(label: str) -> str:
    """What people call a run of this label."""
    return NAMES.get(label, words.method(label))


def swept(name: str, rate: float) -> str:
    """The label of a run that tries a learning rate."""
    return f"{name}-rate-{rate:g}"


def signed(value: float) -> str:
    """``+1.23`` or ``−1.23``."""
    return f"{value:+.2f}".replace("-", "−")


# ---------------------------------------------------------------------- tables


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
            above = Spread(tuple(had.minus(_final(label), had.accuracies("lottery", density), density).values()))
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
        step = had.differences(_final(label), _final(chain[place - 1]), density) if place else {}
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
            last, before = by.get(_final(label, name)), by.get(label) if name in SEARCHES else None
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


# ---------------------------------------------------------------------- figures


def accuracy_figure(had: Searched, methods: Sequence[str]) -> Figure | None:
    """Trained accuracy against density; Gem-Miner's before fine-tuning beside it."""
    lines = [line for label in methods if (line := _line(had, label, called(label))) is not None]
    before = [line for label in ("gem-miner", "edge-popup")
              if (line := _line(had, label, f"{called(label)}, before", final=False)) is not None]  # fmt: skip
    if not lines:
        return None
    axis = Axis(label="sparsity (share of weights missing)", scale="sparsity", ticks=had.densities)
    panels = [Panel(title="trained", x=axis, y=Axis(label="test accuracy (%)"), series=tuple(lines), size="half")]
    if before:
        panels.append(Panel(title="searched, weights as drawn", x=axis, y=Axis(label="test accuracy (%)"),
                            series=tuple(before), size="half"))  # fmt: skip
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
    if not panels:
        return None
    return Figure(
        name="time", title="How long does it take to a trained sparse network?",
        caption="Test accuracy against the processor time of everything that had to be trained, masked, on one thread; "
        "means over seeds. A ticket pays for all its rounds, a search for itself and its fine-tuning.",
        alt="Points of test accuracy against processor time, one a method, for each sparsity.",
        panels=tuple(panels),
    )  # fmt: skip


def check_figure(had: Searched) -> Figure | None:
    """What each sanity check costs, seed by seed."""
    panels = []
    for density in had.densities:
        series: list[Series] = []
        for place, (check, name) in enumerate((c, n) for c, n in CHECKS.items() if c):
            lost = had.differences(f"gem-miner-tuned-{check}", "gem-miner-tuned", density)
            if lost:
                series += _forest(name, "gem-miner", lost, float(place))
        if series:
            panels.append(Panel(
                title=f"{words.sparsity(density)} sparse", x=Axis(label="test accuracy above the wiring as found"),
                y=Axis(names=tuple(n for c, n in CHECKS.items() if c)),
                series=(Series(label="as found", style="level", across=True, x=(0.0,), y=()), *series),
                size="small", labels="none",
            ))  # fmt: skip
    if not panels:
        return None
    return Figure(
        name="checks", title="Is it the wiring, or only its densities?",
        caption="Accuracy after fine-tuning relative to Gem-Miner's wiring as found, in points. Small dots are single "
        "seeds, large ones their mean with its 95 % interval.",
        alt="For each sanity check the accuracy relative to the wiring as found: seeds, mean and interval.",
        panels=tuple(panels),
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
                series += _forest(called(label), label, values, float(place))
        if series:
            panels.append(Panel(
                title=title, x=Axis(label="test accuracy (%)"), y=Axis(names=tuple(called(c) for c in chain)),
                series=tuple(series), size="half", labels="none",
            ))  # fmt: skip
    if not panels:
        return None
    return Figure(
        name="chain", title="Which ingredient of Gem-Miner helps?",
        caption=f"From edge-popup to Gem-Miner at {words.sparsity(density)} sparsity, one ingredient a row. Small dots "
        "are single seeds, large ones their mean with its 95 % interval.",
        alt="Accuracy of each method between edge-popup and Gem-Miner, before and after fine-tuning.",
        panels=tuple(panels),
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


def _forest(name: str, method: str, values: Mapping[int, float], place: float) -> list[Series]:
    spread = Spread(tuple(values.values()))
    span = spread.interval or Span(spread.mean, spread.mean)
    return [
        Series(label=name, method=method, style="points", across=True, x=(spread.mean,), y=(place,), low=(span.low,),
               high=(span.high,)),
        Series(label=f"{name}, one seed", method=method, style="points", quiet=True, x=spread.values,
               y=(place - 0.2,) * spread.n),
    ]  # fmt: skip


def _line(had: Searched, label: str, name: str, *, final: bool = True) -> Series | None:
    cells = {d: Spread(tuple(v.values())) for d in had.densities
             if (v := had.trained(label, d) if final else had.accuracies(label, d))}  # fmt: skip
    if not cells:
        return None
    spans = [s.interval or Span(s.mean, s.mean) for s in cells.values()]
    return Series(
        label=name, method=label, x=tuple(cells), y=tuple(s.mean for s in cells.values()),
        low=tuple(s.low for s in spans), high=tuple(s.high for s in spans),
        runs=tuple(had.ids(label, d) if final else tuple(r.id for _, r in sorted(had.records(label, d).items()))
                   for d in cells),
    )  # fmt: skip


def _final(label: str, name: str = "") -> str:
    return f"{label}-tuned" if (name or label) in SEARCHES else label


def _held_out(record: Record | None) -> float | None:
    return None if record is None else 100 * float(record.results["held_out_accuracy_last"])


def _empty(record: Record) -> int:
    return sum(layer["density"] == 0 for layer in record.results["layers"].values())


def _mean(values: Mapping[int, float]) -> float:
    return statistics.fmean(values.values()) if values else math.nan


__all__ = [
    "SWEEP_SEED",
    "Searched",
    "accuracy_figure",
    "accuracy_table",
    "called",
    "chain_figure",
    "chain_table",
    "check_figure",
    "check_table",
    "layer_table",
    "rate_table",
    "signed",
    "swept",
    "time_figure",
    "used_figure",
]
