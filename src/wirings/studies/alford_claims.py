"""The claims of Alford et al. (2019), S1.1 to S1.13, as they were written down before the first run, and their judging.

Where a claim speaks of two networks, the plain id is LeNet-300-100 (or the only network there is) and a letter tells
the others apart. "fc", "conv" and "cifar" are the networks of `wirings.studies.alford`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.analysis.degrees import spearman
from wirings.studies.alford import UNSTABLE
from wirings.studies.measures.topologies import Logits, OneTime, RadixTheory, Thresholds
from wirings.studies.study import Findings
from wirings.training.records import Record

FAILING = 5.0
"""Points below the median of the same structure with linear logits from which a run of Fig. 8 counts as failed."""

NAMES = {"fc": "lenet-300-100", "conv": "lenet-5", "cifar": "lenet-5"}

_CLAIMS = (
    Claim(
        id="S1.1",
        sentence="Half of the weights of LeNet-300-100 can be pruned at once without loss, without retraining.",
        statistic="accuracy(dense) - accuracy(50 % of all weights removed), in points, by network",
        threshold=0.3, direction="below", n=5, published=0.19,
    ),
    Claim(
        id="S1.1b",
        sentence="Half of the weights of LeNet-5 can be pruned at once without loss, without retraining.",
        statistic="accuracy(dense) - accuracy(50 % of all weights removed), in points, by network",
        threshold=0.3, direction="below", n=5, published=0.14,
    ),
    Claim(
        id="S1.1c",
        sentence="Beyond 90 % one-time pruning without retraining collapses (LeNet-300-100).",
        statistic="accuracy(dense) - accuracy(97 % of all weights removed), in points, by network",
        threshold=3.0, direction="above", n=5, published=20.81,
    ),
    Claim(
        id="S1.2",
        sentence="Gradual pruning takes 95 % of LeNet-300-100 without loss.",
        statistic="accuracy(dense) - accuracy(gradual, 95 %), in points, paired by seed",
        threshold=0.5, direction="below", n=5, published=-0.27,
    ),
    Claim(
        id="S1.2b",
        sentence="Gradual pruning takes 95 % of LeNet-5 without loss.",
        statistic="accuracy(dense) - accuracy(gradual, 95 %), in points, paired by seed",
        threshold=0.5, direction="below", n=5, published=0.45,
    ),
    Claim(
        id="S1.3",
        sentence="Every layer's sparsity follows s(t).",
        statistic="largest distance of a layer from s(t) while it is pruned, in connections, by run",
        threshold=1.0, direction="within", n=1, exact=True,
    ),
    Claim(
        id="S1.3b",
        sentence="The thresholds of the layers rise while they are pruned.",
        statistic="Spearman's correlation of threshold and step, mean over layers, by run",
        threshold=0.9, direction="above", n=5, effect=0.05,
    ),
    Claim(
        id="S1.4",
        sentence="Gradual pruning takes 75 % of LeNet-5 on CIFAR-10 with little loss.",
        statistic="accuracy(dense) - accuracy(gradual, 75 %), in points, paired by seed",
        threshold=1.5, direction="below", n=5, published=1.06,
    ),
    Claim(
        id="S1.4b",
        sentence="On CIFAR-10 the knee lies between 75 and 90 %.",
        statistic="loss from 75 to 90 % less loss from dense to 75 %, in points, paired by seed",
        threshold=0.0, direction="above", n=5, published=3.12,
    ),
    Claim(
        id="S1.5",
        sentence="Trained again from fresh values, pruned structures of LeNet-300-100 come close to dense up to 95 %.",
        statistic="accuracy(dense) - accuracy(retrained structure, 95 %), in points, paired by seed",
        threshold=1.0, direction="below", n=5, published=0.69,
    ),
    Claim(
        id="S1.5b",
        sentence="Its positions matter, not its layer densities alone (our control).",
        statistic="accuracy(retrained structure, 95 %) - accuracy(same, shuffled in each layer), paired by seed",
        threshold=0.0, direction="above", n=5, effect=0.3,
    ),
    Claim(
        id="S1.6",
        sentence="The instability of retrained LeNet-5 structures comes from the ReLU on the logits.",
        statistic="share of failing runs, with ReLU less without, up to 95 % sparsity, by initial values",
        threshold=0.0, direction="above", n=20, effect=0.1,
    ),
    Claim(
        id="S1.6b",
        sentence="With ReLU on the logits, failures become more with sparsity (LeNet-5).",
        statistic="share of failing runs of the sparsest structure less that of the densest, by initial values",
        threshold=0.0, direction="above", n=20, effect=0.1,
    ),
    Claim(
        id="S1.6c",
        sentence="Failures are plateaus: what is lost is the images of the dead classes.",
        statistic="distance of a failing run's accuracy from (share of images of living classes) x (accuracy of "
        "healthy runs), in points",
        threshold=3.0, direction="below", n=5, effect=1.0,
    ),
    Claim(
        id="S1.6d",
        sentence="With ReLU on the logits, failures become more with sparsity (LeNet-300-100).",
        statistic="share of failing runs of the sparsest structure less that of the densest, by initial values",
        threshold=0.0, direction="above", n=20, effect=0.1,
    ),
    Claim(
        id="S1.7",
        sentence="At the dense size, the accuracy of random structures rises with their density (LeNet-300-100).",
        statistic="least rise between neighbours of 1, 5, 10, 50 %, in points, by seed",
        threshold=0.0, direction="above", n=5, published=1.93,
    ),
    Claim(
        id="S1.7b",
        sentence="LeNet-5 loses little to a random structure of 10 %.",
        statistic="accuracy(dense) - accuracy(random, 10 %), in points, paired by seed",
        threshold=1.0, direction="below", n=5, published=0.43,
    ),
    Claim(
        id="S1.8",
        sentence="At the dense number of connections, ten times the size is worse than dense (LeNet-300-100).",
        statistic="accuracy(random, 10 x size) - accuracy(dense), in points, paired by seed",
        threshold=0.0, direction="below", n=5, published=-2.58,
    ),
    Claim(
        id="S1.8b",
        sentence="At the dense number of connections, twice the size costs LeNet-5 nothing to speak of.",
        statistic="accuracy(dense) - accuracy(random, 2 x size), in points, paired by seed",
        threshold=1.0, direction="below", n=5, published=0.06,
    ),
    Claim(
        id="S1.9",
        sentence="A RadiX-Net and a random structure of its density reach the same accuracy.",
        statistic="accuracy(RadiX-Net) - accuracy(random), 10 %, in points, paired by seed",
        threshold=0.5, direction="within", n=10, published=0.15,
    ),
    Claim(
        id="S1.9b",
        sentence="The same at ten times the size.",
        statistic="accuracy(RadiX-Net) - accuracy(random), 10 x size, in points, paired by seed",
        threshold=0.5, direction="within", n=10, published=-0.47,
    ),
    Claim(
        id="S1.10",
        sentence="Random structures of 10 % cost LeNet-300-100 more than LeNet-5.",
        statistic="loss of LeNet-300-100 less loss of LeNet-5, each from its own dense network, in points, by seed",
        threshold=0.0, direction="above", n=5, published=3.18,
    ),
    Claim(
        id="S1.11",
        sentence="RadiX-Nets have equal path counts, the degrees and the density of the formulas, whatever the widths.",
        statistic="violations, in integers, over all systems up to a size: paths, degrees, density, widths",
        threshold=0.0, direction="within", n=1, exact=True,
    ),
    Claim(
        id="S1.12",
        sentence="The system (2, 2, 2) is 75 % sparse.",
        statistic="density",
        threshold=0.0, direction="within", target=0.25, n=1, exact=True, published=0.25,
    ),
    Claim(
        id="S1.13",
        sentence="Some RadiX-Nets of equal density can hardly be trained (Kwak et al. 2023): radix 1 at last.",
        statistic="accuracy([[10, 10], [10]]) - accuracy([[10, 10, 1]]), in points, paired by seed",
        threshold=5.0, direction="above", n=5, published=30.75,
    ),
)  # fmt: skip

CLAIMS = {claim.id: claim for claim in _CLAIMS}


# ---------------------------------------------------------------------- finding runs


def net_of(record: Record) -> str:
    """ "fc", "conv", "cifar", "kwak", or the network's own name."""
    settings = record.info["settings"]
    if record.method.startswith("kwak-"):
        return "kwak"
    if settings["model"] == "lenet-300-100":
        return "fc"
    if settings["model"] == "lenet-5":
        cifar = settings["data"] == "cifar10" or settings["model_settings"].get("variant") == "cifar10"
        return "cifar" if cifar else "conv"
    return str(settings["model"])


