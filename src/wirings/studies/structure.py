"""Structure only: does a wiring keep its advantage when every value is drawn anew? (Van Gelder et al. 2020, figure 1)

A wiring is found at random, by a lottery, by DNW or by RigL, and then trained from fresh values: as it was found,
with its connections moved within each layer, and with in-degrees, or in- and out-degrees, kept. What is trained again
for one seed begins with the same values and sees the same batches, so everything compares seed by seed.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.core.budgets import erk
from wirings.makers.controls import rewired_degrees, shuffled, shuffled_within_rows
from wirings.makers.magnitude import Magnitude
from wirings.methods import Static
from wirings.procedures import Control, Lottery, Retraining
from wirings.procedures.retraining import FRESH
from wirings.studies import deconstruction as seed0
from wirings.studies import words
from wirings.studies.figures import Figure
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.studies.views import retrained as views
from wirings.studies.views.parts import mean_line
from wirings.studies.views.retrained import Paired, Pairs, paired_of
from wirings.training.settings import Run

METHODS = seed0.METHODS
SWEPT = ("lottery", "static", "dnw", "rigl", "small-dense")
"""Methods whose learning rate was chosen; the first round of a lottery is the dense network."""

CONTROLS: dict[str, dict[str, Control | None]] = {
    "static": {"structure": None},
    "dnw": {"structure": None, "shuffled": shuffled, "in-degrees": shuffled_within_rows, "degrees": rewired_degrees},
    "rigl": {"structure": None, "in-degrees": shuffled_within_rows, "degrees": rewired_degrees},
    "lottery": {"structure": None, "shuffled": shuffled, "in-degrees": shuffled_within_rows,
                "degrees": rewired_degrees},
}  # fmt: skip
"""How each wiring is trained again. DNW and RigL keep the same number of connections in each layer, that of ERK, so one
shuffle is the control of both."""

SHUFFLED = {"dnw": "dnw-shuffled", "rigl": "dnw-shuffled", "lottery": "lottery-shuffled"}
"""Method -> the runs of its layer-wise shuffle."""

FEWER: dict[str, dict[str, Control | None]] = {
    "static": {"structure": None},
    "dnw": {"structure": None, "shuffled": shuffled},
    "rigl": {"structure": None},
}
"""The same for networks beside the main one."""

LADDER = (0.3, 1.0)
"""Densities of small dense networks beside those of the wirings; between their measured times, the accuracy at the
time of a sparse network is read off."""

EQUIVALENCE = 10
"""Seeds of the comparison that claims a difference to be small."""

RANDOM = "static-structure"

S01A = Claim(
    id="S0.1a",
    sentence="Trained from fresh values, a lottery ticket's wiring is worth as much as a random one.",
    statistic="accuracy (ticket re-initialised − random re-initialised), points, paired by seed, at the second best of "
    "the three highest sparsities",
    threshold=0.5,
    direction="within",
    n=10,
)
S01B = Claim(
    id="S0.1b",
    sentence="Trained from fresh values, a DNW wiring beats a random one.",
    statistic="accuracy (DNW re-initialised − random re-initialised), points, paired by seed, at the second best of "
    "the three highest sparsities",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)
S01C = dataclasses.replace(
    S01B,
    id="S0.1c",
    sentence="Trained from fresh values, a RigL wiring beats a random one of the same densities.",
    statistic="accuracy (RigL re-initialised − random re-initialised), points, paired by seed, at the second best of "
    "the three highest sparsities",
)
S01D = Claim(
    id="S0.1d",
    sentence="The advantage of DNW and RigL wirings is largest in the sparsest networks.",
    statistic="slope of the mean advantage of DNW and RigL, re-initialised, over −log10(density), points per decade",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)
S01E = Claim(
    id="S0.1e",
    sentence="It is the positions that carry the advantage, not how many connections each layer has.",
    statistic="accuracy (re-initialised − layer-wise shuffled), points, mean of DNW and RigL, paired by seed, at the "
    "second best of the three highest sparsities",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)


# ---------------------------------------------------------------------- runs


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """The sweep of learning rates, then all wirings and what is trained from them; the longest chains first."""
    densities = seed0.DENSITIES[preset]
    main, *others = seed0.NETS[preset]
    more = _for_equivalence(preset, seeds)
    work: list[Work] = [_again(main, seed0.lottery_of(main, s, densities[-1]), CONTROLS["lottery"], densities)
                        for s in seeds]  # fmt: skip
    work += [_again(main, seed0.lottery_of(main, s, densities[-1]), CONTROLS["static"], densities) for s in more]
    work += seed0.sweep(main, SWEPT)
    for name in ("dnw", "rigl", "static"):
        work += _singles(main, name, densities, [*seeds, *(more if name == "static" else ())], CONTROLS[name])
    for seed in seeds:
        fresh = seed + FRESH
        work += [seed0.run_of(main, fresh, small_dense=d) for d in sorted({*densities, *LADDER})]
        work += [seed0.run_of(main, fresh, Static(begin=at_init(d)), label="magnitude") for d in densities]
    for net in others:
        work += seed0.sweep(net, tuple(FEWER))
        for name, controls in FEWER.items():
            work += _singles(net, name, densities, seeds, controls)
        work += [seed0.run_of(net, seed) for seed in seeds]
    return work


def at_init(density: float) -> Magnitude:
    """Where DNW begins: the largest first values of each layer, at its ERK share."""
    return Magnitude(density, scope="local", budget=erk)


def _for_equivalence(preset: str, seeds: Sequence[int]) -> range:
    """Seeds beyond the others, so that the claim that a difference is small has as many as it needs."""
    return range(len(seeds), EQUIVALENCE) if preset == "laptop" and len(seeds) >= 5 else range(0)


def _singles(
    net: str, name: str, densities: Sequence[float], seeds: Sequence[int], controls: Mapping[str, Control | None]
) -> list[Work]:
    return [
        _again(net, seed0.run_of(net, seed, seed0.method_of(name, density)), controls, densities)
        for density in densities
        for seed in seeds
    ]


def _again(
    net: str, after: Run | Lottery, controls: Mapping[str, Control | None], densities: Sequence[float]
) -> Retraining:
    """Find a wiring and train it again, all methods and controls with the same settings."""
    return Retraining(
        after=after,
        controls=controls,
        wanted=lambda record: any(abs(record.density - d) <= 0.02 * d for d in densities),
        changes=seed0.again(net),
    )


# ---------------------------------------------------------------------- what they say


def nets_of(found: Findings) -> list[Paired]:
    """The runs of each network of the preset, the main one first."""
    models = [seed0.run_of(net, 0).model for net in seed0.NETS[found.preset]]
    return [paired_of(found, model, SHUFFLED) for model in models]


def tables(found: Findings) -> list[Table]:
    """Accuracies, what each part of a wiring is worth, what else one could train, and the learning rates."""
    densities, nets = seed0.DENSITIES[found.preset], nets_of(found)
    drawn = [
        views.structure_table(nets, METHODS, densities, PUBLISHED),
        views.difference_table(nets, METHODS, densities),
        _baseline_table(nets[0], densities),
        views.sweep_table(found.records, seed0.SWEEP, _chosen(found.preset), seed0.SWEEP_DENSITY),
    ]
    return [table for table in drawn if table.rows]


PUBLISHED = {"lottery": "as random", "dnw": "above random", "rigl": "above random"}
"""What the text says of figure 1; it gives no numbers."""


def _chosen(preset: str) -> dict[tuple[str, str], float]:
    return {
        (seed0.run_of(net, 0).model, method): seed0.rate_of(net, "lottery" if method == "dense" else method)
        for net in seed0.NETS[preset]
        for method in ("dense", *SWEPT)
    }


def _baselines(net: Paired, density: float) -> list[tuple[str, str, Spread, float | None]]:
    """(in words, label, accuracy, seconds of a run) of what else could be trained at that size or in that time."""
    time = net.seconds(RANDOM, density)
    told = [(f"{words.method(m)}, re-initialised", f"{m}-structure") for m in METHODS]
    told += [("magnitude at the start", "magnitude"), ("small dense, equal parameters", "small-dense")]
    rows = [
        (text, label, s, net.seconds(label, density)) for text, label in told if (s := net.accuracy(label, density))
    ]
    same = {} if time is None else net.at_equal_seconds("small-dense", time, _ladder(net))
    if same:
        rows.append(("small dense, equal seconds", "small-dense", Spread(tuple(same.values())), time))
    return rows


def _ladder(net: Paired) -> list[float]:
    return sorted({r.density for r in net.records if r.method == "small-dense"})


def _baseline_table(net: Paired, densities: Sequence[float]) -> Table:
    columns = (
        Column(title="Sparsity"),
        Column(title="Network"),
        Column(title="Test accuracy", unit="%", help="mean ± sd over seeds"),
        Column(title="95 % interval", unit="%"),
        Column(title="n"),
        Column(title="Processor time", unit="s", digits=1, help="of one training, median over seeds"),
    )
    rows = [
        Row(
            values=(words.sparsity(density), text, spread, spread.interval, spread.n, seconds),
            runs=tuple(r.id for r in net.of(label, density).values()),
            method=label.removesuffix("-structure"),
        )
        for density in densities
        for text, label, spread, seconds in _baselines(net, density)
    ]
    return Table(
        name="baselines",
        title="What else could be trained at that size, or in that time",
        columns=columns,
        rows=tuple(rows),
        caption=f"{net.model}. Small dense networks are narrower; “equal seconds” is read off between small dense "
        "networks of several widths, at the measured processor time of the random wiring. It is missing where even the "
        "smallest dense network takes longer. Everything sparse here ran truly sparse, one thread.",
    )


def figures(found: Findings) -> list[Figure]:
    """The figure of the paper, then what decides how to read it."""
    densities, nets = seed0.DENSITIES[found.preset], nets_of(found)
    main = nets[0]
    drawn = [
        views.structure_figure(nets, METHODS, densities),
        views.difference_figure(main, METHODS, densities),
        views.control_figure(main, METHODS[1:], densities),
        _baseline_figure(main, densities),
    ]
    return [figure for figure in drawn if figure is not None]


def _baseline_figure(net: Paired, densities: Sequence[float]) -> Figure | None:
    looks = {"small dense, equal parameters": "small-dense", "small dense, equal seconds": "gradual",
             "magnitude at the start": "snip"}  # fmt: skip
    points: dict[str, list[tuple[float, Spread]]] = {}
    for density in densities:
        for text, _, spread, _ in _baselines(net, density):
            points.setdefault(text, []).append((density, spread))
    lines = [
        mean_line(text, looks.get(text) or next(m for m in METHODS if text.startswith(words.method(m))), some)
        for text, some in points.items()
    ]
    caption = (
        "Test accuracy against sparsity of wirings trained from fresh values; beside them small dense networks with as "
        "many weights, and those that train in the measured time of the random wiring. Means with 95 % intervals."
    )
    return views.baseline_figure(net, lines, densities, caption)


# ---------------------------------------------------------------------- claims


def claims(found: Findings) -> list[Verdict]:
    """S0.1a to S0.1e, of the preset's main network."""
    net, densities = nets_of(found)[0], seed0.DENSITIES[found.preset]
    sparsest = densities[-3:]
    advantage = {m: {d: net.difference(f"{m}-structure", RANDOM, d) for d in densities} for m in METHODS}
    beyond = {d: _mean([net.difference(f"{m}-structure", SHUFFLED[m], d) for m in ("dnw", "rigl")]) for d in sparsest}
    both = {d: _mean([advantage["dnw"][d], advantage["rigl"][d]]) for d in densities}
    verdicts = [
        _second_best(S01A, {d: advantage["lottery"][d] for d in sparsest}, found),
        _second_best(S01B, {d: advantage["dnw"][d] for d in sparsest}, found),
        _second_best(S01C, {d: advantage["rigl"][d] for d in sparsest}, found),
        _judged(S01D, slope(both), found),
        _second_best(S01E, beyond, found),
    ]
    return judge_all(verdicts)


