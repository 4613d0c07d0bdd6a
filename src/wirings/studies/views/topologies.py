"""What the study of Alford et al. (2019) shows: its published numbers, and tables and figures that lay ours beside."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from wirings.studies import words
from wirings.studies.alford import BIGGER, CIFAR, LARGER, PRUNED, SMALLER, STRANGE, STRUCTURES, UNSTABLE
from wirings.studies.alford_claims import FAILING, healthy, pick
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measures.topologies import REMOVED, OneTime, Shape, Thresholds
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Spread, Table, Value
from wirings.training.records import Record

NETS = {"fc": "LeNet-300-100, MNIST", "conv": "LeNet-5, MNIST", "cifar": "LeNet-5, CIFAR-10"}

PUBLISHED: dict[tuple[str, str], dict[float, float]] = {
    ("fc", "dense"): {1: 97.03},
    ("fc", "gradual"): {0.5: 97.50, 0.25: 97.44, 0.1: 97.40, 0.05: 97.30, 0.01: 96.83},
    ("fc", "gradual-structure"): {0.5: 97.03, 0.25: 97.05, 0.1: 97.02, 0.05: 96.34, 0.01: 96.08},
    ("fc", "one-time-structure"): {0.5: 96.88, 0.25: 96.82, 0.1: 96.19, 0.05: 95.65, 0.01: 56.08},
    ("conv", "dense"): {1: 99.25},
    ("conv", "gradual"): {0.5: 99.17, 0.25: 98.91, 0.1: 98.84, 0.05: 98.80, 0.01: 98.48},
    ("conv", "gradual-structure"): {0.5: 98.78, 0.25: 69.92, 0.1: 88.67, 0.05: 98.54, 0.01: 77.96},
    ("conv", "fig8-relu-on"): {0.5: 98.78, 0.25: 69.92, 0.1: 88.67, 0.05: 98.54, 0.01: 77.96},
    ("conv", "one-time-structure"): {0.5: 98.95, 0.25: 79.94, 0.1: 89.92, 0.05: 98.32, 0.01: 11.35},
    ("cifar", "dense"): {1: 80.14},
    ("cifar", "gradual"): {0.5: 79.59, 0.25: 79.08, 0.1: 74.90},
}
"""Network and what was done -> density -> test accuracy (%), each of a single run."""

SIZES: dict[tuple[str, str], dict[float, float]] = {
    ("fc", "bernoulli"): {0.01: 74.10, 0.05: 91.49, 0.1: 93.42, 0.5: 96.28, 1: 97.03, 2: 96.65, 10: 94.45, 100: 94.30},
    ("fc", "radix"): {0.1: 93.57, 10: 93.98},
    ("conv", "bernoulli"): {0.01: 49.36, 0.05: 98.38, 0.1: 98.77, 0.5: 99.20, 1: 99.20, 2: 99.14, 10: 98.91},
    ("cifar", "bernoulli"): {0.01: 9.99, 0.05: 71.34, 0.1: 74.61, 0.5: 79.22, 1: 80.14, 2: 80.40, 10: 79.35},
}
"""Network and structure -> factor -> test accuracy (%): below 1 a density, above 1 a size at equal connections."""

CURVES: dict[tuple[str, Literal["global", "local"]], dict[float, float]] = {
    ("fc", "global"): {0: 97.38, 0.25: 97.39, 0.5: 97.19, 0.6: 97.19, 0.7: 97.06, 0.75: 96.95, 0.8: 96.86, 0.85: 96.64,
                       0.9: 95.32, 0.95: 89.32, 0.97: 76.57},
    ("fc", "local"): {0: 97.03, 0.5: 96.79, 0.75: 94.92, 0.9: 85.47, 0.95: 50.71, 0.99: 19.36},
    ("conv", "global"): {0: 99.05, 0.25: 99.03, 0.5: 98.91, 0.6: 98.93, 0.7: 98.74, 0.75: 98.54, 0.8: 98.34,
                         0.85: 98.19, 0.9: 98.11, 0.95: 97.02, 0.97: 93.16},
}  # fmt: skip
"""One-time pruning without retraining: network and scope -> share removed -> test accuracy (%). Caffe's networks prune
biases too, and LeNet-300-100 has no layer of ten units there; their shares are rounded to ours by up to 1 %."""

KWAK = {"10,10 | 10": 91.05, "10,10,1": 60.3, "10 | 5,2": 95.68, "2,2 | 2": 95.22, "dense": 96.90}
"""Kwak et al. 2023, one seed: test accuracy (%)."""

DONE = {
    "dense": "dense",
    "gradual": "pruned gradually",
    "gradual-structure": "… its structure, retrained",
    "fig8-relu-off": "… its structure, retrained (one structure)",
    "fig8-relu-on": "… the same, ReLU on the logits",
    "gradual-shuffled": "… shuffled in each layer, retrained",
    "gradual-inverted": "… the other positions, retrained",
    "one-time-structure": "pruned at once, structure retrained",
    "small-dense": "small dense, as many weights",
}
"""What was done to a network, in the order of the table."""

CALLED = {
    "bernoulli": "random",
    "radix": "RadiX-Net",
    "radix-permuted": "RadiX-Net, units renamed",
    "bi-regular": "random, constant degrees",
    "x-net": "X-Linear / X-Conv (random expander)",
    "expander": "affine expander",
    "channels": "random channels, constant degrees",
    "static": "random (ERK)",
}
"""Structures, as people call them."""


def accuracy(records: Sequence[Record]) -> Spread | None:
    """Test accuracies in percent."""
    return Spread(tuple(100 * r.test_accuracy_last for r in records)) if records else None


def called(label: str) -> str:
    """What people call a structure or a method."""
    return CALLED.get(label, DONE.get(label, words.method(label)))


# ---------------------------------------------------------------------- tables


def tables(found: Findings) -> list[Table]:
    """All that have a row."""
    made = [
        pruning_table(found), size_table(found), instability_table(found), one_time_table(found), control_table(found),
        structure_table(found), strange_table(found), larger_table(found),
    ]  # fmt: skip
    return [table for table in made if table.rows]


_ACCURACY = (
    Column(title="Test accuracy", unit="%", help="of the last values; mean ± standard deviation over seeds"),
    Column(title="n", help="runs, a seed each"),
    Column(title="95 % interval", unit="%", help="of the mean (Student's t)"),
    Column(title="Published", unit="%", help="a single run each"),
)


def _accuracy(records: Sequence[Record], published: float | None) -> tuple[Value, ...]:
    spread = accuracy(records)
    return (spread, len(records), spread.interval if spread else None, published)


def pruning_table(found: Findings) -> Table:
    """Pruned gradually or at once, and structures trained again: the document's table, ours beside."""
    rows = []
    for net, name in NETS.items():
        for method, said in DONE.items():
            densities: Sequence[float] = CIFAR[found.preset] if net == "cifar" else PRUNED[found.preset]
            for density in (1.0,) if method == "dense" else densities:
                records = pick(found, net, method, density)
                published = PUBLISHED.get((net, method), {}).get(density)
                if records and (method, density) != ("fig8-relu-on", 1.0):
                    values = (name, said, words.sparsity(density), *_accuracy(records, published))
                    rows.append(Row(values=values, runs=_ids(records), method=_colour(method)))
    return Table(
        name="pruning",
        title="Pruned networks, and their structures trained again",
        columns=(Column(title="Network"), Column(title="What was done"), Column(title="Sparsity"), *_ACCURACY),
        rows=tuple(rows),
        caption="Published are single runs at the paper's scale (n = 1); several of them are draws from a distribution "
        "of two peaks, see the table on instability. Retrained: fresh initial values, the wiring alone is kept.",
    )


