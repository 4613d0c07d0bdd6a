"""Wirings trained again: what was found, what is left of it from fresh values, and under which control; in pairs.

A run that found a wiring has seed ``s``, whatever is trained again from it ``s + FRESH``: one pair a seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wirings.analysis.statistics import paired
from wirings.procedures.retraining import FRESH
from wirings.studies import words
from wirings.studies.figures import Figure, Panel, Series
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Span, Spread, Table
from wirings.studies.views.parts import figure_of, mean_line, over_sparsity, rows_panel, seeds_row
from wirings.training.records import Record

VARIANTS = {
    "": "as found",
    "structure": "re-initialised",
    "degrees": "degrees kept",
    "in-degrees": "in-degrees kept",
    "shuffled": "shuffled in layers",
}
"""How a wiring is trained -> in words, from all of the structure to none."""


@dataclass(frozen=True)
class Pairs:
    """Differences in points, one a seed, and the runs they come from."""

    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """How many pairs."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean; NaN where there is none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def span(self) -> Span | None:
        """The 95 % interval of the mean; None for fewer than two."""
        return Spread(self.values).interval if self.n > 1 else None


@dataclass(frozen=True)
class Paired:
    """The runs of one network, by method, density and seed.

    Args:
        model: its name in the records.
        records: finished runs.
        shuffles: method -> the label of the runs that are its layer-wise shuffle, where another method's serve.
    """

    model: str
    records: tuple[Record, ...] = field(repr=False)
    shuffles: Mapping[str, str] = field(default_factory=dict)

    def of(self, method: str, density: float | None = None) -> dict[int, Record]:
        """Seed (of what was found) -> run."""
        near = [r for r in self.records if r.method == method]
        if density is not None:
            near = [r for r in near if abs(r.density - density) <= 0.02 * density]
        return {r.seed % FRESH: r for r in sorted(near, key=lambda r: r.seed)}

    def label(self, method: str, variant: str) -> str:
        """What the runs of a method's variant are called."""
        if variant == "shuffled" and method in self.shuffles:
            return self.shuffles[method]
        return f"{method}-{variant}" if variant else method

    def accuracy(self, label: str, density: float | None = None, seeds: int | None = None) -> Spread | None:
        """Test accuracy in percent over the seeds; None where there is no run."""
        found = self.of(label, density)
        return Spread(tuple(100 * r.test_accuracy_last for r in found.values())) if found else None

    def difference(self, label: str, against: str, density: float) -> Pairs:
        """Test accuracy of one above the other's, seed by seed."""
        mine, other = self.of(label, density), self.of(against, density)
        seeds = sorted(mine.keys() & other.keys())
        return Pairs(
            tuple(100 * (mine[s].test_accuracy_last - other[s].test_accuracy_last) for s in seeds),
            tuple(seeds),
            tuple(r.id for s in seeds for r in (mine[s], other[s])),
        )

    def seconds(self, label: str, density: float) -> float | None:
        """Processor time of a run, the median over seeds: what a machine's other work does not change."""
        found = self.of(label, density)
        return statistics.median(r.busy_seconds for r in found.values()) if found else None

    def at_equal_seconds(self, label: str, seconds: float, densities: Iterable[float]) -> dict[int, float]:
        """Seed -> accuracy in percent of the network of this label that trains in so many seconds.

        Read off between the measured ones, by a straight line over the logarithm of time; nothing where even the
        smallest takes longer, the largest one's where all are faster.
        """
        steps = sorted((t, d) for d in densities if (t := self.seconds(label, d)) is not None)
        if not steps or seconds < steps[0][0]:
            return {}
        below = max(i for i, (t, _) in enumerate(steps) if t <= seconds)
        (early, low), (late, high) = steps[below], steps[min(below + 1, len(steps) - 1)]
        share = math.log(seconds / early) / math.log(late / early) if late > early else 0.0
        left, right = self.of(label, low), self.of(label, high)
        return {
            s: 100 * ((1 - share) * left[s].test_accuracy_last + share * right[s].test_accuracy_last)
            for s in sorted(left.keys() & right.keys())
        }


