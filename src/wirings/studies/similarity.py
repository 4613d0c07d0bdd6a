"""Similarity: does a pruned network still represent what its original did? (Blakeney, Yan & Zong 2020)

A dense network is trained; pruned gradually while it is fine-tuned; and each wiring so found is trained again from
fresh values, as it is and shuffled within its layers, beside wirings drawn at random. All of them meet the original on
test images, layer by layer. What two dense networks of different seeds have in common is the measure for all of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.studies import words
from wirings.studies.blakeney import BASELINES, NETS, TICKETS, Net, Seen, grouped, meetings, runs, seen
from wirings.studies.figures import Figure
from wirings.studies.measurement import Measurement
from wirings.studies.study import Findings, Preset, Study
from wirings.studies.tables import Spread, Table
from wirings.studies.views import alike as views

AT = 0.1
"""The density of the claims: 90 % sparse."""

K1 = Claim(
    id="S2.15-K1a",
    sentence="A pruned network represents the images otherwise than the network that it was pruned from.",
    statistic="SVCCA (pruned, original) − 0.9 (1 − noise floor), mean over layers, at 90 % sparsity",
    threshold=0.0,
    direction="below",
    n=5,
    effect=0.05,
)
K1_SLOPE = Claim(
    id="S2.15-K1b",
    sentence="The more is pruned, the less the representations have in common with the original.",
    statistic="slope of SVCCA (pruned, original), mean over layers, on −log10(density), per decade",
    threshold=0.0,
    direction="below",
    n=5,
    effect=0.05,
)
K1_COST = Claim(
    id="S2.15-K1c",
    sentence="The accuracy stays: pruning and fine-tuning costs less than a point.",
    statistic="accuracy (original − pruned), points, at 90 % sparsity",
    threshold=1.0,
    direction="below",
    n=5,
    effect=1.0,
)
K1_SEEDS = Claim(
    id="S2.15-K1d",
    sentence="Pruned networks are nearly as far from their original as networks of other seeds are.",
    statistic="(1 − SVCCA (pruned, original)) / (1 − SVCCA (two seeds)), means over layers, at 90 % sparsity",
    threshold=0.5,
    direction="above",
    n=5,
    effect=0.25,
)
K2 = Claim(
    id="S2.15-K2",
    sentence="Networks that are sparse from the start come close to the accuracy of pruned ones.",
    statistic="accuracy (pruned − random sparse from the start), points, at 90 % sparsity",
    threshold=1.0,
    direction="below",
    n=5,
    effect=1.0,
)
K3 = Claim(
    id="S2.15-K3a",
    sentence="Structures found by pruning are not important in themselves: a random one does as well.",
    statistic="accuracy (structure re-initialised − random with the same layer densities), points, at 90 % sparsity",
    threshold=1.0,
    direction="within",
    n=10,
)
K3_ALIKE = Claim(
    id="S2.15-K3b",
    sentence="A structure found by pruning leads no nearer to the original's representations than a random one.",
    statistic="SVCCA to the original (structure re-initialised − random with the same layer densities), mean over "
    "layers, at 90 % sparsity",
    threshold=0.02,
    direction="within",
    n=10,
)


def measurements(found: Findings) -> list[Measurement]:
    """Each meeting once."""
    return [meeting.measurement for meeting in meetings(found)]


# ---------------------------------------------------------------------- what they say


def claims(found: Findings) -> list[Verdict]:
    """K1 to K3 of each network that is pruned from trained values; tickets are rewound, and no case of them."""
    groups = grouped(seen(found))
    verdicts = []
    for net in NETS[found.preset]:
        if net is TICKETS:
            continue
        for claim, value, roles in _STATISTICS:
            sides = [groups.get((net.title, r, 1.0 if r in BASELINES else AT), []) for r in roles]
            if claim is K1_SLOPE:
                sides = [_slopes(net, groups)]
            by_seed = [{one.meeting.seed: one for one in side} for side in sides]
            shared = [seed for seed in by_seed[0] if all(seed in side for side in by_seed)]
            ids = [side[seed].meeting.id for seed in shared for side in by_seed]
            verdicts.append(
                judge(claim, [value(*(side[seed] for side in by_seed)) for seed in shared], scale=found.scale,
                      net=net.title, data=str(net.settings["data"]), run_ids=ids)
            )  # fmt: skip
    return judge_all(verdicts)


@dataclass(frozen=True)
class _Slope(Seen):
    """A seed's pruned networks together: how SVCCA falls from density to density."""

    slope: float = 0.0


def _slopes(net: Net, groups: Mapping[tuple[str, str, float], Sequence[Seen]]) -> list[Seen]:
    """A slope a seed, of the seeds whose every density is measured."""
    columns = [groups.get((net.title, "pruned", density), []) for density in net.densities]
    by_seed = [{one.meeting.seed: one for one in column} for column in columns]
    x = [-math.log10(density) for density in net.densities]
    slopes: list[Seen] = []
    for seed, one in by_seed[0].items():
        if all(seed in column for column in by_seed):
            y = [column[seed].mean("svcca") for column in by_seed]
            slopes.append(_Slope(one.meeting, one.result, slope=float(np.polyfit(x, y, 1)[0])))
    return slopes


