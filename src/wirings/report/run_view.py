"""One run looked at: its curve, its layers, its wiring as pictures; as tables and figures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from wirings.analysis.degrees import dead_units
from wirings.core.topology import Topology
from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Picture, Series
from wirings.studies.tables import Column, Row, Table
from wirings.studies.views.structure import Track, histogram, histogram_edges, trace_panel
from wirings.training.records import Record

SIDE = 120
"""Pixels of an adjacency picture in each direction, at most."""


def curve_table(record: Record, *, most: int = 12) -> Table:
    """Loss and accuracy by epoch; of a long run so many rows, evenly, the last among them."""
    rows = record.metrics
    chosen = sorted({round(i) for i in np.linspace(0, len(rows) - 1, min(most, len(rows)))}) if rows else []
    name = "test" if any("test_accuracy" in row for row in rows) else "held_out"
    columns = (
        Column(title="Epoch", digits=1),
        Column(title="Step"),
        Column(title="Training loss", digits=4),
        Column(title=f"{_spoken(name)} accuracy", unit="%"),
        Column(title=f"{_spoken(name)} loss", digits=4),
        Column(title="Density", unit="%"),
    )
    return Table(
        name="curve",
        title="Its curve",
        columns=columns,
        rows=tuple(Row(values=_curve_values(rows[i], name)) for i in chosen),
    )


def _curve_values(row: dict[str, object], name: str) -> tuple[float | int | None, ...]:
    accuracy, loss = row.get(f"{name}_accuracy"), row.get(f"{name}_loss")
    return (
        _number(row["epoch"]),
        int(str(row["step"])),
        _number(row["loss"]),
        None if accuracy is None else 100 * float(str(accuracy)),
        _number(loss),
        100 * float(str(row["density"])),
    )


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _spoken(name: str) -> str:
    return name.replace("_", "-").capitalize()


def layer_table(record: Record) -> Table:
    """Each weight: shape, connections, density, fan-in, units that nothing enters or leaves."""
    wiring = record.wiring
    dead = dead_units(wiring)
    rows = []
    for name, topology in wiring.items():
        fan_in = topology.in_degrees.cpu().numpy()
        rows.append(
            Row(
                values=(
                    words.layer(name),
                    " x ".join(map(str, topology.shape)),
                    topology.nnz,
                    100 * topology.density,
                    f"{fan_in.min()} / {np.median(fan_in):g} / {fan_in.max()}",
                    len(dead[name].outputs),
                    len(dead[name].inputs),
                )
            )
        )
    columns = (
        Column(title="Layer"),
        Column(title="Shape", help="out x in"),
        Column(title="Connections"),
        Column(title="Density", unit="%"),
        Column(title="Fan-in", help="least / median / most connections into a unit"),
        Column(title="Units without input"),
        Column(title="Inputs not used", help="units below that nothing leaves"),
    )
    return Table(name="layers", title="Its layers", columns=columns, rows=tuple(rows))


def run_figures(record: Record) -> list[Figure]:
    """Curves, degrees, pictures of the wiring, and how it came about."""
    drawn = [_curves(record), _degrees(record), _pictures(record), _evolution(record)]
    return [figure for figure in drawn if figure is not None]


def _curves(record: Record) -> Figure | None:
    rows = record.metrics
    name = "test" if any("test_accuracy" in row for row in rows) else "held_out"
    seen = [row for row in rows if row.get(f"{name}_accuracy") is not None]
    if not seen:
        return None
    x = Axis(label="epoch", low=0)
    parts = [("training", "loss", ""), (_spoken(name).lower(), f"{name}_loss", record.method)]
    return Figure(
        name="curves",
        title="How did it learn?",
        caption=f"Left: accuracy on the {_spoken(name).lower()} images after each epoch. Right: mean "
        "loss in training (grey) "
        f"and on the {_spoken(name).lower()} images.",
        alt="Line charts of accuracy and loss by epoch.",
        panels=(
            Panel(
                title="accuracy",
                x=x,
                y=Axis(label=f"{_spoken(name).lower()} accuracy (%)"),
                series=(_by_epoch(seen, f"{name}_accuracy", words.method(record.method), record.method, 100.0),),
                size="half",
                labels="none",
            ),
            Panel(
                title="loss",
                x=x,
                y=Axis(label="cross-entropy (nats)", low=0),
                series=tuple(
                    _by_epoch(having, key, label, method)
                    for label, key, method in parts
                    if (having := [row for row in rows if row.get(key) is not None])
                ),
                size="half",
                labels="legend",
            ),
        ),
    )


def _by_epoch(rows: Iterable[dict[str, object]], key: str, label: str, method: str, times: float = 1.0) -> Series:
    pairs = [(float(str(row["epoch"])), times * float(str(row[key]))) for row in rows]
    return Series(label=label, method=method, x=tuple(x for x, _ in pairs), y=tuple(y for _, y in pairs))


def _degrees(record: Record) -> Figure | None:
    first = next(record.history())[1]
    panels: list[Panel] = []
    for name, topology in record.wiring.items():
        before = first[name] if first[name].nnz < first[name].numel else None
        last = topology.in_degrees.cpu().numpy()
        shown = [last] if before is None else [before.in_degrees.cpu().numpy(), last]
        edges, _ = histogram_edges(shown)
        panels.append(
            Panel(
                title=words.layer(name),
                x=Axis(label="inputs of a unit (in-degree)", low=0),
                y=Axis(label="units", low=0),
                series=histogram(before, last, edges, record.method),
                size="small",
                labels="legend" if not panels else "none",
            )
        )
    return Figure(
        name="degrees",
        title="How are the inputs shared out?",
        caption="In-degrees of each layer's units before training (grey, where the layer was sparse "
        "then) and after. The "
        "last bar of a layer gathers its farthest hubs.",
        alt="Histograms of in-degrees, one a layer.",
        panels=tuple(panels),
    )


def _pictures(record: Record) -> Figure | None:
    panels = []
    for name, topology in record.wiring.items():
        picture, block = adjacency(topology)
        size = f"{topology.shape[0]} x {topology.numel // topology.shape[0]}"
        told = "" if block == (1, 1) else f", {block[0]} x {block[1]} a pixel"
        panels.append(
            Panel(
                title=f"{words.layer(name)}: {size}{told}",
                picture=Picture(values=picture, unit="share of positions connected", method=record.method),
                size="small",
            )
        )
    return Figure(
        name="adjacency",
        title="What does the wiring look like?",
        caption="Each layer's weight, a row a unit, a column an input: where there is colour there "
        "are connections. Where a "
        "pixel stands for a block of positions its depth is the share of them that is connected, the "
        "fullest block of "
        "the layer in full colour; no connection is left out of the count.",
        alt="Pictures of each layer's adjacency, rows are units and columns inputs.",
        panels=tuple(panels),
    )


def adjacency(topology: Topology, side: int = SIDE) -> tuple[np.ndarray, tuple[int, int]]:
    """A topology as a picture of at most ``side`` x ``side`` pixels, and how many positions a pixel stands for.

    A pixel is the share of its block that is connected (of the part inside, at the borders), so the mean over positions
    is the density: nothing is sampled.
    """
    out = topology.shape[0]
    inputs = topology.numel // out
    block = (-(-out // side), -(-inputs // side))
    index = topology.index.cpu().numpy()
    shape = (-(-out // block[0]), -(-inputs // block[1]))
    counts = np.zeros(shape)
    np.add.at(counts, (index // inputs // block[0], index % inputs // block[1]), 1)
    heights = np.minimum(block[0], out - block[0] * np.arange(shape[0]))
    widths = np.minimum(block[1], inputs - block[1] * np.arange(shape[1]))
    return counts / np.outer(heights, widths), block


def _evolution(record: Record) -> Figure | None:
    track = Track(record)
    if all(wiring == track.wirings[0] for wiring in track.wirings):
        return None
    panels = tuple(trace_panel(track, name, words.layer(name)) for name in record.wiring)
    return Figure(
        name="evolution",
        title="How did the wiring come about?",
        caption="In-degree of units over training, one line a unit, chosen evenly from the least to "
        "the best connected at "
        "the end.",
        alt="Lines of in-degree over training time, one a unit, in a panel a layer.",
        panels=panels,
    )