def _second_best(claim: Claim, pairs: Mapping[float, Pairs], found: Findings) -> Verdict:
    """The verdict at the second best of these sparsities: what holds there holds at two of them."""
    verdicts = [(d, _judged(claim, of, found)) for d, of in pairs.items()]
    if any(verdict.low is None for _, verdict in verdicts):
        return judge(claim, None, scale=found.scale)
    ranked = sorted(verdicts, key=lambda item: _support(item[1]), reverse=True)
    density, verdict = ranked[min(1, len(ranked) - 1)]
    reason = f"{verdict.reason}; at {words.sparsity(density)} sparsity, the second best of {len(ranked)}"
    ids = tuple(dict.fromkeys(run for _, v in verdicts for run in v.run_ids))
    return dataclasses.replace(verdict, reason=reason, run_ids=ids)


def _support(verdict: Verdict) -> float:
    """How far the interval's nearer end is on the claim's side of its threshold."""
    low, high = verdict.low or 0.0, verdict.high or 0.0
    if verdict.claim.direction == "within":
        return verdict.claim.threshold - max(abs(low), abs(high))
    return low - verdict.claim.threshold


def _judged(claim: Claim, pairs: Pairs, found: Findings) -> Verdict:
    run = seed0.run_of(seed0.NETS[found.preset][0], 0)
    return judge(claim, pairs.values, scale=found.scale, net=run.model, data=run.data, run_ids=pairs.runs)