def paired_of(found: Findings, model: str, shuffles: Mapping[str, str]) -> Paired:
    """The runs of one network."""
    return Paired(model, tuple(r for r in found.records if r.info["settings"]["model"] == model), shuffles)


# ---------------------------------------------------------------------- tables


def structure_table(
    nets: Sequence[Paired], methods: Sequence[str], densities: Sequence[float], published: Mapping[str, str]
) -> Table:
    """A row a network, sparsity and method: accuracy as found, re-initialised and under each control."""
    columns = (
        Column(title="Network"),
        Column(title="Sparsity"),
        Column(title="Method"),
        *(Column(title=text.capitalize(), unit="%", help="test accuracy, mean ± sd") for text in VARIANTS.values()),
        Column(title="n", help="seeds of the re-initialised runs"),
        Column(title="Re-initialised above random", unit="points", signed=True, help="paired by seed"),
        Column(title="… 95 % interval", unit="points", signed=True),
        Column(title="Effective density", unit="%", help="connections on a path from input to output"),
        Column(title="Published", help="re-initialised, against random; the paper gives no numbers"),
    )
    rows = []
    for net in nets:
        for density in densities:
            for method in methods:
                labels = [net.label(method, variant) for variant in VARIANTS]
                again = net.of(labels[1], density)
                if not again and not net.of(method, density):
                    continue
                above = net.difference(labels[1], net.label("static", "structure"), density)
                random = method == "static"
                rows.append(
                    Row(
                        values=(
                            net.model,
                            words.sparsity(density),
                            words.method(method),
                            *(net.accuracy(label, density) for label in labels),
                            len(again),
                            None if random or not above.n else above.mean,
                            None if random else above.span,
                            statistics.fmean(100 * r.effective_density for r in again.values()) if again else None,
                            published.get(method),
                        ),
                        runs=tuple(r.id for label in labels for r in net.of(label, density).values()),
                        method=method,
                    )
                )
    caption = (
        "Test accuracy of the last values. Everything but “as found” is trained from fresh values, the same for all in "
        "a row's sparsity and seed. A dash: that control was not run for this network or method."
    )
    return Table(
        name="structure", title="Each wiring, as found, from fresh values, and under controls", columns=columns,
        rows=tuple(rows), caption=caption,
    )  # fmt: skip


def difference_table(nets: Sequence[Paired], methods: Sequence[str], densities: Sequence[float]) -> Table:
    """What each step from a random wiring to the found network adds: layer densities, degrees, positions, values."""
    rows = []
    for net in nets:
        for density in densities:
            for method in methods:
                for what, a, b in steps_of(net, method):
                    pairs = net.difference(a, b, density)
                    if not pairs.n:
                        continue
                    effect = paired(pairs.values, [0.0] * pairs.n) if pairs.n > 1 else None
                    rows.append(
                        Row(
                            values=(
                                net.model,
                                words.sparsity(density),
                                words.method(method),
                                what,
                                pairs.mean,
                                None if effect is None else Span(effect.low, effect.high),
                                None if effect is None else effect.detectable,
                                None if effect is None else effect.p,
                                pairs.n,
                            ),
                            runs=pairs.runs,
                            method=method,
                        )
                    )
    columns = (
        Column(title="Network"),
        Column(title="Sparsity"),
        Column(title="Method"),
        Column(title="Difference"),
        Column(title="Points", signed=True, help="mean over seeds, paired"),
        Column(title="95 % interval", unit="points", signed=True),
        Column(title="Detectable", unit="points", help="smallest difference seen with 80 % power"),
        Column(title="p", digits=4, help="two-sided, not corrected for being many"),
        Column(title="n", help="pairs"),
    )
    return Table(
        name="differences",
        title="What each part of a wiring is worth",
        columns=columns,
        rows=tuple(rows),
        caption="Differences in test accuracy, seed by seed. p-values are not corrected here: the verdicts are.",
    )


