"""Sensitivity: how a finished sparse network bears losing more of its connections (Van Gelder et al. 2020, figure 2).

The networks are those of `wirings.studies.structure`, as they were found. Nothing is trained here: connections are
taken away at random or from the smallest on, and what is left is tested.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.analysis.statistics import paired
from wirings.procedures import Sensitivity
from wirings.studies import deconstruction as seed0
from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measures.sensitivity import RANDOM, Removal, curve_of
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Column, Row, Span, Spread, Table
from wirings.studies.views.parts import figure_of, mean_line, over_sparsity
from wirings.training.records import Record

METHODS = seed0.METHODS

ORDERS = {
    "magnitude": "the smallest first",
    "local": "the smallest of each layer first",
    "random": "at random",
    "recalibrated": "the smallest first, norms recalibrated",
}
"""Ways of removing -> in words, the paper's own first; layer by layer and recalibration are beside it."""

IMAGES = {"lenet-300-100": (5_000, 2_000), "lenet-5": (1_000, 300)}
"""Network -> test images that score removal by magnitude, and each of ten draws at random; all where it is not here."""

WITH_NORMS = ("resnet-20", "resnet-18")
"""Networks with batch norms, whose statistics do not fit a pruned network unless they are measured anew."""

PUBLISHED = {
    "magnitude": {"static": "falls fastest"},
    "random": {"dnw": "slightly better", "lottery": "slightly better"},
}
"""What the text says of figure 2; it gives no numbers."""

S02A = Claim(
    id="S0.2a",
    sentence="When the smallest weights go, a random network loses its accuracy faster than every other.",
    statistic="area under the accuracy kept (method − random), mean over the three highest sparsities, paired by seed; "
    "of the three other methods the one least above random",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.02,
)
S02B = Claim(
    id="S0.2b",
    sentence="When weights go at random, DNW networks and lottery tickets bear it a little better than RigL and random "
    "ones.",
    statistic="area under the accuracy kept (mean of DNW and ticket − mean of RigL and random), mean over the three "
    "highest sparsities, paired by seed",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.02,
)


# ---------------------------------------------------------------------- runs and measurements


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """What finds the networks; the same runs as those of `structure`."""
    main, *others = seed0.NETS[preset]
    work = seed0.found(main, preset, seeds)
    for net in others:
        work += seed0.found(net, preset, seeds, tuple(m for m in METHODS if m != "lottery"))
    return work


def measurements(found: Findings) -> list[Removal]:
    """Every curve of every network."""
    return [
        removal(net, record, order)
        for net in seed0.NETS[found.preset]
        for density in seed0.DENSITIES[found.preset]
        for method in METHODS
        for record in _records(found, net, method, density)
        for order in _orders(net)
    ]


def removal(net: str, record: Record, order: str) -> Removal:
    """How a record of this network is measured, by one of `ORDERS`."""
    by_size, at_random = IMAGES.get(net, (None, None))
    if order == "random":
        return Removal(run=record.id, order="random", fractions=RANDOM, repeats=10, images=at_random)
    if order == "local":
        return Removal(run=record.id, scope="local", images=at_random)
    return Removal(run=record.id, images=by_size, recalibrate=order == "recalibrated")


def _orders(net: str) -> list[str]:
    return [order for order in ORDERS if order != "recalibrated" or net in WITH_NORMS]


def _records(found: Findings, net: str, method: str, density: float) -> list[Record]:
    model = seed0.run_of(net, 0).model
    return [r for r in found.of(method, density=density) if r.info["settings"]["model"] == model]


def curves(found: Findings, net: str, method: str, density: float, order: str) -> dict[int, Sensitivity]:
    """Seed -> curve, of those that are measured."""
    told = {r.seed: found.measured(removal(net, r, order)) for r in _records(found, net, method, density)}
    return {seed: curve_of(result) for seed, result in told.items() if result is not None}


# ---------------------------------------------------------------------- what they say


def tables(found: Findings) -> list[Table]:
    """Areas and half-way points, a row a network, sparsity, way of removing and method."""
    rows = [
        row
        for net in seed0.NETS[found.preset]
        for order in _orders(net)
        for density in seed0.DENSITIES[found.preset]
        for method in METHODS
        if (row := _row(found, net, method, density, order)) is not None
    ]
    columns = (
        Column(title="Network"),
        Column(title="Removed"),
        Column(title="Sparsity", help="before anything is removed"),
        Column(title="Method"),
        Column(title="Test accuracy", unit="%", help="before anything is removed, on the images that score"),
        Column(title="Area", digits=3, help="under the accuracy kept, 1 where nothing is lost; mean ± sd over seeds"),
        Column(title="Half-way", unit="%", digits=1, help="removed when half of what was above chance is lost"),
        Column(title="Area above random", digits=3, signed=True, help="paired by seed"),
        Column(title="… 95 % interval", digits=3, signed=True),
        Column(title="n", help="networks, a seed each"),
        Column(title="Published", help="the paper gives no numbers"),
    )
    caption = (
        "Connections are removed from the trained network, which is not trained again. The area is under the curve of "
        "accuracy relative to the whole network's; a dash at half-way: the curve never falls so far."
    )
    table = Table(name="sensitivity", title="How each network bears losing connections", columns=columns,
                  rows=tuple(rows), caption=caption)  # fmt: skip
    return [table] if rows else []


