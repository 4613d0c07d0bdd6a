"""How long must DNW search? The wiring frozen after some epochs (Van Gelder et al. 2020, figure 4).

DNW hears the gradient of every position at every step. The hybrid stops listening after k epochs: from then on it is a
static network, which can train truly sparse. k = 0 is the magnitude of the first values, k = all is DNW. What freezing
saves is counted in operations and measured, masked and truly sparse; and RigL and Top-KAST, which never hear all
gradients at all steps, stand beside it at equal operations and at equal measured seconds.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.core.budgets import erk
from wirings.core.schedules import Every
from wirings.methods import TopKAST
from wirings.studies import deconstruction as seed0
from wirings.studies import words
from wirings.studies.cells import training_flops
from wirings.studies.figures import Figure
from wirings.studies.measures.freezing import ALL, Costs, Key, Plan, above, busy, by_seed, flops, spent
from wirings.studies.study import Findings, Preset, Study
from wirings.studies.tables import Spread, Table
from wirings.studies.views import freezing as views
from wirings.studies.views.retrained import sweep_table
from wirings.training.settings import Run

PLANS = {
    "smoke": Plan(net="mlp", densities=(0.05,), epochs=(0, 1, 2, 5, ALL), rigl=(1, 4), top_kast=(1,), again=(2,)),
    "laptop": Plan(net="lenet-300-100", densities=(0.1, 0.05, 0.02)),
    "overnight": Plan(net="resnet-20", densities=(0.1, 0.05, 0.02)),
    "paper": Plan(net="resnet-18", densities=(0.1, 0.05, 0.02), epochs=(0, 1, 2, 3, 5, 10, 20, 40, 80, ALL)),
}

RIVALS = ("rigl", "top-kast")
FEW = 2
"""The freezing epoch at which the hybrid is compared with its rivals; fixed before the first run."""

ENOUGH = 0.7
"""Share of the gain of searching that "the first few epochs" must reach."""

GAIN = Claim(
    id="S0.4a",
    sentence="After the first few epochs, further search with DNW yields diminishing returns: five epochs bring at "
    "least 70 % of what searching to the end brings.",
    statistic="accuracy(k = 5) − accuracy(k = 0) − 0.7 (accuracy(all) − accuracy(k = 0)), points, by seed",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.3,
)
BEST = Claim(
    id="S0.4b",
    sentence="If compute is unbounded it is still best to train with DNW to completion.",
    statistic="accuracy(all) − accuracy(the k < all that is best on held-out images), points, paired by seed",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)
RIVAL = Claim(
    id="S0.4c",
    sentence="The hybrid is likely less efficient than RigL.",
    statistic=f"accuracy(RigL) − accuracy(DNW frozen after {FEW} epochs) at equal counted training operations, "
    "points, paired by seed",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)
"""Fixed before the first run; the paper gives no numbers."""


# ---------------------------------------------------------------------- runs


def runs(preset: str, seeds: Sequence[int]) -> list[Run]:
    """Everything, the longest trainings first, and then seed by seed: what is compared in time is made side by side."""
    swept = _sweep(PLANS[preset].net)
    asked = {run.id: run for setting in (*settings(preset, seeds).values(), swept) for run in setting}
    return sorted(asked.values(), key=lambda run: (-run.epochs, run.seed))


def settings(preset: str, seeds: Sequence[int]) -> dict[Key, list[Run]]:
    """Setting -> its runs, one a seed: "dense", "hybrid", "masked", "searching", "rigl" or "top-kast".

    Hybrids train truly sparse, DNW itself masked. What gives a time is made for this study, under a label of its own;
    only DNW at the other densities is shared with the other studies.
    """
    plan = PLANS[preset]
    last = plan.densities[-1]
    found: dict[Key, list[Run]] = {("dense", 1.0, 0): [seed0.run_of(plan.net, s, label="dense-timed") for s in seeds]}
    for density in plan.densities:
        for k in plan.epochs:
            if k != ALL:
                found["hybrid", density, k] = [frozen(plan.net, s, density, k, f"dnw-frozen-{k}") for s in seeds]
            elif density != last:
                found["hybrid", density, k] = [frozen(plan.net, s, density, k, sparse=False) for s in seeds]
    for k in (*plan.again, ALL):
        label = "dnw-masked" if k == ALL else f"dnw-frozen-{k}-masked"
        found["masked", last, k] = [frozen(plan.net, s, last, k, label, sparse=False) for s in seeds]
    found["hybrid", last, ALL] = found["masked", last, ALL]
    if plan.sparse_search:
        found["searching", last, ALL] = [frozen(plan.net, s, last, ALL, "dnw-sparse") for s in seeds]
    for length in plan.rigl:
        found["rigl", last, length] = [_rigl(plan.net, s, last, length) for s in seeds]
    for length in plan.top_kast:
        found["top-kast", last, length] = [_top_kast(plan.net, s, last, length) for s in seeds]
    return found


def _sweep(net: str) -> list[Run]:
    """What chose Top-KAST's learning rate; `structure` has the sweeps of the others."""
    run = _top_kast(net, seed0.SWEEP_SEED, seed0.SWEEP_DENSITY, 1)
    run = dataclasses.replace(run, label=f"top-kast{seed0.SWEEP}")
    return [dataclasses.replace(run, learning_rate=rate) for rate in seed0.SWEPT[net]]