def steps_of(net: Paired, method: str) -> list[tuple[str, str, str]]:
    """(in words, this, minus that): how the accuracy of a method's network is made up."""
    label = {variant: net.label(method, variant) for variant in VARIANTS}
    random = net.label("static", "structure")
    if method == "static":
        return [("the values it was found with (as found − re-initialised)", method, random)]
    return [
        ("all of the wiring (re-initialised − random)", label["structure"], random),
        ("the positions in layers (re-initialised − shuffled)", label["structure"], label["shuffled"]),
        ("connections per layer (shuffled − random)", label["shuffled"], random),
        ("in-degrees (in-degrees kept − shuffled)", label["in-degrees"], label["shuffled"]),
        ("out-degrees (degrees kept − in-degrees kept)", label["degrees"], label["in-degrees"]),
        ("what is beyond degrees (re-initialised − degrees kept)", label["structure"], label["degrees"]),
        ("the values it was found with (as found − re-initialised)", method, label["structure"]),
    ]


def sweep_table(
    records: Iterable[Record], suffix: str, chosen: Mapping[tuple[str, str], float], density: float
) -> Table:
    """Held-out accuracy of every rate that was tried, a row a network and method.

    Args:
        records: finished runs, those of the sweep among them.
        suffix: what their labels end in.
        chosen: (network, method) -> the rate that was taken.
        density: of the runs that are compared (rounds of a lottery on the way to it are not).
    """
    swept = [r for r in records if r.method.endswith(suffix)]
    last = [r for r in swept if r.density == 1 or abs(r.density - density) <= 0.02 * density]
    rates = sorted({r.run.learning_rate for r in last})
    groups: dict[tuple[str, str], dict[float, Record]] = {}
    for r in last:
        key = r.info["settings"]["model"], r.method.removesuffix(suffix)
        groups.setdefault(key, {})[r.run.learning_rate] = r
    rows = [
        Row(
            values=(
                model,
                words.method(method),
                *(100 * float(by[rate].results["held_out_accuracy_last"]) if rate in by else None for rate in rates),
                chosen.get((model, method)),
            ),
            runs=tuple(r.id for r in by.values()),
            method=method,
        )
        for (model, method), by in sorted(groups.items())
    ]
    columns = (
        Column(title="Network"),
        Column(title="Method"),
        *(Column(title=f"Rate {rate:g}", unit="%", help="accuracy on held-out images") for rate in rates),
        Column(title="Chosen", digits=3, help="for all runs of the method"),
    )
    return Table(
        name="rates",
        title="The learning rate of each method",
        columns=columns,
        rows=tuple(rows),
        caption=f"Accuracy on held-out training images at {words.sparsity(density)} sparsity, one run each, with a "
        "seed that no other run has; chosen before every other run. Whatever is trained again has the rate of the "
        "random wiring.",
    )


# ---------------------------------------------------------------------- figures


def structure_figure(nets: Sequence[Paired], methods: Sequence[str], densities: Sequence[float]) -> Figure | None:
    """Accuracy of re-initialised wirings against sparsity, a line a method, a panel a network."""
    panels = []
    for net in nets:
        lines = [s for m in methods if (s := line(net, net.label(m, "structure"), densities, words.method(m), m))]
        if lines:
            panels.append(_against_sparsity(net.model, [*_dense(net), *lines], densities, len(nets)))
    return figure_of(
        panels,
        name="structure",
        title="Does a wiring keep its worth when every value is drawn anew?",
        caption="Test accuracy against sparsity of wirings trained from fresh values: found at random, by a lottery, "
        "by DNW and by RigL. Means over seeds with 95 % intervals; the line across is the dense network.",
        alt="Lines of test accuracy against sparsity, one a method, all re-initialised, with the dense network as a "
        "level.",
    )