def _row(found: Findings, net: str, method: str, density: float, order: str) -> Row | None:
    told = curves(found, net, method, density, order)
    if not told:
        return None
    above = _above_random(found, net, method, density, order)
    half = [100 * q for curve in told.values() if (q := curve.q50) is not None]
    effect = paired(above, [0.0] * len(above)) if len(above) > 1 and method != "static" else None
    return Row(
        values=(
            seed0.run_of(net, 0).model,
            ORDERS[order],
            words.sparsity(density),
            words.method(method),
            Spread(tuple(100 * curve.mean[0] for curve in told.values())),
            Spread(tuple(curve.auc for curve in told.values())),
            Spread(tuple(half)) if len(half) == len(told) else None,
            None if effect is None else effect.effect,
            None if effect is None else Span(effect.low, effect.high),
            len(told),
            PUBLISHED.get(order, {}).get(method),
        ),
        runs=tuple(r.id for r in _records(found, net, method, density) if r.seed in told),
        method=method,
    )


def _above_random(found: Findings, net: str, method: str, density: float, order: str) -> list[float]:
    mine, random = (curves(found, net, m, density, order) for m in (method, "static"))
    return [mine[s].auc - random[s].auc for s in sorted(mine.keys() & random.keys())]


def figures(found: Findings) -> list[Figure]:
    """Curves of the main network by both ways of removing, and areas of all networks."""
    drawn = [_curve_figure(found, seed0.NETS[found.preset][0], order) for order in ("magnitude", "random")]
    drawn.append(_area_figure(found))
    return [figure for figure in drawn if figure is not None]


_QUESTIONS = {
    "magnitude": "How much can still be pruned after training?",
    "random": "How much damage at random does a sparse network bear?",
}


def _curve_figure(found: Findings, net: str, order: str) -> Figure | None:
    panels = []
    for density in seed0.DENSITIES[found.preset]:
        series = [s for m in METHODS if (s := _curve(found, net, m, density, order)) is not None]
        if series:
            panels.append(
                Panel(
                    title=f"{words.sparsity(density)} sparse",
                    x=Axis(label="connections removed (%)", low=0.0, high=100.0),
                    y=Axis(label="accuracy kept (%)", low=0.0),
                    series=tuple(series),
                    size="small",
                    labels="legend",
                )
            )
    return figure_of(
        panels,
        name=f"removed-{order}",
        title=_QUESTIONS[order],
        caption=f"{seed0.run_of(net, 0).model}. Test accuracy relative to the whole network's while ever more "
        f"connections are removed, {ORDERS[order]}, without training again. Means over seeds with 95 % intervals"
        f"{'; of each network ten draws' if order == 'random' else ''}.",
        alt="Curves of accuracy kept against the share of connections removed, one a method; a panel a sparsity.",
    )


def _curve(found: Findings, net: str, method: str, density: float, order: str) -> Series | None:
    told = curves(found, net, method, density, order)
    if not told:
        return None
    kept = [[100 * score / curve.mean[0] if curve.mean[0] else 0.0 for score in curve.mean] for curve in told.values()]
    removed = [100 * fraction for fraction in next(iter(told.values())).fractions]
    points = [(x, Spread(tuple(column))) for x, column in zip(removed, zip(*kept, strict=True), strict=True)]
    ids = tuple(r.id for r in _records(found, net, method, density) if r.seed in told)
    return mean_line(words.method(method), method, points, runs=[ids] * len(points))


def _area_figure(found: Findings) -> Figure | None:
    panels = []
    for net in seed0.NETS[found.preset]:
        for order in ("magnitude", "random"):
            lines = [s for m in METHODS if (s := _area_line(found, net, m, order)) is not None]
            if lines:
                panels.append(
                    over_sparsity(
                        lines,
                        seed0.DENSITIES[found.preset],
                        title=f"{seed0.run_of(net, 0).model}, {ORDERS[order]}",
                        y=Axis(label="area under accuracy kept"),
                        size="half",
                        labels="legend",
                    )
                )
    return figure_of(
        panels,
        name="areas",
        title="Which networks are the most robust, and does it depend on sparsity?",
        caption="Area under the accuracy kept while connections are removed: 1 where nothing is ever lost. Means over "
        "seeds with 95 % intervals.",
        alt="Lines of the area under the curve against sparsity, one a method, a panel a network and way of removing.",
    )