def frozen(net: str, seed: int, density: float, k: int, label: str = "", *, sparse: bool = True) -> Run:
    """DNW frozen after k epochs, on the schedule that all share."""
    epochs = seed0.run_of(net, seed).epochs
    more = {} if k == ALL else {"freeze_at": 0 if k == 0 else round(k / epochs, 6)}
    run = seed0.run_of(net, seed, seed0.method_of("dnw", density, **more))
    return dataclasses.replace(run, label=label, execution="sparse" if sparse else "masked")


def _rigl(net: str, seed: int, density: float, length: float) -> Run:
    return _longer(seed0.run_of(net, seed, seed0.method_of("rigl", density)), length)


def _top_kast(net: str, seed: int, density: float, length: float) -> Run:
    """Backward twice as dense as forward, chosen anew every ten steps (the paper: 1 to 100 do alike)."""
    method = TopKAST(density=density, backward=min(2 * density, 1.0), budget=erk, when=Every(10))
    return _longer(seed0.run_of(net, seed, method), length)


def _longer(run: Run, length: float) -> Run:
    name = run.method_name
    return dataclasses.replace(
        run, epochs=round(length * run.epochs), execution="sparse", label=f"{name}-{length:g}x-sparse"
    )


# ---------------------------------------------------------------------- what was found


def costs(found: Findings) -> Costs:
    """What the finished runs reached and cost."""
    finished = {record.id: record for record in found.records}
    asked = settings(found.preset, found.seeds)
    dense = [finished[run.id] for run in asked["dense", 1.0, 0] if run.id in finished]
    unit = training_flops(dense[0]) if dense else float("nan")
    return Costs({
        key: [spent(finished[run.id], unit) for run in of if run.id in finished] for key, of in asked.items()
    })  # fmt: skip


# ---------------------------------------------------------------------- what they say


def claims(found: Findings) -> list[Verdict]:
    """Diminishing returns at each density; the rest at the last."""
    plan, cost = PLANS[found.preset], costs(found)
    last = plan.densities[-1]
    asked = settings(found.preset, found.seeds)
    data = asked["dense", 1.0, 0][0].data if found.seeds else ""

    def said(claim: Claim, values: Sequence[float], ids: Sequence[str]) -> Verdict:
        return judge(claim, values, scale=found.scale, net=plan.net, data=data, run_ids=ids)

    verdicts = []
    for density in reversed(plan.densities):
        name = GAIN.id if density == last else f"{GAIN.id} ({words.sparsity(density)})"
        verdicts.append(said(dataclasses.replace(GAIN, id=name), *_beyond(cost, density, 5)))
    early = dataclasses.replace(
        GAIN,
        id="S0.4a (one epoch)",
        sentence="Even after one epoch the structure is mostly determined: one epoch of search brings at least 70 % "
        "of what searching to the end brings.",
        statistic=GAIN.statistic.replace("k = 5", "k = 1"),
    )
    verdicts.append(said(early, *_beyond(cost, last, 1)))
    verdicts.append(said(BEST, *_full_over_best(cost, plan, last)))
    for rival in RIVALS:
        for measure, how in ((flops, ""), (busy, "equal seconds")):
            verdicts.append(said(_rival_claim(rival, how), *cost.ahead(rival, last, FEW, measure)))
    return judge_all(verdicts)


def _beyond(cost: Costs, density: float, k: int) -> tuple[list[float], list[str]]:
    """By seed: what k epochs bring, less 70 % of what all bring; and run ids."""
    none, some, full = (by_seed(cost.of("hybrid", density, epoch)) for epoch in (0, k, ALL))
    seeds = sorted(none.keys() & some.keys() & full.keys())
    values = [
        some[s].accuracy - none[s].accuracy - ENOUGH * (full[s].accuracy - none[s].accuracy) for s in seeds
    ]  # fmt: skip
    return values, [of[s].run for s in seeds for of in (none, some, full)]


def _full_over_best(cost: Costs, plan: Plan, density: float) -> tuple[list[float], list[str]]:
    """By seed: DNW to the end, less the hybrid whose k is best on held-out images over all seeds; and run ids."""
    full = by_seed(cost.of("hybrid", density, ALL))
    hybrids = [by_seed(cost.of("hybrid", density, k)) for k in plan.epochs if k != ALL]
    hybrids = [of for of in hybrids if of]
    if not full or not hybrids:
        return [], []
    best = max(hybrids, key=lambda of: statistics.fmean(run.held_out for run in of.values()))
    seeds = sorted(full.keys() & best.keys())
    return [full[s].accuracy - best[s].accuracy for s in seeds], [of[s].run for s in seeds for of in (full, best)]