def size_table(found: Findings) -> Table:
    """RadiX-Nets and random structures, at equal size and at equal connections."""
    rows = []
    for net, name in NETS.items():
        for label in ("bernoulli", "radix"):
            factors = [*SMALLER[found.preset][net], 1, *BIGGER[found.preset][net]]
            for factor in factors:
                size, density = max(1, round(factor)), min(factor, 1 / factor)
                dense = label == "bernoulli" and factor == 1
                records = pick(found, net, "dense" if dense else label, density, size)
                published = SIZES.get((net, label), {}).get(factor)
                if not records:
                    continue
                what = "dense" if dense else called(label)
                kind = "as large as dense" if factor <= 1 else f"{factor} x the size, connections as dense"
                values = (name, what, kind, words.sparsity(density), *_accuracy(records, published))
                rows.append(Row(values=values, runs=_ids(records), method=_colour(label)))
    return Table(
        name="sizes",
        title="RadiX-Nets and random structures",
        columns=(Column(title="Network"), Column(title="Structure"), Column(title="Size"), Column(title="Sparsity"),
                 *_ACCURACY),
        rows=tuple(rows),
        caption="Sparse are the hidden layers of LeNet-300-100, and conv2 and the first linear layer of LeNet-5; the "
        "others are dense, as in the authors' code.",
    )  # fmt: skip