def _area_line(found: Findings, net: str, method: str, order: str) -> Series | None:
    told = [(d, c) for d in seed0.DENSITIES[found.preset] if (c := curves(found, net, method, d, order))]
    if not told:
        return None
    points = [(d, Spread(tuple(curve.auc for curve in by.values()))) for d, by in told]
    ids = [tuple(r.id for r in _records(found, net, method, d) if r.seed in by) for d, by in told]
    return mean_line(words.method(method), method, points, runs=ids)


# ---------------------------------------------------------------------- claims and answers


def claims(found: Findings) -> list[Verdict]:
    """S0.2a and S0.2b, of the preset's main network."""
    areas = {order: {m: _areas(found, m, order) for m in METHODS} for order in ("magnitude", "random")}
    weakest = [
        _judged(S02A, [(areas["magnitude"][m], 1.0), (areas["magnitude"]["static"], -1.0)], found)
        for m in METHODS
        if m != "static"
    ]
    at_random = areas["random"]
    of_both = [
        (at_random["dnw"], 0.5),
        (at_random["lottery"], 0.5),
        (at_random["rigl"], -0.5),
        (at_random["static"], -0.5),
    ]
    return judge_all(
        [
            min(weakest, key=lambda v: float("-inf") if v.low is None else v.low),
            _judged(S02B, of_both, found),
        ]
    )


def _areas(found: Findings, method: str, order: str) -> dict[int, float]:
    """Seed -> area, the mean over the three highest sparsities, of seeds that have all of them."""
    net, densities = seed0.NETS[found.preset][0], seed0.DENSITIES[found.preset][-3:]
    by = [curves(found, net, method, density, order) for density in densities]
    return {s: statistics.fmean(one[s].auc for one in by) for s in sorted(set.intersection(*map(set, by)))}


def _judged(claim: Claim, parts: Sequence[tuple[Mapping[int, float], float]], found: Findings) -> Verdict:
    """A weighted sum of areas, seed by seed."""
    net = seed0.NETS[found.preset][0]
    run = seed0.run_of(net, 0)
    seeds = sorted(set.intersection(*(set(areas) for areas, _ in parts)))
    values = [sum(weight * areas[s] for areas, weight in parts) for s in seeds]
    densities = seed0.DENSITIES[found.preset][-3:]
    ids = [r.id for m in METHODS for d in densities for r in _records(found, net, m, d) if r.seed in seeds]
    return judge(claim, values, scale=found.scale, net=run.model, data=run.data, run_ids=ids)


def answers(found: Findings) -> list[str]:
    """Who is the most robust, by how much, how sure."""
    said = []
    net, densities = seed0.NETS[found.preset][0], seed0.DENSITIES[found.preset]
    for order in ("magnitude", "random"):
        for density in (densities[0], densities[-1]):
            told = [text for m in METHODS if m != "static" and (text := _told(found, net, m, density, order))]
            random = curves(found, net, "static", density, order)
            if told and len(random) > 1:
                area = statistics.fmean(curve.auc for curve in random.values())
                said.append(
                    f"{words.sparsity(density)} sparse, connections removed {ORDERS[order]}: the random network keeps "
                    f"an area of {area:.3f}; above it are {', '.join(told)} (95 % intervals, n = {len(random)}, "
                    f"{seed0.run_of(net, 0).model})."
                )
    return said


def _told(found: Findings, net: str, method: str, density: float, order: str) -> str:
    above = _above_random(found, net, method, density, order)
    if len(above) < 2:
        return ""
    effect = paired(above, [0.0] * len(above))
    return f"{words.method(method)} by {effect.effect:+.3f} ({effect.low:+.3f} to {effect.high:+.3f})"


study = Study(
    name="sensitivity",
    title="How robust is a sparse network?",
    question="A sparse network has few connections left. How much of its accuracy does it keep when it loses more of "
    "them after training: the smallest ones, as pruning would have it, or any, as damage would?\n\n"
    "Networks wired at random, by a lottery, by DNW and by RigL are compared at equal sparsity, the same networks "
    "whose wirings the study `structure` trains again.",
    presets={
        "smoke": Preset(seeds=2, takes="seconds: small images of Gaussian blobs"),
        "laptop": Preset(seeds=5, takes="six minutes of one core beside the runs of `structure`"),
        "overnight": Preset(
            seeds=5, takes="the runs of `structure`, and an hour: batch norms are recalibrated as well"
        ),
        "paper": Preset(seeds=5, takes="the runs of `structure`, and hours on a GPU"),
    },
    runs=runs,
    measurements=measurements,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Van Gelder et al. (2020), Deconstructing the Structure of Sparse Neural Networks",
)
