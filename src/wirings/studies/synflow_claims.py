"""The claims of Tanaka et al. 2020, fixed before the first run, and what the runs say about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.studies import synflow_plan as plan
from wirings.studies.measures.synflow import STEP
from wirings.studies.study import Findings

RANDOM = Claim(
    id="S2.1a",
    sentence="Random pruning of VGG-16 with a 100-way head collapses beyond 10^2.75.",
    statistic="largest exponent of the grid of 0.25 at which every layer lives in three of three draws",
    threshold=0.25, target=2.75, direction="within", n=10, published=2.75,
)  # fmt: skip
MAGNITUDE = Claim(
    id="S2.1b",
    sentence="Magnitude pruning of VGG-16 with a 100-way head collapses beyond 10^2.75.",
    statistic="largest exponent at which every layer lives",
    threshold=0.25, target=2.75, direction="within", n=10, published=2.75,
)  # fmt: skip
FLOW = Claim(
    id="S2.1c",
    sentence="SynFlow keeps every layer of VGG-16 with a 100-way head alive up to 10^5.75 at least.",
    statistic="largest exponent of the grid of 0.25 at which every layer lives",
    threshold=5.74, direction="above", n=3, published=5.75, exact=True,
)  # fmt: skip
RESIDUAL = Claim(
    id="S2.1d",
    sentence="Magnitude pruning of ResNet-18 with a 100-way head collapses between 10^1 and 10^1.25.",
    statistic="largest exponent at which every layer lives, weights begun as in the publication's code",
    threshold=0.25, target=1.125, direction="within", n=10, published=1.125,
)  # fmt: skip
SENSITIVE = Claim(
    id="S2.1e",
    sentence="SNIP collapses VGG-16 beyond 10^3.5 (CIFAR-100).",
    statistic="largest exponent at which every layer lives",
    threshold=0.25, target=3.5, direction="within", n=10, published=3.5,
)  # fmt: skip
FIRST_RANDOM = Claim(
    id="S2.2a",
    sentence="Random pruning of VGG-19 for ImageNet loses its first layer at 10^3.61.",
    statistic="largest exponent at which every layer lives",
    threshold=0.3, target=3.61, direction="within", n=10, published=3.61,
)  # fmt: skip
FIRST_MAGNITUDE = Claim(
    id="S2.2b",
    sentence="Magnitude pruning of VGG-19 for ImageNet loses its first layer at 10^2.71.",
    statistic="largest exponent at which every layer lives",
    threshold=0.3, target=2.71, direction="within", n=10, published=2.71,
)  # fmt: skip
WHICH_RANDOM = Claim(
    id="S2.2c",
    sentence="The layer that random pruning of VGG-19 for ImageNet loses first is the smallest one, conv1.",
    statistic="1 where it is, 0 where not",
    threshold=0.5, direction="above", n=10, published=1, exact=True,
)  # fmt: skip
WHICH_MAGNITUDE = Claim(
    id="S2.2d",
    sentence="Magnitude pruning of VGG-19 for ImageNet loses a fully connected layer first (the second or third).",
    statistic="1 where it does, 0 where not",
    threshold=0.5, direction="above", n=10, published=1, exact=True,
)  # fmt: skip
WHICH_DATA = Claim(
    id="S2.2e",
    sentence="SNIP and GraSP of VGG-19 for ImageNet lose the first fully connected layer first.",
    statistic="1 where they do, 0 where not",
    threshold=0.5, direction="above", n=5, published=1, exact=True,
)  # fmt: skip
UNITS = {
    "synflow": Claim(
        id="S2.3a", sentence="SynFlow's scores are conserved at every hidden unit.",
        statistic="largest relative difference of what enters and what leaves a unit",
        threshold=1e-12, direction="below", n=3, published=4e-7, exact=True),
    "snip-signed": Claim(
        id="S2.3b", sentence="SNIP's signed scores are conserved at every hidden unit.",
        statistic="largest relative difference of what enters and what leaves a unit",
        threshold=1e-4, direction="below", n=3, exact=True),
    "grasp": Claim(
        id="S2.3c", sentence="GraSP's scores are conserved at every hidden unit.",
        statistic="largest relative difference of what enters and what leaves a unit",
        threshold=1e-4, direction="below", n=3, exact=True),
}  # fmt: skip
TOTALS = Claim(
    id="S2.4a", sentence="SynFlow's scores sum to the same in every layer.",
    statistic="coefficient of variation of the layers' totals",
    threshold=1e-6, direction="below", n=3, published=6e-7, exact=True,
)  # fmt: skip
SLOPE = Claim(
    id="S2.4b", sentence="The average SynFlow score of a layer is inversely proportional to its size.",
    statistic="slope of log average score against log 1/size",
    threshold=0.01, target=1.0, direction="within", n=3, published=1.0, exact=True,
)  # fmt: skip
ITERATIVE = Claim(
    id="S2.5", sentence="Iterative magnitude pruning keeps alive what pruning a trained network at one stroke kills.",
    statistic="density of the thinnest layer, five rounds less one stroke, in points",
    threshold=0.0, direction="above", n=5,
)  # fmt: skip
TRAINING = Claim(
    id="S2.6", sentence="Training drives mean squared weights towards conservation, 1/size.",
    statistic="slope of log mean w² against log 1/size, after less before training",
    threshold=0.0, direction="above", n=5, published=0.16,
)  # fmt: skip
RIVALS = {
    "snip": Claim(
        id="S2.7a", sentence="SynFlow is more accurate than SNIP at 10^2.5.",
        statistic="accuracy(SynFlow) - accuracy(SNIP), in points, paired by seed",
        threshold=0.0, direction="above", n=5, published=3.8),
    "magnitude": Claim(
        id="S2.7b", sentence="SynFlow is more accurate than magnitude pruning at 10^2.5.",
        statistic="accuracy(SynFlow) - accuracy(magnitude), in points, paired by seed",
        threshold=0.0, direction="above", n=5, published=69.0),
    "static": Claim(
        id="S2.7c", sentence="SynFlow is more accurate than random pruning at 10^2.5.",
        statistic="accuracy(SynFlow) - accuracy(random), in points, paired by seed",
        threshold=0.0, direction="above", n=5, published=34.6),
}  # fmt: skip
PUBLISHED_ACCURACY = Claim(
    id="S2.7d", sentence="VGG-11 on CIFAR-10, pruned by SynFlow to 10^-2 and trained for 160 epochs, reaches 86.8 %.",
    statistic="best accuracy over epochs on the test set, in percent",
    threshold=1.0, target=86.8, direction="within", n=10, published=86.8,
)  # fmt: skip
EXPONENTIAL = Claim(
    id="S2.8a", sentence="A hundred rounds on the exponential schedule never remove as much as the flow, up to 10^3.",
    statistic="largest ratio of removed score to flow in a round, over all exponents",
    threshold=1.0, direction="below", n=1, published=0.67, exact=True,
)  # fmt: skip
LINEAR = Claim(
    id="S2.8b", sentence="A hundred rounds on the linear schedule remove more than the flow from 10^1.5 on.",
    statistic="largest ratio of removed score to flow in a round, smallest over exponents of 1.5 and more",
    threshold=1.0, direction="above", n=1, published=2.31, exact=True,
)  # fmt: skip
RATIOS = Claim(
    id="S2.8c", sentence="Removed score over flow is as published for VGG-19 for ImageNet.",
    statistic="largest relative difference to the published table",
    threshold=0.15, direction="below", n=1, exact=True,
)  # fmt: skip
MAXIMAL = Claim(
    id="S2.9", sentence="SynFlow reaches the maximal compression: one connection in every layer.",
    statistic="largest number of connections of a layer at the compression of one connection a layer",
    threshold=0.0, target=1.0, direction="within", n=5, published=1.0, exact=True,
)  # fmt: skip
AGNOSTIC = Claim(
    id="S2.10", sentence="SynFlow looks at no data.", statistic="batches read of those offered",
    threshold=0.0, target=0.0, direction="within", n=1, published=0.0, exact=True,
)  # fmt: skip
SHUFFLED = Claim(
    id="S2.11a", sentence="SynFlow's wiring is no better than as many connections in each layer at random (10^1).",
    statistic="accuracy(shuffled) - accuracy(as found, begun anew), in points, paired by seed",
    threshold=1.0, direction="within", n=10,
)  # fmt: skip
ANEW = Claim(
    id="S2.11b", sentence="SynFlow's wiring learns as well from other first weights (10^1).",
    statistic="accuracy(begun anew) - accuracy(as found), in points, paired by wiring",
    threshold=1.0, direction="within", n=10,
)  # fmt: skip
INVERTED = Claim(
    id="S2.11c", sentence="Connections of the least flow, as many in each layer, learn much less (10^1).",
    statistic="accuracy(inverted) - accuracy(SynFlow), in points, paired by seed",
    threshold=0.0, direction="below", n=5, effect=5.0,
)  # fmt: skip


def claims(found: Findings) -> list[Verdict]:
    """A verdict a claim; what needs data that is not here stays unjudged."""
    verdicts = [*_critical_claims(found), *_flow_claims(found), *_trained_claims(found)]
    return judge_all([_with_reason(verdict) for verdict in verdicts])


_NEEDS = {
    SENSITIVE.id: "it needs CIFAR-100, which only the preset `paper` takes; on CIFAR-10 see the table",
    WHICH_DATA.id: "it needs ImageNet",
    PUBLISHED_ACCURACY.id: "it needs 160 epochs, which only the preset `paper` takes",
    RATIOS.id: "it needs a hundred passes through VGG-19 for ImageNet in float64; VGG-19 for CIFAR-10 is in the table",
}
"""Claim -> why it has no values where it has none."""


def _with_reason(verdict: Verdict) -> Verdict:
    reason = _NEEDS.get(verdict.claim.id)
    return replace(verdict, reason=reason) if verdict.word == "unjudged" and reason else verdict


def triples(exponents: Sequence[float]) -> list[float]:
    """For each three draws in a row, the largest exponent of the published grid at which all layers live in all three.

    Example:
        >>> triples([3.4, 3.9, 3.1, 3.3, 2.7, 4.2, 3.0])
        [3.0, 2.5]
    """
    threes = zip(*[iter(exponents)] * 3, strict=False)
    return [STEP * math.floor(min(three) / STEP + 1e-9) for three in threes]


def _critical_claims(found: Findings) -> list[Verdict]:
    scale, net = found.scale, "VGG-16, 100-way"

    def exponents(name: str, scorer: str) -> list[float]:
        return (
            [r["exponent"] for r in plan.exponents_of(found, name, scorer)]
            if name in plan.SCALES[found.preset].nets
            else []
        )

    flowing = plan.alive(plan.results(found, (m for name, m in plan.flowing(found) if name == "vgg-16/100")))
    head = plan.SCALES[found.preset].nets.get("vgg-16/100")
    snip = exponents("vgg-16/100", "snip") if head is not None and head.data == "cifar100" else []
    firsts = {
        s: plan.results(found, (m for m in plan.imagenet(found) if m.scorer == s)) for s in ("random", "magnitude")
    }
    first = {s: [r["exponent"] for r in results] for s, results in firsts.items()}
    linear = [float(r["first"] in ("fc2", "fc3")) for r in firsts["magnitude"]]
    return [
        judge(RANDOM, triples(exponents("vgg-16/100", "random")), scale=scale, net=net, data="none"),
        judge(MAGNITUDE, exponents("vgg-16/100", "magnitude"), scale=scale, net=net, data="none"),
        judge(FLOW, flowing, scale=scale, net=net, data="none"),
        judge(RESIDUAL, exponents("resnet-18/100, fan-out", "magnitude"), scale=scale, net="ResNet-18, 100-way",
              data="none"),
        judge(SENSITIVE, snip, scale=scale, net=net, data="CIFAR-100"),
        judge(FIRST_RANDOM, first["random"], scale=scale, net="VGG-19 (ImageNet)", data="none"),
        judge(FIRST_MAGNITUDE, first["magnitude"], scale=scale, net="VGG-19 (ImageNet)", data="none"),
        judge(WHICH_RANDOM, [float(r["first"] == "conv1") for r in firsts["random"]], scale=scale,
              net="VGG-19 (ImageNet)", data="none"),
        judge(WHICH_MAGNITUDE, linear, scale=scale, net="VGG-19 (ImageNet)", data="none"),
        judge(WHICH_DATA, None, scale=scale, net="VGG-19 (ImageNet)", data="ImageNet"),
    ]  # fmt: skip


def _flow_claims(found: Findings) -> list[Verdict]:
    scale, tested = found.scale, plan.SCALES[found.preset].conserved.model
    conserved = {s: plan.results(found, (m for name, m in plan.conserved(found) if name == s)) for s in UNITS}
    ratios = {key: r["largest"] for key, m in plan.ratios(found) if (r := found.measured(m)) is not None}
    smooth = [v for (pace, rounds, _), v in ratios.items() if (pace, rounds) == ("exponential", 100)]
    steep = [v for (pace, rounds, e), v in ratios.items() if (pace, rounds) == ("linear", 100) and e >= 1.5]
    maximal = [float(max(r["connections"])) for r in plan.results(found, plan.maximal(found))]
    read = [float(r["synflow"]) for r in plan.results(found, [plan.reads(found)])]
    ratio_net = plan.SCALES[found.preset].ratios[0].model
    return [
        *(judge(claim, [r["error"] for r in conserved[s]], scale=scale, net=tested) for s, claim in UNITS.items()),
        judge(TOTALS, [r["cv"] for r in conserved["synflow"]], scale=scale, net=tested, data="none"),
        judge(SLOPE, [r["slope"] for r in conserved["synflow"]], scale=scale, net=tested, data="none"),
        judge(EXPONENTIAL, [max(smooth)] if smooth else None, scale=scale, net=ratio_net, data="none"),
        judge(LINEAR, [min(steep)] if steep else None, scale=scale, net=ratio_net, data="none"),
        judge(RATIOS, None, scale=scale, net="VGG-19 (ImageNet)", data="none"),
        judge(MAXIMAL, maximal, scale=scale, net="MLPs", data="none"),
        judge(AGNOSTIC, read, scale=scale, net="VGG-11", data="none"),
    ]


def _trained_claims(found: Findings) -> list[Verdict]:
    scale, conv = found.scale, plan.conv_of(found)
    first = next(iter(plan.SCALES[found.preset].trained))
    data = str(plan.SCALES[found.preset].trained[conv]["data"])
    controlled = str(plan.SCALES[found.preset].trained[first]["data"])
    pairs = [m for m in plan.thinnest(found) if found.measured(m) is not None]
    thin = [100 * (r["iterative"] - r["at once"]) for r in plan.results(found, pairs)]
    drift = [r["drift"][-1]["slope"] - r["drift"][0]["slope"] for r in plan.results(found, plan.drifts(found))]
    verdicts = [
        judge(
            ITERATIVE, thin, scale=scale, net=conv, data=data, run_ids=[i for m in pairs for i in (m.ticket, m.dense)]
        ),
        judge(TRAINING, drift, scale=scale, net=conv, data=data, run_ids=[r.id for r in plan.dense_of(found)]),
    ]
    ours = plan.cell(found, conv, "synflow", 2.5)
    for rival, claim in RIVALS.items():
        theirs = plan.cell(found, conv, rival, 2.5)
        a, b = plan.accuracies(ours), plan.accuracies(theirs)
        seeds = sorted(a.keys() & b.keys())
        verdicts.append(
            judge(claim, [a[s] for s in seeds], [b[s] for s in seeds], scale=scale, net=conv, data=data,
                  run_ids=[r.id for r in (*ours, *theirs) if r.seed in seeds])
        )  # fmt: skip
    published = (
        list(plan.accuracies(plan.cell(found, "vgg-11", "synflow", 2.0)).values()) if found.preset == "paper" else []
    )
    verdicts.append(judge(PUBLISHED_ACCURACY, published, scale=scale, net="VGG-11", data="CIFAR-10"))
    for claim, control in ((SHUFFLED, "shuffled"), (ANEW, "anew"), (INVERTED, "inverted")):
        values = list(plan.change(found, "synflow", control, 1.0).values())
        behind = plan.compared(found, "synflow", control, 1.0).values()
        ids = [r.id for pair in behind for r in pair]
        verdicts.append(judge(claim, values, scale=scale, net=first, data=controlled, run_ids=ids))
    return verdicts