def instability_table(found: Findings) -> Table:
    """Fig. 8: one structure, many initial values: accuracies, failures, dead logits."""
    rows = []
    for net in ("conv", "fc"):
        for density in (1.0, *UNSTABLE[found.preset][net]):
            level = healthy(found, net, density)
            if not pick(found, net, "fig8-relu-on", density):
                continue
            for said in ("on", "off"):
                dense = density == 1.0 and said == "off"
                records = pick(found, net, "dense" if dense else f"fig8-relu-{said}", density)
                if not records:
                    continue
                dead = [int(r.results["dead_logits"]) for r in records]
                scores = [100 * r.test_accuracy_last for r in records]
                failed = None if level is None else 100 * statistics.fmean(s < level - FAILING for s in scores)
                counts = " ".join(f"{n}:{dead.count(n)}" for n in sorted(set(dead)))
                published = PUBLISHED.get((net, "gradual-structure"), {}).get(density) if said == "on" else None
                logits = "ReLU" if said == "on" else "linear"
                rows.append(
                    Row(
                        values=(
                            NETS[net],
                            words.sparsity(density),
                            logits,
                            accuracy(records),
                            min(scores),
                            len(records),
                            failed,
                            counts,
                            published,
                        ),
                        runs=_ids(records),
                        method=_colour(f"fig8-relu-{said}"),
                    )
                )
    return Table(
        name="instability",
        title="One pruned structure, many initial values",
        columns=(
            Column(title="Network"), Column(title="Sparsity"), Column(title="Logits"),
            Column(title="Test accuracy", unit="%", help="mean ± standard deviation over initial values"),
            Column(title="Worst", unit="%"), Column(title="n", help="initial values"),
            Column(title="Failed", unit="%", digits=0,
                   help=f"more than {FAILING:.0f} points below the median of the same structure with linear logits"),
            Column(title="Dead logits", help="number of classes that are never named : how many runs"),
            Column(title="Published", unit="%", help="one run, ReLU on the logits"),
        ),
        rows=tuple(rows),
        caption="Everything identical but the initial values. A dead logit is the same for every test image.",
    )  # fmt: skip


def one_time_table(found: Findings) -> Table:
    """One-time pruning without retraining."""
    rows = []
    for net, scope in CURVES:
        curves = _curves(found, net, scope)
        for removed in REMOVED if curves else ():
            values = tuple(curve["accuracy"][curve["removed"].index(removed)] for curve in curves)
            said = "one threshold for all" if scope == "global" else "each layer alike"
            published = CURVES[net, scope].get(removed)
            row = (NETS[net], said, words.sparsity(1 - removed), Spread(values), len(values), published)
            rows.append(Row(values=row))
    return Table(
        name="one-time",
        title="Pruned at once, not trained again",
        columns=(Column(title="Network"), Column(title="Scope"), Column(title="Sparsity"),
                 Column(title="Test accuracy", unit="%"), Column(title="n", help="trained networks"),
                 Column(title="Published", unit="%")),
        rows=tuple(rows),
        caption="The published curves with one threshold are of Caffe's networks, biases pruned too, at sparsities "
        "that differ from ours by up to 1 %.",
    )  # fmt: skip