def factor_of(record: Record) -> int:
    """How many times the dense network's size."""
    settings = record.info["settings"].get("model_settings", {})
    return round(float(settings.get("first_width", settings.get("conv2_width", 1.0))))


def pick(found: Findings, net: str, method: str, density: float | None = None, factor: int = 1) -> list[Record]:
    """Finished runs by seed; the density to 15 %, since coins were thrown."""
    return sorted(
        (
            r
            for r in found.records
            if r.method == method
            and net_of(r) == net
            and factor_of(r) == factor
            and (density is None or abs(r.density - density) <= 0.15 * density)
        ),
        key=lambda r: r.seed,
    )


def accuracies(records: Sequence[Record]) -> dict[int, float]:
    """Which of the seeds (counted from the first of its kind) -> test accuracy in percent."""
    return {r.seed % 1000: 100 * r.test_accuracy_last for r in records}


def paired(*sides: Mapping[int, float]) -> list[tuple[float, ...]]:
    """The values of all sides at every seed that they share."""
    shared = set.intersection(*(set(side) for side in sides)) if sides else set()
    return [tuple(side[seed] for side in sides) for seed in sorted(shared)]


# ---------------------------------------------------------------------- judging


def verdicts(found: Findings) -> list[Verdict]:
    """A verdict a claim, corrected for being several."""
    return judge_all([_SAID[claim.id](found, claim) for claim in CLAIMS.values()])