def _mean(pairs: Sequence[Pairs]) -> Pairs:
    """The mean of several differences, over the seeds that all of them have."""
    by = [dict(zip(p.seeds, p.values, strict=True)) for p in pairs]
    seeds = sorted(set.intersection(*(set(one) for one in by)))
    runs = tuple(dict.fromkeys(run for p in pairs for run in p.runs))
    return Pairs(tuple(statistics.fmean(one[s] for one in by) for s in seeds), tuple(seeds), runs if seeds else ())


def slope(pairs: Mapping[float, Pairs]) -> Pairs:
    """By how many points a difference grows while the density falls to a tenth: a least-squares line for each seed."""
    seeds = sorted(set.intersection(*(set(p.seeds) for p in pairs.values()))) if len(pairs) > 1 else []
    x = [-math.log10(d) for d in pairs]
    by = [dict(zip(p.seeds, p.values, strict=True)) for p in pairs.values()]
    values = tuple(statistics.linear_regression(x, [one[s] for one in by]).slope for s in seeds)
    return Pairs(values, tuple(seeds), tuple(dict.fromkeys(run for p in pairs.values() for run in p.runs)))


# ---------------------------------------------------------------------- in sentences


def answers(found: Findings) -> list[str]:
    """What was found, with n and intervals."""
    net, densities = nets_of(found)[0], seed0.DENSITIES[found.preset]
    said = [text for text in [_best(net, densities[-1])] if text]
    for method in ("dnw", "rigl", "lottery"):
        told = [_told(net.difference(f"{method}-structure", RANDOM, d), d) for d in densities]
        if all(told):
            said.append(f"Trained from fresh values, the wirings of {_plural(method)} differ from random ones by "
                        f"{'; '.join(told)} ({net.model}, points of test accuracy, 95 % intervals).")  # fmt: skip
    last = densities[-1]
    for method in ("dnw", "rigl", "lottery"):
        parts = [_told(net.difference(f"{method}-structure", SHUFFLED[method], last), None),
                 _told(net.difference(SHUFFLED[method], RANDOM, last), None),
                 _told(net.difference(f"{method}-structure", f"{method}-degrees", last), None)]  # fmt: skip
        if all(parts):
            said.append(f"At {words.sparsity(last)} sparsity a {words.method(method)} wiring is worth {parts[0]} more "
                        f"than its layer-wise shuffle, the shuffle {parts[1]} more than a random wiring; against a "
                        f"rewiring that keeps all degrees it is {parts[2]}.")  # fmt: skip
    rows = {text: spread for text, _, spread, _ in _baselines(net, last)}
    if "small dense, equal parameters" in rows and len(rows) > 1:
        best = max((t for t in rows if "re-initialised" in t), key=lambda t: rows[t].mean, default=None)
        if best is not None:
            said.append(_against_small(best, rows, last))
    return said