def control_table(found: Findings) -> Table:
    """LeNet-300-100: what the retrained structure is worth beside its controls."""
    small = [
        (r.busy_seconds, 100 * r.test_accuracy_last)
        for d in PRUNED[found.preset]
        for r in pick(found, "fc", "small-dense", d)
    ]
    rows = []
    for density in PRUNED[found.preset]:
        structure = pick(found, "fc", "gradual-structure", density)
        if not structure:
            continue
        sides = [accuracy(pick(found, "fc", label, density)) for label in
                 ("gradual-structure", "gradual-shuffled", "gradual-inverted", "small-dense")]  # fmt: skip
        seconds = statistics.fmean(r.busy_seconds for r in structure)
        equal = interpolated(small, seconds)
        rows.append(Row(values=(words.sparsity(density), *sides, equal, seconds), runs=_ids(structure)))
    return Table(
        name="controls",
        title="LeNet-300-100: structures and their controls",
        columns=(Column(title="Sparsity"), Column(title="Structure, retrained", unit="%"),
                 Column(title="Shuffled in each layer", unit="%"), Column(title="The other positions", unit="%"),
                 Column(title="Small dense, equal weights", unit="%"),
                 Column(title="Small dense, equal seconds", unit="%",
                        help="between the small dense networks on both sides, by the logarithm of their seconds"),
                 Column(title="Wall time", unit="s", digits=1, help="of the retrained structure's run")),
        rows=tuple(rows),
        caption="Accuracy on the test images, mean ± standard deviation over seeds. Seconds are as measured on a "
        "machine that trained two runs at a time.",
    )  # fmt: skip


def interpolated(ladder: Sequence[tuple[float, float]], seconds: float) -> float | None:
    """Accuracy of small dense networks at so many seconds; None beyond the ladder's ends.

    Example:
        >>> interpolated([(1.0, 90.0), (4.0, 94.0)], 2.0)
        92.0
    """
    ladder = sorted(ladder)
    for (s0, a0), (s1, a1) in pairwise(ladder):
        if s0 <= seconds <= s1:
            share = 0.0 if s1 == s0 else (math.log(seconds) - math.log(s0)) / (math.log(s1) - math.log(s0))
            return a0 + share * (a1 - a0)
    return None


def structure_table(found: Findings) -> Table:
    """LeNet-300-100 at 90 %: degrees, gap, paths and dead units of each structure, and what it reaches."""
    rows = []
    for label in (*STRUCTURES, "gradual-structure", "gradual-shuffled", "one-time-structure"):
        records = pick(found, "fc", label, 0.1)
        shapes = [shape for r in records if (shape := found.measured(Shape(run=r.id))) is not None]
        if not shapes:
            continue
        names = ("gini_in", "gini_out", "ratio", "paths", "unconnected", "dead_inputs", "dead_units")
        means = {name: statistics.fmean(shape[name] for shape in shapes) for name in names}
        spread = statistics.fmean(shape["paths_sd"] / max(shape["paths"], 1e-12) for shape in shapes)
        rows.append(
            Row(
                values=(
                    called(label),
                    accuracy(records),
                    len(records),
                    means["gini_in"],
                    means["gini_out"],
                    means["ratio"],
                    means["paths"],
                    spread,
                    100 * means["unconnected"],
                    means["dead_inputs"],
                    means["dead_units"],
                ),
                runs=_ids(records),
                method=_colour(label),
            )
        )
    return Table(
        name="structures",
        title="LeNet-300-100 at 90 %: what structures look like",
        columns=(
            Column(title="Structure"), Column(title="Test accuracy", unit="%"), Column(title="n"),
            Column(title="In-degrees", unit="Gini", help="0: all units of the first layer have as many inputs"),
            Column(title="Out-degrees", unit="Gini", help="0: all pixels have as many connections"),
            Column(title="s2 / s1", help="second over first singular value of the first layer; small mixes well"),
            Column(title="Paths a pair", digits=1, help="from a pixel to a unit of the second layer, mean"),
            Column(title="… spread", help="standard deviation over mean; 0: all pairs alike"),
            Column(title="Pairs without", unit="%", digits=1),
            Column(title="Unused pixels", digits=0), Column(title="Dead units", digits=0, help="of 300"),
        ),
        rows=tuple(rows),
        caption="Pruned structures also prune the last layer, to 10 %; the others leave it dense.",
    )  # fmt: skip


