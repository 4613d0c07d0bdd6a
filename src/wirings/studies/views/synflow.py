"""Tables and figures of the study `synflow`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from wirings.studies import synflow_plan as plan
from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measures.synflow import (
    SCORERS,
)
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Spread, Table, Value
from wirings.studies.views.comparison import accuracy_figure
from wirings.training.records import Record

PUBLISHED = {
    ("vgg-16/100", "random"): "2.75",
    ("vgg-16/100", "magnitude"): "2.75",
    ("vgg-16/100", "snip"): "3.5 (CIFAR-100, 100 rounds)",
    ("vgg-16/100", "grasp-synflow-data"): "3.5 (CIFAR-100, 100 rounds)",
    ("vgg-16/100", "synflow"): "≥ 5.75",
    ("vgg-16/10", "random"): "2.5 (learns above chance)",
    ("vgg-16/10", "magnitude"): "2.25 (learns above chance)",
    ("vgg-16/10", "snip"): "≥ 3 (learns above chance)",
    ("vgg-16/10", "grasp-synflow-data"): "≥ 3 (learns above chance)",
    ("vgg-16/10", "synflow"): "≥ 3 (learns above chance)",
    ("vgg-11/10", "random"): "3 (learns above chance)",
    ("vgg-11/10", "magnitude"): "2.25 (learns above chance)",
    ("vgg-11/10", "snip"): "≥ 3 (learns above chance)",
    ("vgg-11/10", "synflow"): "≥ 3 (learns above chance)",
    ("resnet-18/100, fan-out", "magnitude"): "1.0 (learns above chance)",
    ("resnet-18/100, fan-out", "random"): "≥ 3 (learns above chance)",
    ("resnet-18/100, fan-out", "synflow"): "≥ 3 (learns above chance)",
    ("vgg-19 for ImageNet", "random"): "3.61 (conv1)",
    ("vgg-19 for ImageNet", "magnitude"): "2.71 (fc2, fc3)",
    ("vgg-19 for ImageNet", "snip"): "4.21 (fc1)",
    ("vgg-19 for ImageNet", "synflow"): "> 6.61",
}
"""(network, scorer) -> the published critical exponent, or the largest one at which a trained network beat chance."""

PUBLISHED_CONSERVATION = {
    "random": (0.0001, 0.0),
    "magnitude": (0.74, 0.20),
    "snip": (0.53, 0.56),
    "grasp": (0.9999, 1.02),
    "synflow": (1.0, 1.00),
}
"""Scorer -> published correlation of what enters and leaves a unit, and slope (VGG-19 for ImageNet, figures 3 "
"and 4)."""


def tables(found: Findings) -> list[Table]:
    """Critical compressions, conservation, schedules, accuracies, controls, and what training does."""
    made = [_critical_table(found), _conserved_table(found), _ratio_table(found), *_accuracy_tables(found)]
    return [table for table in [*made, _control_table(found), _training_table(found)] if table.rows]


def _critical_table(found: Findings) -> Table:
    rows = []
    for net in plan.SCALES[found.preset].nets:
        for scorer in SCORERS:
            results = plan.exponents_of(found, net, scorer)
            if results:
                rows.append(_critical_row(net, scorer, results))
        results = plan.results(found, (m for name, m in plan.flowing(found) if name == net))
        if results:
            rows.append(_flow_row(net, results))
    for scorer in ("random", "magnitude"):
        results = plan.results(found, (m for m in plan.imagenet(found) if m.scorer == scorer))
        if results:
            rows.append(_critical_row("vgg-19 for ImageNet", scorer, results))
    return Table(
        name="critical",
        title="How far before a layer dies?",
        columns=(
            Column(title="Network", help="and the classes of its head"),
            Column(title="Scorer"),
            Column(title="Critical exponent", help="of the largest compression that leaves every layer a connection"),
            Column(title="95 % interval"),
            Column(title="n", help="seeds"),
            Column(title="Dies first", help="the layer, in how many of the seeds"),
            Column(title="A path up to", help="exponent (grid of 0.25) at which input and output are still joined"),
            Column(title="Maximal", help="one connection a layer"),
            Column(title="Published"),
        ),
        rows=tuple(rows),
        caption="Compression is ten to the exponent. Scores are taken once (SynFlow: a hundred times), over all "
        "convolutions and linear layers, 1×1 shortcuts and classifier included. SNIP and GraSP look at a hundred "
        "images of CIFAR-10. Published numbers marked “learns above chance” are the largest exponent at which a "
        "trained network did: compare them with the path, since a network can be cut in two while every layer "
        "keeps a connection. “fan-out”: first weights as in the publication's code for residual networks, whose "
        "classifier is drawn from a bounded interval.",
    )  # fmt: skip


def _critical_row(net: str, scorer: str, results: Sequence[dict[str, Any]]) -> Row:
    spread = Spread(tuple(r["exponent"] for r in results))
    (layer, times), *_ = Counter(r["first"] for r in results).most_common(1)
    cuts = tuple(r["cut"] for r in results if "cut" in r)
    return Row(
        values=(
            net,
            plan.NAMES[scorer],
            spread,
            spread.interval,
            spread.n,
            f"{words.layer(layer)} ({times} of {spread.n})",
            Spread(cuts) if cuts else None,
            results[0]["maximal"],
            PUBLISHED.get((net, scorer)),
        ),
        method="static" if scorer == "random" else scorer,
    )


def _flow_row(net: str, results: Sequence[dict[str, Any]]) -> Row:
    alive, tried = plan.alive(results), results[0]["tried"]
    empty = [t for r in results for t in r["tried"] if t["empty"]]
    least = min(empty, key=lambda t: t["exponent"]) if empty else None
    told: Value = Spread(tuple(alive)) if alive else f"< {tried[-1]['exponent']:g}"
    paths = tuple(max(p) for r in results if (p := [t["exponent"] for t in r["tried"] if t["path"]]))
    return Row(
        values=(
            net,
            plan.NAMES["synflow"],
            told,
            None,
            len(results),
            None if least is None else f"{_listed(least['empty'])} (at {least['exponent']:g})",
            Spread(paths) if paths else None,
            results[0]["maximal"],
            PUBLISHED.get((net, "synflow")),
        ),
        method="synflow",
    )


def _listed(names: Sequence[str]) -> str:
    layers = [words.layer(name) for name in names]
    return ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")


def _conserved_table(found: Findings) -> Table:
    rows = []
    for scorer in dict.fromkeys(s for s, _ in plan.conserved(found)):
        results = plan.results(found, (m for s, m in plan.conserved(found) if s == scorer))
        if results:
            published = PUBLISHED_CONSERVATION.get(scorer, (None, None))
            rows.append(
                Row(
                    values=(
                        plan.NAMES[scorer],
                        f"{max(r['error'] for r in results):.1e}",
                        Spread(tuple(r["correlation"] for r in results)),
                        published[0],
                        f"{max(r['cv'] for r in results):.1e}",
                        Spread(tuple(r["slope"] for r in results)),
                        published[1],
                        len(results),
                    )
                )
            )
    return Table(
        name="conservation",
        title="Which scores are conserved?",
        columns=(
            Column(title="Scorer"),
            Column(title="Error", help="largest relative difference of what enters and what leaves a unit; worst seed"),
            Column(title="Correlation", digits=4, help="of what enters and what leaves, over all units"),
            Column(title="… published", digits=4),
            Column(title="CV of layers", help="coefficient of variation of the layers' totals; worst seed"),
            Column(title="Slope", digits=3, help="of log average score against log 1/size"),
            Column(title="… published", digits=2),
            Column(title="n", help="seeds"),
        ),
        rows=tuple(rows),
        caption=f"{plan.SCALES[found.preset].conserved.model} for CIFAR-10 at its first weights, in float64, batch "
        "norm in evaluation mode, twenty images for SNIP and GraSP. The published network is VGG-19 for ImageNet "
        "without batch norm.",
    )  # fmt: skip


def _ratio_table(found: Findings) -> Table:
    net, exponents, schedules = plan.SCALES[found.preset].ratios
    results = {key: r["largest"] for key, m in plan.ratios(found) if (r := found.measured(m)) is not None}
    rows = []
    for exponent in exponents:
        values: list[Value] = [f"{exponent:g}"]
        for pace, rounds in schedules:
            ours = results.get((pace, rounds, exponent))
            published = plan.PUBLISHED_RATIOS[pace, rounds][plan.HALVES.index(exponent)]
            values.append(None if ours is None else f"{ours:.3g} ({published:g})")
        if any(value is not None for value in values[1:]):
            rows.append(Row(values=tuple(values)))
    return Table(
        name="schedules",
        title="How much of the flow goes in one round?",
        columns=(
            Column(title="Exponent"),
            *(Column(title=f"{pace}, {rounds}", help=f"{rounds} rounds") for pace, rounds in schedules),
        ),
        rows=tuple(rows),
        caption="The largest score removed in one round over the total flow; in brackets the published value, of "
        f"VGG-19 for ImageNet. Below 1 no layer can die. Here: {net.model} for CIFAR-10 at {net.width:g} of its "
        "widths, seed 0.",
    )  # fmt: skip


def _accuracy_tables(found: Findings) -> list[Table]:
    return [_accuracy_table(found, net) for net in plan.SCALES[found.preset].trained]


def _accuracy_table(found: Findings, net: str) -> Table:
    dense = plan.cell(found, net, "dense")
    rows = []
    if dense:
        values = (Spread(tuple(plan.accuracies(dense).values())), None, None, None, None, None)
        rows.append(Row(values=("0", "1", *values), runs=tuple(r.id for r in dense)))
    for exponent in plan.SCALES[found.preset].exponents[net]:
        cells = [plan.cell(found, net, method, exponent) for method in (*plan.METHODS, "small-dense")]
        if any(cells):
            spreads = (Spread(tuple(plan.accuracies(cell).values())) if cell else None for cell in cells)
            rows.append(
                Row(
                    values=(f"{exponent:g}", f"{10**-exponent:.4g}", *spreads),
                    runs=tuple(r.id for cell in cells for r in cell),
                )
            )
    settings = plan.SCALES[found.preset].trained[net]
    return Table(
        name=f"accuracy-{net}",
        title=f"Accuracy against compression: {net}",
        columns=(
            Column(title="Exponent"),
            Column(title="Density"),
            *(Column(title=words.method(method), unit="%") for method in (*plan.METHODS, "small-dense")),
        ),
        rows=tuple(rows),
        caption=f"Test accuracy on {settings['data']} after {_length(settings)}, mean ± sd over {len(found.seeds)} "
        "seeds; the dense network stands in the first row. A small dense network has as many weights; it is trained "
        "where controls are.",
    )  # fmt: skip


def _length(settings: Mapping[str, Any]) -> str:
    """How long a network of this size is trained."""
    steps = settings.get("steps")
    length = f"{settings['epochs']} epochs" if steps is None else f"{steps} steps of {settings['batch_size']} images"
    width = settings.get("model_settings", {}).get("width", 1)
    return length if width == 1 else f"{length} (widths times {width:g})"


def _control_table(found: Findings) -> Table:
    net = next(iter(plan.SCALES[found.preset].trained))
    rows = []
    for exponent, method in itertools.product(plan.controlled(found.preset), ("synflow", "snip", "magnitude")):
        for control in ("anew", "shuffled", "inverted"):
            values = list(plan.change(found, method, control, exponent).values())
            behind = plan.compared(found, method, control, exponent).values()
            if values:
                spread = Spread(tuple(values))
                rows.append(
                    Row(
                        values=(f"{exponent:g}", words.method(method), control, spread, spread.interval, spread.n),
                        runs=tuple(r.id for pair in behind for r in pair),
                        method=method,
                    )
                )
    return Table(
        name="controls",
        title="What is in the wiring?",
        columns=(
            Column(title="Exponent"),
            Column(title="Method"),
            Column(title="Control"),
            Column(title="Change", unit="points", signed=True),
            Column(title="95 % interval", unit="points", signed=True),
            Column(title="n"),
        ),
        rows=tuple(rows),
        caption=f"Change in test accuracy of {net}. Anew: the wiring with other first weights, less as found. "
        "Shuffled: as many connections in each layer at random, less the wiring as it was found, both with the "
        "same fresh weights. Inverted: as many connections in each layer, those of the least flow, less as found.",
    )  # fmt: skip


def _training_table(found: Findings) -> Table:
    rows: list[Row] = []
    drifts = [r["drift"] for r in plan.results(found, plan.drifts(found))]
    for moment in zip(*drifts, strict=False):
        slope, fit = (Spread(tuple(seed[key] for seed in moment)) for key in ("slope", "correlation"))
        what = f"slope of mean w² after {moment[0]['step']:,} steps"
        rows.append(Row(values=(what, slope, f"correlation {fit.mean:.3f}", slope.n)))
    thin = plan.results(found, plan.thinnest(found))
    for way in ("iterative", "at once"):
        if thin:
            layer, _ = Counter(r[f"{way}: layer"] for r in thin).most_common(1)[0]
            values = Spread(tuple(100 * r[way] for r in thin))
            what = f"thinnest layer, magnitude {way}, {words.sparsity(thin[0]['density'])} sparse (density, %)"
            rows.append(Row(values=(what, values, words.layer(layer), values.n)))
    if thin:
        values = Spread(tuple(r["critical at once"] for r in thin))
        layer, _ = Counter(r["critical at once: layer"] for r in thin).most_common(1)[0]
        rows.append(Row(values=("critical exponent of magnitude at once", values, words.layer(layer), values.n)))
    return Table(
        name="training",
        title="What does training do to layers?",
        columns=(Column(title="What"), Column(title="Value", digits=3), Column(title="With"), Column(title="n")),
        rows=tuple(rows),
        caption="Dense networks: the slope of log mean squared weight of a layer against log 1/size (published .43 "
        "before, .59 after). Lottery tickets after their last round, and their dense networks pruned to the same "
        "density at once.",
    )  # fmt: skip


def figures(found: Findings) -> list[Figure]:
    """When layers die, and what the wirings learn."""
    drawn = [_critical_figure(found)]
    for net in plan.SCALES[found.preset].trained:
        records = tuple(r for r in found.records if r.run.model == net and r.seed in found.seeds)
        figure = accuracy_figure(_only(found, records), (*plan.METHODS, "small-dense"))
        if figure is not None:
            drawn.append(_renamed(figure, net))
    return [figure for figure in drawn if figure is not None]


def _only(found: Findings, records: tuple[Record, ...]) -> Findings:
    import dataclasses

    return dataclasses.replace(found, records=records)


def _renamed(figure: Figure, net: str) -> Figure:
    import dataclasses

    title = f"How much accuracy survives pruning at initialisation? {net}"
    return dataclasses.replace(figure, name=f"accuracy-{net}", title=title)


def _critical_figure(found: Findings) -> Figure | None:
    nets = list(plan.SCALES[found.preset].nets)
    scorers = (*SCORERS, "synflow")
    series = []
    for lane, scorer in enumerate(scorers):
        aside = 0.13 * (lane - (len(scorers) - 1) / 2)  # a lane each: none lies on another
        points = []
        below = []
        for place, net in enumerate(nets):
            if scorer == "synflow":
                tried = plan.results(found, (m for name, m in plan.flowing(found) if name == net))
                values = plan.alive(tried)
                if tried and not values:
                    below.append((min(t["exponent"] for r in tried for t in r["tried"]), place + aside))
            else:
                values = [r["exponent"] for r in plan.exponents_of(found, net, scorer)]
            if values:
                points.append((sum(values) / len(values), place + aside, min(values), max(values)))
        method = "static" if scorer == "random" else scorer
        if points:
            x, y, low, high = zip(*points, strict=True)
            series.append(
                Series(
                    label=plan.NAMES[scorer], method=method, style="points", across=True, x=x, y=y, low=low, high=high
                )
            )
        if below:
            x, y = zip(*below, strict=True)
            label = f"{plan.NAMES[scorer]}, less than that"
            series.append(Series(label=label, method=method, style="points", across=True, x=x, y=y, bound="below"))
    if not series:
        return None
    return Figure(
        name="critical",
        title="How far can a network be pruned before a layer dies?",
        caption="The largest compression that leaves every layer a connection, mean and range over seeds. "
        "SynFlow's point is the largest compression of those tried, up to one connection a layer; an arrow stands at "
        "the smallest one tried where even that empties a layer (1×1 shortcuts).",
        alt="For each network a row of points, one a scorer, along the exponent of the critical compression.",
        panels=(
            Panel(
                x=Axis(label="critical compression (exponent of ten)"),
                y=Axis(names=tuple(nets)),
                series=tuple(series),
                labels="legend",
            ),
        ),
    )  # fmt: skip