def _best(net: Paired, density: float) -> str:
    """Whose wirings are best from fresh values, by how much, and what the paper says."""
    had = {m: spread for m in METHODS if (spread := net.accuracy(f"{m}-structure", density)) is not None}
    if len(had) < 2:
        return ""
    best, second = sorted(had, key=lambda m: -had[m].mean)[:2]
    pairs = net.difference(f"{best}-structure", f"{second}-structure", density)
    if pairs.span is None:
        return ""
    apart = "" if pairs.span.low > 0 else ", which does not tell them apart"
    return (
        f"At {words.sparsity(density)} sparsity, trained from fresh values, the wirings of {_plural(best)} do best: "
        f"{had[best].mean:.2f} %, {_told(pairs, None)} points above those of {_plural(second)} "
        f"(95 % interval, n = {pairs.n}){apart}. The paper, without numbers: DNW's and RigL's beat "
        "random ones, a ticket's do not."
    )


def _told(pairs: Pairs, density: float | None) -> str:
    if pairs.span is None:
        return ""
    where = "" if density is None else f" at {words.sparsity(density)}, n = {pairs.n}"
    mean, low, high = (round(value, 2) + 0.0 for value in (pairs.mean, pairs.span.low, pairs.span.high))  # no -0.00
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f}){where}"