def strange_table(found: Findings) -> Table:
    """RadiX-Nets over all layers (Kwak et al. 2023)."""
    rows = []
    for name in ("dense", *STRANGE, "10,10 | 10 permuted"):
        records = pick(found, "kwak", f"kwak-{name}")
        if records:
            widths = "" if name not in STRANGE else str(list(STRANGE[name][1]))
            density = 100 * statistics.fmean(r.density for r in records)
            values = (name, widths, density, *_accuracy(records, KWAK.get(name)))
            rows.append(Row(values=values, runs=_ids(records), method=_colour("radix")))
    return Table(
        name="strange",
        title="Strange RadiX-Nets",
        columns=(Column(title="Systems"), Column(title="Dense widths"), Column(title="Density", unit="%"), *_ACCURACY),
        rows=tuple(rows),
        caption="784-300-100-10, all layers from one RadiX-Net, trimmed; Adam, batches of 512, 5 epochs of MNIST, as "
        "Kwak et al. 2023 (published: one seed).",
    )


def larger_table(found: Findings) -> Table:
    """ResNet-20 and VGG-11 at 90 %, overnight."""
    rows = []
    labels = ("dense", "radix", "radix-permuted", "x-net", "channels", "bernoulli", "static", "rigl", "gradual",
              "gradual-structure")  # fmt: skip
    for net in LARGER:
        for label in labels:
            records = pick(found, net, label)
            if records:
                spread = accuracy(records)
                density = 100 * statistics.fmean(r.density for r in records)
                effective = 100 * statistics.fmean(r.effective_density for r in records)
                interval = spread.interval if spread else None
                values = (net, called(label), density, effective, spread, len(records), interval)
                rows.append(Row(values=values, runs=_ids(records), method=_colour(label)))
    return Table(
        name="larger",
        title="Larger networks at 90 %, CIFAR-10",
        columns=(Column(title="Network"), Column(title="Structure"), Column(title="Density", unit="%"),
                 Column(title="On a path", unit="%"), *_ACCURACY[:3]),
        rows=tuple(rows),
        caption="The first convolution and the classifier are dense. RadiX-Nets, X-Convs and random channels wire "
        "channels, with whole kernels; the others single weights.",
    )  # fmt: skip


# ---------------------------------------------------------------------- figures


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
    if not panels:
        return None
    return Figure(
        name="instability",
        title="How much do initial values alone decide?",
        caption="One structure in each panel, a dot for each set of initial values; all else is identical. With a ReLU "
        "on the logits a class can die: runs then stay near 90, 80, 70 % of what they could reach, one step a class. "
        "0 % sparse is the dense network.",
        alt="Clouds of test accuracies, one panel a sparsity: runs with and without a ReLU on the logits.",
        panels=tuple(panels),
    )


