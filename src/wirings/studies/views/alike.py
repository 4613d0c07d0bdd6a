"""Networks beside their original: a table over all layers and one layer by layer, curves, and layer x layer maps."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from wirings.studies import words
from wirings.studies.blakeney import BASELINES, ROLES, Net, Seen, densities_of
from wirings.studies.figures import Axis, Figure, Panel, Picture, Series
from wirings.studies.tables import Column, Row, Spread, Table, Value
from wirings.studies.views.parts import figure_of, mean_line, over_sparsity

Groups = Mapping[tuple[str, str, float], Sequence[Seen]]
"""(network, role, density) -> what was seen, by seed."""


def networks_table(groups: Groups) -> Table:
    columns = (
        Column(title="Network"),
        Column(title="Beside the original"),
        Column(title="Sparsity"),
        Column(title="Test accuracy", unit="%", help="of the last values; mean ± standard deviation over seeds"),
        Column(title="Below the original", unit="points", signed=True, help="seed by seed"),
        Column(title="… 95 % interval", unit="points", signed=True),
        Column(title="SVCCA", digits=3, help="to the original, mean over layers"),
        Column(title="PWCCA", digits=3),
        Column(title="CKA", digits=3, help="linear"),
        Column(title="Procrustes", digits=3),
        Column(title="SVCCA of chance", digits=3, help="the noise floor: representations that lie at random"),
        Column(title="n", help="seeds"),
    )
    rows = []
    for (net, role, density), side in groups.items():
        trained = [one.meeting.other for one in side if one.meeting.other is not None]
        lost = Spread(tuple(one.meeting.lost for one in side))
        rows.append(
            Row(
                values=(
                    net,
                    ROLES[role],
                    words.sparsity(density),
                    Spread(tuple(100 * r.test_accuracy_last for r in trained)) if trained else None,
                    lost.mean if trained else None,
                    lost.interval if trained else None,
                    *(Spread(tuple(one.mean(m) for one in side)) for m in ("svcca", "pwcca", "cka", "procrustes")),
                    statistics.fmean(one.floor for one in side),
                    len(side),
                ),
                runs=tuple(one.meeting.id for one in side),
            )
        )
    caption = (
        "Similarity of each network's layers to the same layers of the original, which is 1 for the original itself. "
        '"Dense, other seed" is what two trainings of one architecture have in common. Structures and random wirings '
        "begin with fresh values; the other data order begins with the original's."
    )
    return Table(name="networks", title="Everyone beside the original", columns=columns, rows=tuple(rows),
                 caption=caption)  # fmt: skip


def layers_table(groups: Groups) -> Table:
    measures = {"svcca": "SVCCA", "pwcca": "PWCCA", "cka": "CKA", "procrustes": "Procrustes"}
    columns = (
        Column(title="Network"),
        Column(title="Beside the original"),
        Column(title="Sparsity"),
        Column(title="Layer"),
        *(Column(title=title, digits=3) for title in measures.values()),
        Column(title="SVCCA of chance", digits=3),
    )
    rows = []
    for (net, role, density), side in groups.items():
        for place, layer in enumerate(side[0].result["layers"]):
            spreads: list[Value] = [Spread(tuple(one.curve(m)[place] for one in side)) for m in measures]
            noise = statistics.fmean(one.result["curves"]["svcca"]["noise"][place] for one in side)
            rows.append(
                Row(
                    values=(net, ROLES[role], words.sparsity(density), layer, *spreads, noise),
                    runs=tuple(one.meeting.id for one in side),
                )
            )
    return Table(name="layers", title="Layer by layer", columns=columns, rows=tuple(rows),
                 caption="Mean ± standard deviation over seeds.")  # fmt: skip


def layer_figure(nets: Sequence[Net], groups: Groups) -> Figure:
    panels = [
        Panel(
            title=f"{net.title}, {title}, {words.sparsity(net.again[0])} sparse",
            x=Axis(label="layer", names=tuple(_first(net, groups).result["layers"])),
            y=Axis(label=f"{title} to the original", low=0, high=1),
            series=(*_layer_lines(net, groups, measure), _noise(net, groups, measure)),
            labels="direct" if len(_first(net, groups).result["layers"]) >= _MAPPED else "legend",
        )
        for net in nets
        for measure, title in (("svcca", "SVCCA"), ("cka", "linear CKA"))
    ]
    return Figure(
        name="layers",
        title="In which layers does a sparse network differ from its original?",
        caption="Similarity of each layer to the same layer of the dense original, mean over seeds with 95 % intervals."
        " Where sparse networks lie on the line of another dense seed, they share with the original what any training "
        "shares. The thin line is what chance alone gives.",
        alt="Lines of similarity over the layers, one for each kind of network, with the noise floor below.",
        panels=tuple(panels),
    )


def _layer_lines(net: Net, groups: Groups, measure: str) -> list[Series]:
    lines = []
    for role, title in ROLES.items():
        side = groups.get((net.title, role, 1.0 if role in BASELINES else net.again[0]))
        if side:
            spreads = [Spread(values) for values in zip(*(one.curve(measure) for one in side), strict=True)]
            lines.append(_line(title, role, [float(i) for i in range(len(spreads))], spreads, side))
    return lines


def _line(title: str, role: str, x: Sequence[float], spreads: Sequence[Spread], side: Sequence[Seen]) -> Series:
    ids = tuple(one.meeting.id for one in side)
    return mean_line(title, _colour(role), list(zip(x, spreads, strict=True)), runs=[ids] * len(spreads))


_COLOUR = {"pruned": "gradual", "random": "static", "seed": "dense"}
"""Role -> the method whose colour its lines have; the others have colours of their own."""


def _colour(role: str) -> str:
    return _COLOUR.get(role, f"changed-{role}")


def _noise(net: Net, groups: Groups, measure: str) -> Series:
    """Of two whole networks where there are such: a layer that is dead in one has nothing to compare, and no floor."""
    side = groups.get((net.title, "seed", 1.0)) or [_first(net, groups)]
    noise = side[0].result["curves"][measure]["noise"]
    return Series(label="chance", x=tuple(float(i) for i in range(len(noise))), y=tuple(noise), style="trace")


def _first(net: Net, groups: Groups) -> Seen:
    return next(side[0] for (title, _, _), side in groups.items() if title == net.title)


def density_figure(nets: Sequence[Net], groups: Groups) -> Figure | None:
    panels = []
    for net in nets:
        lines: list[Series] = []
        for role, title in ROLES.items():
            sides = [(d, side) for d in densities_of(net, role) if (side := groups.get((net.title, role, d)))]
            spreads = [Spread(tuple(one.mean("svcca") for one in side)) for _, side in sides]
            if role in BASELINES and sides:
                lines.append(Series(label=title, x=(), y=(spreads[0].mean,), style="level", method=_colour(role)))
            elif sides:
                lines.append(_line(title, role, [density for density, _ in sides], spreads, sides[0][1]))
        if any(line.style == "line" for line in lines):
            y = Axis(label="SVCCA to the original, mean over layers", low=0, high=1)
            panels.append(over_sparsity(lines, net.densities, title=net.title, y=y))
    return figure_of(
        panels,
        name="sparsity",
        title="Do networks move away from their original as they are pruned?",
        caption="SVCCA to the dense original, mean over layers and seeds, with 95 % intervals. The levels are the "
        "original architecture trained with other data order or from another seed, and untrained.",
        alt="SVCCA to the original against sparsity, a line for each kind of sparse network, levels for dense ones.",
    )


_SHORT = {"tuned": "fine-tuned", "order": "other order", "seed": "other seed"}
"""Titles of maps, where the role says it less well."""


_FAINT = 0.3
"""Similarity up to which a map has no colour: about that of networks that were never trained."""

_MAPPED = 4
"""Layers that a network must have for a map of them to show anything."""


def map_figures(every: Sequence[Seen]) -> list[Figure]:
    """A figure a network: the original's layers against those of every other."""
    shown: dict[str, list[Seen]] = {}
    for one in every:
        if "maps" in one.result and one.meeting.density in (1.0, one.meeting.net.again[0]):
            shown.setdefault(one.meeting.net.title, []).append(one)
    return [_maps(title, of) for title, of in shown.items() if len(of[0].result["layers"]) >= _MAPPED]


def _maps(title: str, every: Sequence[Seen]) -> Figure:
    layers = tuple(every[0].result["layers"])
    panels = tuple(
        Panel(
            title=_SHORT.get(one.meeting.role, one.meeting.role),
            x=Axis(label="layer of the other", names=layers),
            y=Axis(label="layer of the original", names=layers),
            picture=Picture(
                values=np.asarray(one.result["maps"]["svcca"]), unit="SVCCA", method="rigl", none=_FAINT, full=1.0
            ),
            size="tile",
        )
        for one in every
    )
    return Figure(
        name=f"maps-{title.lower()}",
        title=f"{title}: does a layer still resemble the same layer most?",
        caption="SVCCA of every layer of the original (down) with every layer of the other network (across), for the "
        f"first seed, from {layers[0]} (top, left) to {layers[-1]}: no colour up to {_FAINT}, full colour at 1. A dark "
        "diagonal says that layers keep their places. Layers of different size are averaged down to the smaller.",
        alt="Maps of similarity, layer by layer, one for each kind of network.",
        panels=panels,
    )