def _plural(method: str) -> str:
    return "lottery tickets" if method == "lottery" else words.method(method)


def _against_small(best: str, rows: Mapping[str, Spread], density: float) -> str:
    text = (
        f"At {words.sparsity(density)} sparsity the best re-initialised wiring ({best.split(',')[0]}) reaches "
        f"{rows[best].mean:.2f} %, a dense network with as many weights "
        f"{rows['small dense, equal parameters'].mean:.2f} %"
    )
    if "small dense, equal seconds" in rows:
        text += f", a dense one that trains in the same time {rows['small dense, equal seconds'].mean:.2f} %"
    return text + f" (n = {rows[best].n})."


study = Study(
    name="structure",
    title="What is the wiring worth?",
    question="Sparse networks are found at random, as lottery tickets, by discovering neural wirings (DNW) and by "
    "RigL. How much of their accuracy is in the wiring alone: what is left when every value is drawn anew and the "
    "same connections are trained from the start?\n\n"
    "And which part of the structure carries it: how many connections each layer has, how many each unit has, or which "
    "inputs meet which outputs? Controls destroy one after the other. Small dense networks of the same size, and of "
    "the same training time, say whether any of it is worth the trouble.",
    presets={
        "smoke": Preset(seeds=2, takes="half a minute: small images of Gaussian blobs"),
        "laptop": Preset(seeds=5, takes="half an hour on two cores: LeNet-300-100 on Fashion-MNIST, and fewer runs of "
                         "LeNet-5 at half the width on 10,000 digits; ten seeds for the lottery"),
        "overnight": Preset(seeds=5, takes="a night on a GPU: ResNet-20 on CIFAR-10, 30 epochs"),
        "paper": Preset(seeds=5, takes="days on a GPU: ResNet-18 on CIFAR-10, 160 epochs, down to 99 % sparse"),
    },
    runs=runs,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Van Gelder et al. (2020), Deconstructing the Structure of Sparse Neural Networks",
)  # fmt: skip
