"""Tables of the study of Alford et al. (2019): our numbers beside the published ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from wirings.studies import words
from wirings.studies.alford import BIGGER, CIFAR, LARGER, PRUNED, SMALLER, STRANGE, STRUCTURES, UNSTABLE
from wirings.studies.alford_claims import FAILING, healthy, pick
from wirings.studies.measures.topologies import REMOVED, Shape
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Spread, Table, Value
from wirings.studies.views.alford import (
    CURVES,
    DONE,
    KWAK,
    NETS,
    PUBLISHED,
    SIZES,
    accuracy,
    called,
    colour,
    curves_of,
    ids,
)
from wirings.training.records import Record


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
                    rows.append(Row(values=values, runs=ids(records), method=colour(method)))
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
                rows.append(Row(values=values, runs=ids(records), method=colour(label)))
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
                        runs=ids(records),
                        method=colour(f"fig8-relu-{said}"),
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
        curves = curves_of(found, net, scope)
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
        rows.append(Row(values=(words.sparsity(density), *sides, equal, seconds), runs=ids(structure)))
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
                runs=ids(records),
                method=colour(label),
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
            rows.append(Row(values=values, runs=ids(records), method=colour("radix")))
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
                rows.append(Row(values=values, runs=ids(records), method=colour(label)))
    return Table(
        name="larger",
        title="Larger networks at 90 %, CIFAR-10",
        columns=(Column(title="Network"), Column(title="Structure"), Column(title="Density", unit="%"),
                 Column(title="On a path", unit="%"), *_ACCURACY[:3]),
        rows=tuple(rows),
        caption="The first convolution and the classifier are dense. RadiX-Nets, X-Convs and random channels wire "
        "channels, with whole kernels; the others single weights.",
    )  # fmt: skip