def _rival_claim(rival: str, how: str) -> Claim:
    name = words.method(rival)
    beside = [name] if rival != RIVALS[0] else []
    beside += [how] if how else []
    return dataclasses.replace(
        RIVAL,
        id=f"{RIVAL.id} ({', '.join(beside)})" if beside else RIVAL.id,
        sentence=RIVAL.sentence.replace("RigL", name),
        statistic=RIVAL.statistic.replace("RigL", name).replace(
            "counted training operations",
            "measured seconds, both truly sparse" if how else "counted training operations",
        ),
    )


def tables(found: Findings) -> list[Table]:
    """The hybrids; their rivals; both at equal cost; and the rates of the rival that no other study sweeps."""
    plan, cost = PLANS[found.preset], costs(found)
    chosen = {(seed0.run_of(plan.net, 0).model, "top-kast"): seed0.rate_of(plan.net, "top-kast")}
    swept = sweep_table(found.records, seed0.SWEEP, chosen, seed0.SWEEP_DENSITY)
    return [views.hybrid_table(plan, cost), views.equal_table(plan, cost), views.rival_table(plan, cost), swept]


def figures(found: Findings) -> list[Figure]:
    """A figure a question."""
    plan, cost = PLANS[found.preset], costs(found)
    last = plan.densities[-1]
    names = [("all" if k == ALL else str(k)) for k in plan.epochs]
    curves = {density: [cost.of("hybrid", density, k) for k in plan.epochs] for density in plan.densities}
    masked = [cost.of("masked", last, k) for k in plan.epochs]
    sparse = [cost.of("searching" if k == ALL else "hybrid", last, k) for k in plan.epochs]
    ladders = {"rigl": [cost.of("rigl", last, length) for length in plan.rigl],
               "top-kast": [cost.of("top-kast", last, length) for length in plan.top_kast]}  # fmt: skip
    dense = cost.of("dense", 1.0, 0)
    drawn = [
        views.accuracy_figure(curves, dense, names),
        views.saving_figure(curves[last], masked, sparse, dense, names, density=last),
        views.cost_figure(curves[last], ladders, dense, names, density=last),
    ]
    return [figure for figure in drawn if figure is not None]


def answers(found: Findings) -> list[str]:
    """What was found, in sentences."""
    plan, cost = PLANS[found.preset], costs(found)
    last = plan.densities[-1]
    nothing, full = cost.of("hybrid", last, 0), cost.of("hybrid", last, ALL)
    said = []
    gain = above(full, nothing)
    if gain is not None:
        each = [f"{100 * part.mean / gain.mean:.0f} % after {k}" for k in plan.epochs if k > 0 and gain.mean
                if (part := above(cost.of("hybrid", last, k), nothing)) is not None]  # fmt: skip
        said.append(f"At {words.sparsity(last)} sparsity, searching with DNW to the end gains {_points(gain)} over the "
                    f"largest first values; of that, {', '.join(each)} epochs of search (n = {gain.n}).")  # fmt: skip
    for k in (1, FEW, 5):
        here, masked = cost.of("hybrid", last, k), cost.of("masked", last, k)
        times = views.times(cost, masked, here)
        if here and times[1] is not None:
            text = (
                f"Frozen after {k}, it counts {statistics.fmean(run.flops for run in here):.2f} of the operations of "
                f"dense training and takes {times[1]:.2f} of its time truly sparse"
            )
            said.append(text + ("." if times[0] is None else f", {times[0]:.2f} masked (medians, n = {len(here)})."))
    for rival in RIVALS:
        parts = []
        for measure, how in ((flops, "operations"), (busy, "measured seconds")):
            values, _ = cost.ahead(rival, last, FEW, measure)
            if values:
                parts.append(f"{_points(Spread(tuple(values)))} at equal {how}")
        if parts:
            said.append(f"{words.method(rival)} is ahead of DNW frozen after {FEW} epochs by {' and by '.join(parts)}.")
    return said


def _points(spread: Spread) -> str:
    span = spread.interval
    within = "" if span is None else f" (95 % interval {span.low:.2f} to {span.high:.2f}, n = {spread.n})"
    return f"{spread.mean:.2f} points{within}"


study = Study(
    name="freezing",
    title="How long must DNW search?",
    question="DNW hears the gradient of every position at every step. If its wiring is mostly determined after a few "
    "epochs, it can be frozen then, and the rest of training needs no dense gradients. How much accuracy does each "
    "epoch of search bring, what does freezing save when it is run truly sparse, not only counted, and would the "
    "same effort have been better spent on RigL or Top-KAST?",
    presets={
        "smoke": Preset(seeds=2, takes="seconds: a small network on Gaussian blobs"),
        "laptop": Preset(seeds=5, takes="LeNet-300-100 on Fashion-MNIST; a quarter of an hour on two cores"),
        "overnight": Preset(seeds=3, takes="ResNet-20 on CIFAR-10, 30 epochs"),
        "paper": Preset(seeds=3, takes="ResNet-18 on CIFAR-10, 160 epochs; a GPU"),
    },
    runs=runs,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Van Gelder, Wortsman, Ehsani: Deconstructing the Structure of Sparse Neural Networks, 2020; figure 4.",
)