def _said(found: Findings, claim: Claim, net: str, values: Sequence[float], records: Sequence[Record]) -> Verdict:
    data = str(records[0].info["data"]["name"]) if records else ""
    ids = [record.id for record in records]
    return judge(claim, list(values), scale=found.scale, net=NAMES.get(net, net), data=data, run_ids=ids)


def _lost_at_once(net: str, removed: float) -> Callable[[Findings, Claim], Verdict]:
    def say(found: Findings, claim: Claim) -> Verdict:
        values, used = [], []
        for record in pick(found, net, "dense"):
            curve = found.measured(OneTime(run=record.id, scope="global"))
            if curve is not None:
                values.append(curve["accuracy"][0] - curve["accuracy"][curve["removed"].index(removed)])
                used.append(record)
        return _said(found, claim, net, values, used)

    return say


Side = tuple[str, str, float | None, int]
"""Network, method, density, factor of the size."""


def _difference(net: str, plus: Side, minus: Side) -> Callable[[Findings, Claim], Verdict]:
    def say(found: Findings, claim: Claim) -> Verdict:
        a, b = pick(found, *plus), pick(found, *minus)
        return _said(found, claim, net, [x - y for x, y in paired(accuracies(a), accuracies(b))], [*a, *b])

    return say


def _combined(net: str, sides: Sequence[Side], statistic: Callable[..., float]) -> Callable[[Findings, Claim], Verdict]:
    def say(found: Findings, claim: Claim) -> Verdict:
        picked = [pick(found, *side) for side in sides]
        values = [statistic(*row) for row in paired(*map(accuracies, picked))]
        return _said(found, claim, net, values, [r for records in picked for r in records])

    return say