def control_figure(net: Paired, methods: Sequence[str], densities: Sequence[float]) -> Figure | None:
    """Per method: as found, re-initialised, and its controls, with the random wiring behind."""
    panels = []
    for method in methods:
        lines = [line(net, net.label("static", "structure"), densities, "random", "static")]
        for variant, text in VARIANTS.items():
            colour = CONTROL_COLOURS.get(variant, method)
            lines.append(line(net, net.label(method, variant), densities, text, colour))
        drawn = [series for series in lines if series is not None]
        if len(drawn) > 1:
            panels.append(_against_sparsity(words.method(method), drawn, densities, 2))
    return figure_of(
        panels,
        name="controls",
        title="Which part of the structure carries the accuracy?",
        caption=f"{net.model}. Test accuracy of each method's wiring as it was found (black), from fresh values, and "
        "from fresh values after its connections were rewired with all degrees kept, moved with in-degrees kept, or "
        "shuffled in each layer; random wirings with the budget of ERK behind. Means over seeds with 95 % intervals.",
        alt="For each method, lines of test accuracy against sparsity: as found, re-initialised, and three controls.",
    )


CONTROL_COLOURS = {"": "dense", "degrees": "top-kast", "in-degrees": "set", "shuffled": "edge-popup"}
"""What is not the re-initialised wiring borrows colours of methods that are not in this figure."""


def difference_figure(net: Paired, methods: Sequence[str], densities: Sequence[float]) -> Figure | None:
    """Re-initialised wirings and their shuffles above random ones, seed by seed; a panel a sparsity."""
    random = net.label("static", "structure")
    panels = []
    for density in densities:
        series = [Series(label="random", method="static", style="level", across=True, x=(0.0,), y=())]
        names: list[str] = []
        for method in methods:
            for variant in ("structure", "degrees", "in-degrees", "shuffled"):
                pairs = net.difference(net.label(method, variant), random, density)
                if method == "static" or not pairs.n:
                    continue
                name = f"{words.method(method)}, {VARIANTS[variant]}"
                series += seeds_row(name, method, Spread(pairs.values), len(names), runs=pairs.runs)
                names.append(name)
        if names:
            panels.append(
                rows_panel(
                    series,
                    title=f"{words.sparsity(density)} sparse",
                    x="test accuracy above random (points)",
                    rows=names,
                )
            )
    return figure_of(
        panels,
        name="differences",
        title="How much better than a random wiring, and how sure?",
        caption=f"{net.model}. Difference in test accuracy to random wirings at the same sparsity, all from the same "
        "fresh values, seed by seed: small dots are single seeds, large dots their mean, bars its 95 % interval "
        "(paired). A bar that crosses the line does not tell the wiring from a random one. DNW and RigL have the same "
        "number of connections in each layer, so the shuffle of one is the control of both.",
        alt="For each method and control its accuracy above random wirings: single seeds, mean and 95 % interval.",
    )


def baseline_figure(
    net: Paired, lines: Sequence[Series | None], densities: Sequence[float], caption: str
) -> Figure | None:
    """Whatever else one could train at that size or in that time."""
    drawn = [*_dense(net), *(series for series in lines if series is not None)]
    panels = [_against_sparsity("", drawn, densities, 1)] if len(drawn) > 1 else []
    return figure_of(
        panels,
        name="baselines",
        title="Is a sparse network worth it, against a small dense one?",
        caption=f"{net.model}. {caption}",
        alt="Lines of test accuracy against sparsity: sparse wirings, and small dense networks of equal size or time.",
    )


def line(net: Paired, label: str, densities: Sequence[float], text: str, colour: str) -> Series | None:
    """Mean accuracy from dense to sparse with its intervals; None where there is no run."""
    points = [(d, s, net.of(label, d)) for d in sorted(densities, reverse=True) if (s := net.accuracy(label, d))]
    ids = [tuple(r.id for r in by.values()) for _, _, by in points]
    return mean_line(text, colour, [(d, s) for d, s, _ in points], runs=ids) if points else None


def _dense(net: Paired) -> list[Series]:
    found = net.of("dense")
    if not found:
        return []
    mean = statistics.fmean(100 * r.test_accuracy_last for r in found.values())
    ids = tuple(r.id for r in found.values())
    return [Series(label="dense", method="dense", style="level", x=(), y=(mean,), runs=(ids,))]


def _against_sparsity(title: str, series: Sequence[Series], densities: Sequence[float], panels: int) -> Panel:
    ticks = sorted(densities, reverse=True)
    if panels == 1:
        return over_sparsity(series, ticks, title=title)
    return over_sparsity(series, ticks, title=title, size="half", labels="legend")
