"""Figures of the study of Alford et al. (2019), the published numbers in them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from wirings.studies import words
from wirings.studies.alford import PRUNED, SMALLER, STRANGE, UNSTABLE
from wirings.studies.alford_claims import pick
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measures.topologies import REMOVED, Thresholds
from wirings.studies.study import Findings
from wirings.studies.tables import Spread
from wirings.studies.views.alford import CURVES, DONE, NETS, SIZES, called, colour, curves_of, ids
from wirings.studies.views.parts import figure_of, mean_line, over_sparsity
from wirings.training.records import Record


def figures(found: Findings) -> list[Figure]:
    """All that have data."""
    drawn = [distribution_figure(found), one_time_figure(found), gradual_figure(found), retrained_figure(found),
             size_figure(found), strange_figure(found)]  # fmt: skip
    return [figure for figure in drawn if figure is not None]


def distribution_figure(found: Findings) -> Figure | None:
    """Fig. 8: the accuracies that many initial values of one structure reach."""
    panels = []
    for net in ("conv", "fc"):
        for density in (1.0, *UNSTABLE[found.preset][net]):
            series = []
            if not pick(found, net, "fig8-relu-on", density):
                continue
            for place, said in enumerate(("on", "off")):
                dense = density == 1.0 and said == "off"
                records = pick(found, net, "dense" if dense else f"fig8-relu-{said}", density)
                if records:
                    series.append(_cloud(records, float(place), "ReLU" if said == "on" else "linear", said))
            if series:
                panels.append(
                    Panel(
                        title=f"{NETS[net].split(',')[0]}, {words.sparsity(density)} sparse",
                        x=Axis(names=("ReLU on the logits", "linear logits"), low=-0.5, high=1.5),
                        y=Axis(label="test accuracy (%)", low=0, high=100, ticks=(11, 50, 60, 70, 80, 90, 100)),
                        series=tuple(series),
                        size="half",
                        labels="none",
                    )
                )
    return figure_of(
        panels,
        name="instability",
        title="How much do initial values alone decide?",
        caption="One structure in each panel, a dot for each set of initial values; all else is identical. With a ReLU "
        "on the logits a class can die: runs then stay near 90, 80, 70 % of what they could reach, one step a class. "
        "0 % sparse is the dense network.",
        alt="Clouds of test accuracies, one panel a sparsity: runs with and without a ReLU on the logits.",
    )


def _cloud(records: Sequence[Record], place: float, label: str, said: str) -> Series:
    """A dot a run around its place, spread out in the order of seeds so that equal ones can be told apart."""
    n = len(records)
    return Series(
        label=label,
        method=colour(f"fig8-relu-{said}"),
        style="points",
        x=tuple(place + 0.5 * ((i + 0.5) / n - 0.5) for i in range(n)),
        y=tuple(100 * r.test_accuracy_last for r in records),
        runs=tuple((r.id,) for r in records),
    )


_SCOPES: tuple[tuple[Literal["global", "local"], str, str], ...] = (
    ("global", "one threshold", "magnitude"),
    ("local", "each layer alike", "gradual"),
)


def one_time_figure(found: Findings) -> Figure | None:
    """Accuracy against the share removed at once."""
    panels = []
    for net in ("fc", "conv"):
        series = []
        for scope, said, method in _SCOPES:
            curves = curves_of(found, net, scope)
            if curves:
                spreads = [Spread(tuple(curve["accuracy"][i] for curve in curves)) for i in range(len(REMOVED))]
                y = tuple(s.mean for s in spreads)
                series.append(Series(label=said, method=method, x=tuple(1 - r for r in REMOVED), y=y))
            published = CURVES.get((net, scope))
            if series and published:
                x, y = tuple(1 - r for r in published), tuple(published.values())
                series.append(Series(label=f"published, {said}", method=method, x=x, y=y, quiet=True))
        if series:
            panels.append(
                Panel(
                    title=NETS[net],
                    x=Axis(
                        label="sparsity (share of weights removed)", scale="sparsity", ticks=(1, 0.5, 0.1, 0.05, 0.01)
                    ),
                    y=Axis(label="test accuracy (%)", low=0, high=100),
                    series=tuple(series),
                    size="half",
                    labels="legend",
                )
            )
    return figure_of(
        panels,
        name="one-time",
        title="How much can be pruned at once, without retraining?",
        caption="Test accuracy of trained networks whose smallest weights were set to zero, mean over networks; "
        "published values as hollow points on dotted lines.",
        alt="Lines of test accuracy against sparsity for one-time pruning, ours and the published ones.",
    )


def gradual_figure(found: Findings) -> Figure | None:
    """Sparsity and threshold of each layer, and accuracy, over a gradual pruning."""
    panels = []
    for net in ("fc", "cifar"):
        traced = [
            (r, t) for r in pick(found, net, "gradual") if (t := found.measured(Thresholds(run=r.id))) is not None
        ]
        if not traced:
            continue
        record, trace = traced[0]
        x = tuple(100 * step / trace["steps"] for step in trace["step"])
        over, ids = Axis(label="training done (%)", low=0, high=100), ((record.id,),) * len(x)
        sparsity, levels = [], []
        for name, layer in trace["layers"].items():
            missing = tuple(100 * (1 - density) for density in layer["density"])
            sparsity.append(Series(label=words.layer(name), method=name, x=x, y=missing, runs=ids))
            cut = tuple(layer["threshold"])
            levels.append(Series(label=words.layer(name), method=name, x=x, y=cut, runs=ids))
        rows = [row for row in record.metrics if row["step"]]
        learnt = Series(
            label="held-out images",
            method="gradual",
            x=tuple(100 * row["step"] / trace["steps"] for row in rows),
            y=tuple(100 * row["held_out_accuracy"] for row in rows if "held_out_accuracy" in row),
        )
        title = NETS[net]
        panels += [
            Panel(title=title, x=over, y=Axis(label="layer sparsity (%)"), series=tuple(sparsity), size="small",
                  labels="legend"),
            Panel(title=title, x=over, y=Axis(label="layer threshold |w|"), series=tuple(levels), size="small"),
            Panel(title=title, x=over, y=Axis(label="accuracy (%)"), series=(learnt,), size="small", labels="none"),
        ]  # fmt: skip
    return figure_of(
        panels,
        name="gradual",
        title="What happens while a network is pruned gradually?",
        caption="Sparsity of each layer (all follow the same s(t), so the lines lie on each other), the magnitude "
        "below which each layer's weights are cut, and accuracy on held-out images after each epoch; one seed.",
        alt="Lines over training time: layer sparsities, layer thresholds, accuracy.",
    )


def retrained_figure(found: Findings) -> Figure | None:
    """Accuracy against sparsity: pruned, retrained, controls."""
    panels = []
    for net in ("fc", "conv"):
        series = []
        for method in DONE:
            cells = [(d, pick(found, net, method, d)) for d in PRUNED[found.preset]]
            points = [(d, records) for d, records in cells if records]
            if points and method != "dense":
                series.append(_by_density(DONE[method].removeprefix("… "), method, points))
        dense = pick(found, net, "dense")
        if dense:
            level = statistics.fmean(100 * r.test_accuracy_last for r in dense)
            series.insert(0, Series(label="dense", method="dense", style="level", x=(), y=(level,)))
        if len(series) > 1:
            panels.append(over_sparsity(series, PRUNED[found.preset], title=NETS[net], size="half", labels="legend"))
    return figure_of(
        panels,
        name="retrained",
        title="Is a pruned structure worth anything to fresh values?",
        caption="Test accuracy against sparsity, mean over seeds with 95 % interval. Retrained structures start from "
        "fresh values; shuffled ones keep each layer's density only.",
        alt="Lines of test accuracy against sparsity for pruned networks, retrained structures and controls.",
    )


def size_figure(found: Findings) -> Figure | None:
    """Accuracy of random structures and RadiX-Nets of the dense size against density."""
    panels = []
    for net in NETS:
        series = []
        for label in ("bernoulli", "radix"):
            cells = [(d, pick(found, net, label, d)) for d in SMALLER[found.preset][net]]
            points = [(d, records) for d, records in cells if records]
            if points:
                if label == "bernoulli" and (dense := pick(found, net, "dense")):
                    points = [*points, (1.0, dense)]
                series.append(_by_density(called(label), label, sorted(points)))
                published = dict(sorted((f, v) for f, v in SIZES.get((net, label), {}).items() if f <= 1))
                x, y = tuple(published), tuple(published.values())
                name = f"{called(label)}, published (one run)"
                series.append(Series(label=name, method=colour(label), x=x, y=y, quiet=True))
        if series:
            ticks = sorted({x for s in series for x in s.x})
            panels.append(over_sparsity(series, ticks, title=NETS[net], size="half", labels="legend"))
    return figure_of(
        panels,
        name="sizes",
        title="What do structures written before training cost?",
        caption="Networks of the dense size: test accuracy against the sparsity of the layers that are wired, mean "
        "over seeds with 95 % interval. Hollow points on dotted lines are the published ones, a single run each. A "
        "random structure without a missing weight is the dense network.",
        alt="Lines of test accuracy against sparsity for random structures and RadiX-Nets, with published values.",
    )


def strange_figure(found: Findings) -> Figure | None:
    """Accuracies of RadiX-Nets, most of them of one density."""
    names = [n for n in (*STRANGE, "10,10 | 10 permuted") if pick(found, "kwak", f"kwak-{n}")]
    if not names:
        return None
    clouds = [
        _cloud(pick(found, "kwak", f"kwak-{name}"), float(place), name, "off") for place, name in enumerate(names)
    ]
    panel = Panel(
        x=Axis(label="systems", names=tuple(names)),
        y=Axis(label="test accuracy (%)"),
        series=tuple(clouds),
        labels="none",
    )
    return Figure(
        name="strange",
        title="Do RadiX-Nets of equal density train equally well?",
        caption="A dot a seed. 10,10 | 10 and 10,10,1 differ in the last layer alone: ten inputs a class, or one. "
        "10 | 5,2 and 2,2 | 2 are denser.",
        alt="Clouds of test accuracies, one for each RadiX-Net.",
        panels=(panel,),
    )


def _by_density(label: str, method: str, points: Sequence[tuple[float, Sequence[Record]]]) -> Series:
    spreads = [(d, Spread(tuple(100 * r.test_accuracy_last for r in records))) for d, records in points]
    return mean_line(label, colour(method), spreads, runs=[ids(records) for _, records in points])