def _cloud(records: Sequence[Record], place: float, label: str, said: str) -> Series:
    """A dot a run around its place, spread out in the order of seeds so that equal ones can be told apart."""
    n = len(records)
    return Series(
        label=label,
        method=_colour(f"fig8-relu-{said}"),
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
        for scope, said, colour in _SCOPES:
            curves = _curves(found, net, scope)
            if curves:
                spreads = [Spread(tuple(curve["accuracy"][i] for curve in curves)) for i in range(len(REMOVED))]
                y = tuple(s.mean for s in spreads)
                series.append(Series(label=said, method=colour, x=tuple(1 - r for r in REMOVED), y=y))
            published = CURVES.get((net, scope))
            if series and published:
                x, y = tuple(1 - r for r in published), tuple(published.values())
                series.append(Series(label=f"published, {said}", method=colour, x=x, y=y, quiet=True))
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
    if not panels:
        return None
    return Figure(
        name="one-time",
        title="How much can be pruned at once, without retraining?",
        caption="Test accuracy of trained networks whose smallest weights were set to zero, mean over networks; "
        "published values as hollow points on dotted lines.",
        alt="Lines of test accuracy against sparsity for one-time pruning, ours and the published ones.",
        panels=tuple(panels),
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
    if not panels:
        return None
    return Figure(
        name="gradual",
        title="What happens while a network is pruned gradually?",
        caption="Sparsity of each layer (all follow the same s(t), so the lines lie on each other), the magnitude "
        "below which each layer's weights are cut, and accuracy on held-out images after each epoch; one seed.",
        alt="Lines over training time: layer sparsities, layer thresholds, accuracy.",
        panels=tuple(panels),
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
            panels.append(_sparsity_panel(NETS[net], series, PRUNED[found.preset]))
    if not panels:
        return None
    return Figure(
        name="retrained",
        title="Is a pruned structure worth anything to fresh values?",
        caption="Test accuracy against sparsity, mean over seeds with 95 % interval. Retrained structures start from "
        "fresh values; shuffled ones keep each layer's density only.",
        alt="Lines of test accuracy against sparsity for pruned networks, retrained structures and controls.",
        panels=tuple(panels),
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
                series.append(Series(label=name, method=_colour(label), x=x, y=y, quiet=True))
        if series:
            panels.append(_sparsity_panel(NETS[net], series, sorted({x for s in series for x in s.x})))
    if not panels:
        return None
    return Figure(
        name="sizes",
        title="What do structures written before training cost?",
        caption="Networks of the dense size: test accuracy against the sparsity of the layers that are wired, mean "
        "over seeds with 95 % interval. Hollow points on dotted lines are the published ones, a single run each. A "
        "random structure without a missing weight is the dense network.",
        alt="Lines of test accuracy against sparsity for random structures and RadiX-Nets, with published values.",
        panels=tuple(panels),
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
    spreads = [Spread(tuple(100 * r.test_accuracy_last for r in records)) for _, records in points]
    spans = [s.interval for s in spreads]
    return Series(
        label=label,
        method=_colour(method),
        x=tuple(d for d, _ in points),
        y=tuple(s.mean for s in spreads),
        low=tuple(s.mean if span is None else span.low for s, span in zip(spreads, spans, strict=True)),
        high=tuple(s.mean if span is None else span.high for s, span in zip(spreads, spans, strict=True)),
        runs=tuple(_ids(records) for _, records in points),
    )


def _sparsity_panel(title: str, series: Sequence[Series], ticks: Sequence[float]) -> Panel:
    axis = Axis(label="sparsity (share of weights missing)", scale="sparsity", ticks=tuple(ticks))
    return Panel(
        title=title, x=axis, y=Axis(label="test accuracy (%)"), series=tuple(series), size="half", labels="legend"
    )


def _curves(found: Findings, net: str, scope: Literal["global", "local"]) -> list[Any]:
    asked = [OneTime(run=r.id, scope=scope) for r in pick(found, net, "dense")]
    return [curve for m in asked if (curve := found.measured(m)) is not None]


def _ids(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(record.id for record in records)


_COLOURS = {"bernoulli": "static", "x-net": "expander", "fig8-relu-off": "dense"}


def _colour(label: str) -> str:
    """The method whose colour a label has."""
    return _COLOURS.get(label, label)


__all__ = ["CURVES", "NETS", "PUBLISHED", "SIZES", "accuracy", "called", "figures", "interpolated", "tables"]
