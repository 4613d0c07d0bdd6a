"""Alford, Robinett, Milechin & Kepner 2019: pruned and structured topologies, their accuracy and their instability."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from wirings.studies import alford, alford_claims, words
from wirings.studies.alford import SMALLER, STRUCTURES, UNSTABLE
from wirings.studies.alford_claims import accuracies, failures, paired, pick
from wirings.studies.measurement import Measurement
from wirings.studies.measures.topologies import Logits, OneTime, RadixTheory, Shape, Thresholds
from wirings.studies.study import Findings, Preset, Study
from wirings.studies.tables import Spread
from wirings.studies.views.alford import CURVES, PUBLISHED, SIZES
from wirings.studies.views.topologies import tables
from wirings.studies.views.topologies_figures import figures
from wirings.training.records import Record


def measurements(found: Findings) -> list[Measurement]:
    """One-time pruning, thresholds, dead classes and structure of what is trained; the theory of RadiX-Nets."""
    asked: list[Measurement] = [RadixTheory(largest=12 if found.preset == "smoke" else 24)]
    for net in ("fc", "conv"):
        asked += [OneTime(run=r.id, scope="global") for r in pick(found, net, "dense") if r.seed in found.seeds]
    asked += [OneTime(run=r.id, scope="local") for r in pick(found, "fc", "dense") if r.seed in found.seeds]
    asked += [Thresholds(run=r.id) for r in pick(found, "fc", "gradual", _traced(found))]
    asked += [Thresholds(run=r.id) for r in pick(found, "cifar", "gradual", 0.1)[:1]]
    for net in ("conv", "fc"):
        asked += [Logits(run=r.id) for r in pick(found, net, "fig8-relu-on") if r.results["dead_logits"]]
    for label in (*STRUCTURES, "gradual-structure", "gradual-shuffled", "one-time-structure"):
        asked += [Shape(run=r.id) for r in pick(found, "fc", label, 0.1)[:3]]
    return asked


def _traced(found: Findings) -> float:
    """The density whose gradual pruning is followed: 95 % sparse, or the nearest there is."""
    return min(alford.PRUNED[found.preset], key=lambda density: abs(density - 0.05))


def answers(found: Findings) -> list[str]:
    """What was found, in sentences."""
    every = (_sparsest(found), _unstable(found), _equal(found), _retrained(found), _random(found), _lost(found))
    return [said for said in every if said]


_RIVALS = {
    "gradual": "gradual pruning",
    "gradual-structure": "its structure trained again from fresh values",
    "one-time-structure": "a structure pruned at once and trained again",
    "gradual-shuffled": "its structure shuffled in each layer",
    "gradual-inverted": "the other positions",
    "small-dense": "a small dense network of as many weights",
    "bernoulli": "a random structure",
}
"""What can be had at one sparsity, in words."""


def _sparsest(found: Findings) -> str:
    """Which is best at the highest sparsity, by how much, and what was published."""
    density = min(alford.PRUNED[found.preset])
    sides = {label: accuracies(pick(found, "fc", label, density)) for label in _RIVALS}
    had = [label for label in sides if sides[label]]
    ranked = sorted(had, key=lambda label: -statistics.fmean(sides[label].values()))
    if len(ranked) < 2:
        return ""
    best, second = ranked[:2]
    above = _span([ours - theirs for ours, theirs in paired(sides[best], sides[second])])
    numbers = PUBLISHED | SIZES
    published = [numbers.get(("fc", label), {}).get(density) for label in (best, second)]
    said = f"; published: {published[0] - published[1]:.2f}" if published[0] and published[1] else ""
    dense = pick(found, "fc", "dense")
    beside = f" (dense: {statistics.fmean(accuracies(dense).values()):.2f} %)" if dense else ""
    return (
        f"At {words.sparsity(density)} sparsity of LeNet-300-100 {_RIVALS[best]} does best, with "
        f"{statistics.fmean(sides[best].values()):.2f} %{beside}: {above} above "
        f"the next, {_RIVALS[second]}{said}."
    )


def _unstable(found: Findings) -> str:
    parts = []
    for density in (1.0, *UNSTABLE[found.preset]["conv"]):
        records = pick(found, "conv", "fig8-relu-on", density)
        on, off = (failures(found, "conv", relu, [density]) for relu in ("on", "off"))
        if on:
            dead = sum(bool(r.results["dead_logits"]) for r in records)
            without = f", without {100 * statistics.fmean(off.values()):.0f} %" if off else ""
            parts.append(
                f"{words.sparsity(density)} sparse: {100 * statistics.fmean(on.values()):.0f} % failed{without} "
                f"({dead} of {len(records)} lost a class)"
            )
    if not parts:
        return ""
    return f"LeNet-5, one structure, many initial values, with a ReLU on the logits: {'; '.join(parts)}."


def _equal(found: Findings) -> str:
    sides = [accuracies(pick(found, "fc", label, 0.1)) for label in ("radix", "bernoulli")]
    said = _span([radix - random for radix, random in paired(*sides)])
    published = _published("fc", "radix", 0.1, "bernoulli", 0.1)
    return f"RadiX-Net above a random structure, LeNet-300-100 at 90 %: {said}{published}." if said else ""


def _published(net: str, label: str, factor: float, other: str, beside: float) -> str:
    """How far one was published above the other, of a single run each; nothing where it was not."""
    one, two = SIZES.get((net, label), {}).get(factor), SIZES.get((net, other), {}).get(beside)
    return "" if one is None or two is None else f"; published: {one - two:.2f}"


def _retrained(found: Findings) -> str:
    density = _traced(found)
    sides = [accuracies(pick(found, "fc", label, density)) for label in ("gradual-structure", "gradual-shuffled")]
    said = _span([structure - random for structure, random in paired(*sides)])
    if not said:
        return ""
    return (
        f"A pruned structure of LeNet-300-100 ({words.sparsity(density)} sparse), trained from fresh values, above the "
        f"same layer densities at random: {said}. The paper has no such control."
    )


def _random(found: Findings) -> str:
    density = max(d for d in SMALLER[found.preset]["fc"] if d <= 0.1)
    parts = []
    for net, name in (("fc", "LeNet-300-100"), ("conv", "LeNet-5")):
        sides = [accuracies(pick(found, net, "dense")), accuracies(pick(found, net, "bernoulli", density))]
        if said := _span([dense - sparse for dense, sparse in paired(*sides)]):
            parts.append(f"{name} {said}{_published(net, 'bernoulli', 1, 'bernoulli', density)}")
    if not parts:
        return ""
    return f"A random structure of the dense size ({words.sparsity(density)} sparse) loses: {'. '.join(parts)}."


def _lost(found: Findings) -> str:
    curves = [c for r in pick(found, "fc", "dense") if (c := _curve(found, r)) is not None]
    if not curves:
        return ""
    lost = {share: Spread(tuple(c[0.0] - c[share] for c in curves)).mean for share in (0.5, 0.9, 0.97)}
    curve = CURVES["fc", "global"]
    parts = ", ".join(
        f"{value:.2f} points at {words.sparsity(1 - share)} (published: {curve[0] - curve[share]:.2f})"
        for share, value in lost.items()
    )
    return f"Pruned at once and not trained again, LeNet-300-100 loses {parts} (n = {len(curves)} trained networks)."


def _curve(found: Findings, record: Record) -> dict[float, float] | None:
    curve = found.measured(OneTime(run=record.id, scope="global"))
    return None if curve is None else dict(zip(curve["removed"], curve["accuracy"], strict=True))


def _span(values: Sequence[float]) -> str:
    """``0.31 points (95 % interval 0.05 to 0.57, n = 5)``; nothing where there is nothing."""
    if not values:
        return ""
    spread = Spread(tuple(values))
    span = spread.interval
    interval = "" if span is None else f"95 % interval {span.low:.2f} to {span.high:.2f}, "
    return f"{spread.mean:.2f} points ({interval}n = {spread.n})"


study = Study(
    name="topologies",
    title="Training behaviour of sparse topologies",
    question="Can a sparse network be wired before it is trained? Alford et al. prune LeNet-300-100 and LeNet-5 at "
    "once and gradually, train the pruned structures again from fresh values, and set RadiX-Nets and random structures "
    "beside them, at the dense size and at the dense number of connections."
    "\n\n"
    "Their retrained LeNet-5 is unstable: one structure reaches 98 or 70 % by its initial values alone. Their networks "
    "have a ReLU on the logits. Is that it?",
    presets={
        "smoke": Preset(seeds=2, takes="a minute: embedded digits, ten to thirty steps"),
        "laptop": Preset(
            seeds=5,
            takes="half an hour on two cores: LeNet-300-100 on MNIST for 4 epochs, LeNet-5 at half width for 240 steps "
            "on 10,000 digits (20 initial values a structure) and for 800 on CIFAR-10",
        ),
        "overnight": Preset(
            seeds=3,
            takes="nights on two cores: 15,000 and 3,000 steps on MNIST, 10,000 on CIFAR-10; ResNet-20 and VGG-11",
        ),
        "paper": Preset(seeds=5, takes="a GPU: the settings of the authors' code, 15,000 to 25,000 steps a run"),
    },
    runs=alford.runs,
    measurements=measurements,
    tables=tables,
    figures=figures,
    claims=alford_claims.verdicts,
    answers=answers,
    source="S. Alford, R. Robinett, L. Milechin, J. Kepner 2019: Training Behavior of Sparse Neural Network Topologies",
)