def _traces(statistic: Callable[[Mapping[str, Any]], float]) -> Callable[[Findings, Claim], Verdict]:
    def say(found: Findings, claim: Claim) -> Verdict:
        records = [r for net in ("fc", "cifar") for r in pick(found, net, "gradual")]
        pairs = [(r, trace) for r in records if (trace := found.measured(Thresholds(run=r.id))) is not None]
        return _said(found, claim, "fc", [statistic(trace) for _, trace in pairs], [r for r, _ in pairs])

    return say


def off_course(trace: Mapping[str, Any]) -> float:
    """Largest distance of a layer from s(t), in connections."""
    asked, sizes, layers = trace["asked"], trace["sizes"], trace["layers"]
    every = ((name, i) for name in layers for i in range(len(asked)))
    return float(max(abs(layers[name]["density"][i] - asked[i]) * sizes[name] for name, i in every))


def rising(trace: Mapping[str, Any]) -> float:
    """Spearman's correlation of threshold and step, mean over layers, up to the last pruning that took something."""
    asked, layers = trace["asked"], trace["layers"]
    while_pruned = 1 + sum(a > asked[-1] for a in asked)
    steps = list(range(while_pruned))
    return statistics.fmean(spearman(steps, layer["threshold"][:while_pruned]) for layer in layers.values())


def failures(found: Findings, net: str, relu: str, densities: Sequence[float]) -> dict[int, float]:
    """Initial values -> share of these densities at which the run failed; of seeds that have them all."""
    by_density = [_failing(found, net, relu, density) for density in densities]
    shared = set.intersection(*(set(side) for side in by_density)) if by_density else set()
    return {seed: statistics.fmean(side[seed] for side in by_density) for seed in sorted(shared)}


def healthy(found: Findings, net: str, density: float) -> float | None:
    """Median accuracy of a structure's runs with linear logits, in percent; of the dense networks at density 1."""
    linear = pick(found, net, "dense") if density == 1 else pick(found, net, "fig8-relu-off", density)
    values = [100 * record.test_accuracy_last for record in linear]
    return statistics.median(values) if values else None


def _failing(found: Findings, net: str, relu: str, density: float) -> dict[int, bool]:
    level = healthy(found, net, density)
    if level is None:
        return {}
    runs = accuracies(pick(found, net, f"fig8-relu-{relu}", density))
    return {seed: accuracy < level - FAILING for seed, accuracy in runs.items()}


def _fig8(found: Findings, net: str) -> list[Record]:
    return [r for said in ("on", "off") for r in pick(found, net, f"fig8-relu-{said}")]


def _by_relu(found: Findings, claim: Claim) -> Verdict:
    levels = [density for density in UNSTABLE[found.preset]["conv"] if density >= 0.05]
    rows = paired(failures(found, "conv", "on", levels), failures(found, "conv", "off", levels))
    return _said(found, claim, "conv", [on - off for on, off in rows], _fig8(found, "conv"))


def _by_sparsity(net: str) -> Callable[[Findings, Claim], Verdict]:
    def say(found: Findings, claim: Claim) -> Verdict:
        levels = UNSTABLE[found.preset][net] or (1.0,)
        early, late = (failures(found, net, "on", [density]) for density in (max(levels), min(levels)))
        return _said(found, claim, net, [b - a for a, b in paired(early, late)], _fig8(found, net))

    return say


def _plateaus(found: Findings, claim: Claim) -> Verdict:
    values, used = [], []
    for net in ("conv", "fc"):
        for record in pick(found, net, "fig8-relu-on"):
            level, lost = healthy(found, net, record.density), found.measured(Logits(run=record.id))
            if level is None or lost is None or not lost["dead"]:
                continue
            accuracy = 100 * record.test_accuracy_last
            if accuracy < level - FAILING:
                values.append(abs(accuracy - level * lost["share_alive"]))
                used.append(record)
    return _said(found, claim, "conv", values, used)