_STATISTICS: tuple[tuple[Claim, Callable[..., float], tuple[str, ...]], ...] = (
    (K1, lambda pruned: pruned.mean("svcca") - 0.9 * (1 - pruned.floor), ("pruned",)),
    (K1_SLOPE, lambda pruned: pruned.slope, ("pruned",)),
    (K1_COST, lambda pruned: pruned.meeting.lost, ("pruned",)),
    (K1_SEEDS, lambda pruned, seed: (1 - pruned.mean("svcca")) / (1 - seed.mean("svcca")), ("pruned", "seed")),
    (K2, lambda pruned, random: random.meeting.lost - pruned.meeting.lost, ("pruned", "random")),
    (K3, lambda mine, random: random.meeting.lost - mine.meeting.lost, ("structure", "shuffled")),
    (K3_ALIKE, lambda mine, random: mine.mean("svcca") - random.mean("svcca"), ("structure", "shuffled")),
)
"""Claim, its statistic of a seed, and whose meetings it takes."""


def tables(found: Findings) -> list[Table]:
    """Everyone beside the original, over all layers; and layer by layer."""
    groups = grouped(seen(found))
    return [views.networks_table(groups), views.layers_table(groups)] if groups else []


def figures(found: Findings) -> list[Figure]:
    """Curves over layers, over sparsity, and maps of every layer against every other."""
    every = seen(found)
    groups = grouped(every)
    nets = [net for net in NETS[found.preset] if any(one.meeting.net is net for one in every)]
    if not nets:
        return []
    drawn = [views.layer_figure(nets, groups), views.density_figure(nets, groups), *views.map_figures(every)]
    return [figure for figure in drawn if figure is not None]


# ---------------------------------------------------------------------- in words


def answers(found: Findings) -> list[str]:
    """What the numbers say, network by network."""
    groups = grouped(seen(found))
    said = []
    for net in NETS[found.preset]:
        at = AT if AT in net.again else net.again[0]
        pruned, seeds = groups.get((net.title, "pruned", at)), groups.get((net.title, "seed", 1.0))
        if not pruned or not seeds:
            continue
        alike, other = _told([one.mean("svcca") for one in pruned]), _told([one.mean("svcca") for one in seeds])
        floor = statistics.fmean(one.floor for one in pruned)
        how = "A lottery ticket" if net is TICKETS else "Pruned and fine-tuned"
        said.append(
            f"{net.title}: {how} at {words.sparsity(at)} sparsity, a network has an SVCCA of {alike} to its original "
            f"(mean over layers, 95 % interval), {_told([one.meeting.lost for one in pruned], 2)} points of accuracy "
            f"below it; dense networks of two seeds have {other} in common, chance alone gives {floor:.2f} "
            f"(n = {len(pruned)})."
        )
        mine, random = groups.get((net.title, "structure", at)), groups.get((net.title, "shuffled", at))
        if mine and random:
            theirs = {one.meeting.seed: one for one in random}
            pairs = [(one, theirs[one.meeting.seed]) for one in mine if one.meeting.seed in theirs]
            if pairs:
                said.append(
                    f"{net.title}: from fresh values, the structure found by pruning is "
                    f"{_told([b.meeting.lost - a.meeting.lost for a, b in pairs], 2)} points above a random one of the "
                    f"same layer densities, and its SVCCA to the original is "
                    f"{_told([a.mean('svcca') - b.mean('svcca') for a, b in pairs], 3)} higher (n = {len(pairs)})."
                )
    return said


def _told(values: Sequence[float], digits: int = 2) -> str:
    """A mean and its interval."""
    spread = Spread(tuple(values))
    span = spread.interval
    mean = f"{spread.mean:.{digits}f}"
    return mean if span is None else f"{mean} ({span.low:.{digits}f} to {span.high:.{digits}f})"


study = Study(
    name="similarity",
    title="Does a pruned network still represent the same?",
    question="Pruning is said to compress a network. Does the pruned network represent its images as the original "
    "does, or does it become another network that happens to be as accurate? And does the structure that pruning "
    "found matter, or would a random one do?\n\nEach layer's activations on 2,000 test images are compared with those "
    "of the dense original by SVCCA, PWCCA, linear CKA and Procrustes distance, for networks pruned and fine-tuned, "
    "for their structures trained from fresh values, and for random ones; beside them, what data order, seed and "
    "training itself change.",
    presets={
        "smoke": Preset(seeds=2, takes="half a minute: a narrow Conv-4 on small images of Gaussian blobs"),
        "laptop": Preset(
            seeds=10,
            takes="at most half an hour on two cores: Conv-4 (ten seeds) and VGG-11 (five) of an eighth of the width "
            "on CIFAR-10, a few hundred steps; lottery tickets of LeNet-300-100 from the study of structure",
        ),
        "overnight": Preset(seeds=5, takes="a night: ResNet-20 on CIFAR-10, 10,000 steps"),
        "paper": Preset(seeds=5, takes="days on a GPU: VGG-16 and ResNet-56 on CIFAR-10"),
    },
    runs=runs,
    measurements=measurements,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="C. Blakeney, Y. Yan, Z. Zong (2020): Is Pruning Compression? Investigating Pruning Via Network Layer "
    "Similarity. WACV.",
)