def theory(found: Findings) -> Mapping[str, Any] | None:
    """What the check of RadiX-Nets found; systems are smaller in the smoke preset."""
    return found.measured(RadixTheory(largest=12 if found.preset == "smoke" else 24))


def _theory(found: Findings, claim: Claim) -> Verdict:
    result = theory(found)
    values = [] if result is None else [float(n) for n in result["broken"].values()]
    return judge(claim, values, scale=found.scale, net="RadiX-Nets")


def _picture(found: Findings, claim: Claim) -> Verdict:
    result = theory(found)
    return judge(claim, [] if result is None else [result["picture"]], scale=found.scale, net="RadiX-Net 2-2-2")


_SAID: dict[str, Callable[[Findings, Claim], Verdict]] = {
    "S1.1": _lost_at_once("fc", 0.5),
    "S1.1b": _lost_at_once("conv", 0.5),
    "S1.1c": _lost_at_once("fc", 0.97),
    "S1.2": _difference("fc", ("fc", "dense", None, 1), ("fc", "gradual", 0.05, 1)),
    "S1.2b": _difference("conv", ("conv", "dense", None, 1), ("conv", "gradual", 0.05, 1)),
    "S1.3": _traces(off_course),
    "S1.3b": _traces(rising),
    "S1.4": _difference("cifar", ("cifar", "dense", None, 1), ("cifar", "gradual", 0.25, 1)),
    "S1.4b": _combined(
        "cifar",
        [("cifar", "dense", None, 1), ("cifar", "gradual", 0.25, 1), ("cifar", "gradual", 0.1, 1)],
        lambda dense, some, most: (some - most) - (dense - some),
    ),
    "S1.5": _difference("fc", ("fc", "dense", None, 1), ("fc", "gradual-structure", 0.05, 1)),
    "S1.5b": _difference("fc", ("fc", "gradual-structure", 0.05, 1), ("fc", "gradual-shuffled", 0.05, 1)),
    "S1.6": _by_relu,
    "S1.6b": _by_sparsity("conv"),
    "S1.6c": _plateaus,
    "S1.6d": _by_sparsity("fc"),
    "S1.7": _combined(
        "fc",
        [("fc", "bernoulli", density, 1) for density in (0.01, 0.05, 0.1, 0.5)],
        lambda *by_density: min(b - a for a, b in pairwise(by_density)),
    ),
    "S1.7b": _difference("conv", ("conv", "dense", None, 1), ("conv", "bernoulli", 0.1, 1)),
    "S1.8": _difference("fc", ("fc", "bernoulli", 0.1, 10), ("fc", "dense", None, 1)),
    "S1.8b": _difference("conv", ("conv", "dense", None, 1), ("conv", "bernoulli", 0.5, 2)),
    "S1.9": _difference("fc", ("fc", "radix", 0.1, 1), ("fc", "bernoulli", 0.1, 1)),
    "S1.9b": _difference("fc", ("fc", "radix", 0.1, 10), ("fc", "bernoulli", 0.1, 10)),
    "S1.10": _combined(
        "fc",
        [("fc", "dense", None, 1), ("fc", "bernoulli", 0.1, 1),
         ("conv", "dense", None, 1), ("conv", "bernoulli", 0.1, 1)],
        lambda fc, fc_sparse, conv, conv_sparse: (fc - fc_sparse) - (conv - conv_sparse),
    ),
    "S1.11": _theory,
    "S1.12": _picture,
    "S1.13": _difference("kwak", ("kwak", "kwak-10,10 | 10", None, 1), ("kwak", "kwak-10,10,1", None, 1)),
}  # fmt: skip

__all__ = ["CLAIMS", "FAILING", "NAMES", "accuracies", "factor_of", "failures", "healthy", "net_of", "off_course",
           "paired", "pick", "rising", "verdicts"]  # fmt: skip
