"""Gem-Miner: scores over frozen weights find a wiring in one training; is it worth a lottery ticket's?

Sreenivasan et al. (2022) against iterative magnitude pruning (IMP), edge-popup, SynFlow, SNIP, smart ratios and random
wirings at equal density; its accuracy before and after fine-tuning, the time to a mask, sanity checks of what is found,
and the chain of ablations from edge-popup. The scores train on signed-constant weights without biases; all others
begin with the network's own initialiser, without biases too, so that equal densities are equal counts.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.core.budgets import smart_ratio
from wirings.data.augment import CropFlip
from wirings.makers.controls import inverted, shuffled
from wirings.makers.random import ErdosRenyi
from wirings.makers.snip import SNIP
from wirings.makers.synflow import SynFlow
from wirings.methods import EdgePopup, GemMiner, Static
from wirings.methods.method import Method
from wirings.procedures.finetuning import FineTuning
from wirings.procedures.lottery import Lottery
from wirings.studies import words
from wirings.studies.figures import Figure
from wirings.studies.quickstart import Keeping
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Spread, Table
from wirings.studies.views.searches import SWEEP_SEED, Searched, called, signed, swept
from wirings.studies.views.searches_figures import accuracy_figure, chain_figure, check_figure, time_figure, used_figure
from wirings.studies.views.searches_tables import accuracy_table, chain_table, check_table, layer_table, rate_table
from wirings.training.settings import Run

DENSITIES = {"smoke": (0.2, 0.1, 0.05), "laptop": (0.0372, 0.0144, 0.0059)}
"""The paper's: those of tickets after 15, 19 and 23 rounds of pruning a fifth (the first a little above 0.8**15)."""

ROUNDS = {"smoke": (2, 3, 4), "laptop": (15, 19, 23)}
"""After how many rounds of IMP these densities are reached."""

CHAIN = ("edge-popup", "ep-global", "ep-gradual", "ep-decay", "gem-miner")
"""From edge-popup to Gem-Miner, one ingredient a step: ranked over the network; a density that falls while training;
L2 on the scores; scores in [0, 1] that are used above one half, and pruned for good."""

_TASKS: dict[str, dict[str, Any]] = {
    "smoke": {"model": "mlp", "data": "gaussian-blobs", "epochs": 4, "batch_size": 32},
    "laptop": {"data": "mnist", "epochs": 4},
    "overnight": {"model": "resnet-20", "data": "cifar10", "epochs": 30, "augment": CropFlip()},
    "paper": {"model": "resnet-20", "data": "cifar10", "epochs": 150, "augment": CropFlip()},
}

_RATES = {
    "smoke": (1.0, 1.0, 0.1),
    "laptop": (1.0, 3.0, 0.1),
    "overnight": (0.1, 0.1, 0.01),
    "paper": (0.1, 0.1, 0.01),
}
"""Learning rates: of edge-popup's scores (and its variants'), of Gem-Miner's, and of all weights. The paper's; on the
laptop by `sweep`: of weights, the highest at which the dense network trains."""

SWEPT = {"edge-popup": (1.0, 3.0), "ep-decay": (1.0, 3.0), "gem-miner": (1.0, 3.0, 10.0),
         "dense": (0.1, 0.3), "static": (0.1, 0.3), "synflow": (0.1, 0.3)}  # fmt: skip
"""Rates that were tried on the laptop, with a seed that no other run has."""

_DECAY = {
    "smoke": (2e-4, 2e-4, 2e-4),
    "laptop": (6e-5, 2e-4, 2e-4),
    "overnight": (3e-4, 1e-3, 1e-3),
    "paper": (6e-5, 2e-4, 2e-4),
}
"""L2 on the scores by density: twice the paper's lambda; where a search is five times as short, five times that."""

S212 = Claim(
    id="S2.12",
    sentence="At 1.44 % density, Gem-Miner with fine-tuning is at most half a point below IMP.",
    statistic="accuracy (Gem-Miner fine-tuned − lottery ticket), points, paired by seed, at 1.44 %",
    threshold=-0.5,
    direction="above",
    n=5,
    effect=0.5,
)
S212_DENSER = dataclasses.replace(
    S212,
    id="S2.12-denser",
    sentence="At 3.72 % density, Gem-Miner with fine-tuning is at most half a point below IMP.",
    statistic="accuracy (Gem-Miner fine-tuned − lottery ticket), points, paired by seed, at 3.72 %",
)
S212_SPARSER = dataclasses.replace(
    S212,
    id="S2.12-sparser",
    sentence="At 0.59 % density, Gem-Miner with fine-tuning is at most half a point below IMP.",
    statistic="accuracy (Gem-Miner fine-tuned − lottery ticket), points, paired by seed, at 0.59 %",
)
S212_TIME = Claim(
    id="S2.12-time",
    sentence="Gem-Miner has its wiring many times sooner than IMP (the paper: up to 19 times).",
    statistic="processor seconds of all trainings before the ticket at 0.59 % over those of the search, paired by seed",
    threshold=5.0,
    direction="above",
    n=5,
    published=19.0,
)
S212_SHUFFLED = Claim(
    id="S2.12-shuffled",
    sentence="Shuffled within its layers, Gem-Miner's wiring loses at least five points.",
    statistic="accuracy (fine-tuned − fine-tuned after a layer-wise shuffle), points, paired by seed, at 1.44 %",
    threshold=5.0,
    direction="above",
    n=5,
    published=68.19,
)
S211 = Claim(
    id="S2.11-gem-miner",
    sentence="Gem-Miner's wiring is better than its inversion and than its weights drawn anew.",
    statistic="accuracy (fine-tuned − the better of inverted and redrawn), points, paired by seed, at 1.44 %",
    threshold=0.0,
    direction="above",
    n=5,
    published=1.64,
)
S212_BEFORE = Claim(
    id="S2.12-pruners",
    sentence="Gem-Miner beats pruning at initialisation, with the same number of epochs in all.",
    statistic="accuracy (Gem-Miner fine-tuned − the better of SynFlow and SNIP, trained for as many epochs as search "
    "and fine-tuning together), points, paired by seed, at 1.44 %",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)
S213 = Claim(
    id="S2.13",
    sentence="Every ingredient between edge-popup and Gem-Miner helps.",
    statistic="the smallest of the four steps of the chain, accuracy after fine-tuning, points, by seed, at 1.44 %",
    threshold=0.0,
    direction="above",
    n=5,
    effect=0.5,
)
STEPS = tuple(
    Claim(
        id=f"S2.13-{name}",
        sentence=sentence,
        statistic=f"accuracy after fine-tuning ({after} − {before}), points, paired by seed, at 1.44 %",
        threshold=0.0,
        direction="above",
        n=5,
        effect=0.5,
        published=published,
    )
    for name, before, after, sentence, published in (
        ("global", "edge-popup", "ep-global", "Ranking scores over the network helps edge-popup.", -42.39),
        ("gradual", "ep-global", "ep-gradual", "A density that falls while training helps edge-popup.", 67.91),
        ("decay", "ep-gradual", "ep-decay", "L2 on the scores helps gradual edge-popup.", None),
        ("gem-miner", "ep-decay", "gem-miner", "Gem-Miner is better than gradual edge-popup with L2.", None),
    )
)
"""Steps of the chain; the published numbers are of development runs at 1.75 to 1.95 % (one seed each)."""


# ---------------------------------------------------------------------- runs


def densities_of(preset: str) -> tuple[float, ...]:
    """The three densities of a preset, from dense to sparse; claims are about the middle one."""
    return DENSITIES.get(preset, DENSITIES["laptop"])


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """IMP first, then every search with what follows from it, then what is wired before training."""
    densities, middle = densities_of(preset), densities_of(preset)[1]
    work: list[Work] = [
        Lottery(run=trained(preset, seed), rounds=len(ladder(preset)), pruning=Keeping(densities=ladder(preset)))
        for seed in seeds
    ]
    for density in densities:
        names = CHAIN if density == middle else (CHAIN[0], CHAIN[-1])
        work += [search(preset, seed, name, density) for name in reversed(names) for seed in seeds]
        work += [run for seed in seeds for run in _before(preset, seed, density)]
    return work + (sweep() if preset == "laptop" else [])


def sweep() -> list[Work]:
    """The runs that chose the laptop's learning rates, on held-out images, at the middle density."""
    density, work = DENSITIES["laptop"][1], list[Work]()
    for name, rates in SWEPT.items():
        for rate in rates:
            if name in CHAIN:
                work.append(search("laptop", SWEEP_SEED, name, density, rate=rate))
            else:
                method = None if name == "dense" else Static(begin=_beginnings(density)[name])
                label = swept(name, rate)
                work.append(trained("laptop", SWEEP_SEED, method=method, label=label, learning_rate=rate))
    return work


def ladder(preset: str) -> tuple[float, ...]:
    """The densities of all rounds of IMP: a fifth goes in each, and those that are compared are met exactly."""
    exact = dict(zip(ROUNDS.get(preset, ROUNDS["laptop"]), densities_of(preset), strict=True))
    rate = 0.5 if preset == "smoke" else 0.2
    return tuple(exact.get(level, (1 - rate) ** level) for level in range(1, max(exact) + 1))


def trained(preset: str, seed: int, **said: Any) -> Run:
    """A run whose weights train from the network's own initialiser."""
    task = dict(_TASKS[preset])
    own = {} if task.get("model") == "resnet-20" else {"bias": False}
    return Run(seed=seed, **(task | {"model_settings": own} | said))


def search(preset: str, seed: int, name: str, density: float, *, rate: float | None = None) -> FineTuning:
    """A search by scores over frozen, signed-constant weights, and the fine-tuning after it.

    Args:
        preset, seed, name, density: of the search; a name of `CHAIN`.
        rate: a learning rate that is tried instead of the preset's, without the sanity checks.
    """
    popup, miner, tuning = _RATES[preset]
    task = _TASKS[preset]
    frozen = {"init": "signed-constant"} | ({"affine": False} if task.get("model") == "resnet-20" else {"bias": False})
    run = trained(
        preset,
        seed,
        method=_scored(name, preset, density),
        learning_rate=rate or (miner if name == "gem-miner" else popup),
        model_settings=frozen,
        label=swept(name, rate) if rate else "" if name in ("edge-popup", "gem-miner") else name,
    )
    changes: dict[str, Any] = {"learning_rate": tuning}
    if preset == "paper":
        changes |= {"schedule": "steps", "milestones": (0.5, 0.75)}
    if name == "gem-miner" and rate is None:
        return FineTuning(after=run, changes=changes, checks={"shuffled": shuffled, "inverted": inverted}, redrawn=True)
    return FineTuning(after=run, changes=changes)


def _scored(name: str, preset: str, density: float) -> Method:
    decay = _DECAY[preset][densities_of(preset).index(density)]
    if name == "gem-miner":
        return GemMiner(density=density, decay=decay)
    if name == "edge-popup":
        return EdgePopup(density=density)
    falling = None if name == "ep-global" else 29 / 30
    return EdgePopup(density=density, scope="global", sparser_until=falling, decay=decay if name == "ep-decay" else 0.0)


def _before(preset: str, seed: int, density: float) -> list[Run]:
    """Wired before training, and the small dense network; twice as long too, the time of a search and its tuning."""
    twice = {"epochs": 2 * _TASKS[preset]["epochs"]}
    wired = {name: Static(begin=begin) for name, begin in _beginnings(density).items()}
    return [
        *(trained(preset, seed, method=method, label=name) for name, method in wired.items()),
        *(trained(preset, seed, method=wired[name], label=f"{name}-twice", **twice)
          for name in ("synflow", "snip")),
        trained(preset, seed, small_dense=density),
    ]  # fmt: skip


def _beginnings(density: float) -> dict[str, Any]:
    return {
        "synflow": SynFlow(density),
        "snip": SNIP(density, batches=8),
        "smart-ratio": ErdosRenyi(density, budget=smart_ratio),
        "static": ErdosRenyi(density),
    }


# ---------------------------------------------------------------------- what they say


def searched(found: Findings) -> Searched:
    """The finished runs by name, density and seed."""
    return Searched.of(found, densities_of(found.preset))


def tables(found: Findings) -> list[Table]:
    """Accuracy and time of every method; the sanity checks; the chain; where the connections are."""
    had = searched(found)
    drawn = [
        accuracy_table(had, METHODS),
        check_table(had, PUBLISHED_CHECKS),
        chain_table(had, CHAIN, PUBLISHED_CHAIN),
        layer_table(had),
        rate_table(found, SWEPT, _chosen(found.preset)),
    ]
    return [table for table in drawn if table.rows]


def _chosen(preset: str) -> dict[str, float]:
    popup, miner, weights = _RATES[preset]
    return {name: miner if name == "gem-miner" else popup if name in CHAIN else weights for name in SWEPT}


METHODS = ("lottery", "gem-miner", "edge-popup", "synflow", "synflow-twice", "snip", "snip-twice", "smart-ratio",
           "static", "small-dense")  # fmt: skip

PUBLISHED_CHECKS = {"": 78.19, "redrawn": 76.55, "inverted": 74.49, "shuffled": 10.0}
"""ResNet-20 on CIFAR-10 at 1.79 %, one development run each, last epoch."""

PUBLISHED_CHAIN = {"edge-popup": (26.38, 52.39), "ep-global": (10.0, 10.0), "ep-gradual": (61.34, 77.91),
                   "gem-miner": (74.00, 79.35)}  # fmt: skip
"""Before and after fine-tuning; ResNet-20 on CIFAR-10 at 1.75 to 1.95 %, one development run each."""


def figures(found: Findings) -> list[Figure]:
    """A figure a question."""
    had = searched(found)
    drawn = [
        accuracy_figure(had, ("lottery", "gem-miner", "edge-popup", "synflow", "snip", "smart-ratio", "static")),
        time_figure(had, ("lottery", "gem-miner", "edge-popup", "synflow", "snip")),
        check_figure(had),
        chain_figure(had, CHAIN),
        used_figure(had),
    ]
    return [figure for figure in drawn if figure is not None]


def claims(found: Findings) -> list[Verdict]:
    """A verdict a claim, corrected for being several."""
    had = searched(found)
    dense, middle, sparse = had.densities

    def judged(claim: Claim, values: Mapping[int, float], *labels: str, at: float = middle) -> Verdict:
        behind = [r for label in labels for seed, r in had.records(label, at).items() if seed in values]
        return judge(claim, list(values.values()), scale=found.scale, net=had.net, data=had.data,
                     run_ids=[r.id for r in behind])  # fmt: skip

    tuned = "gem-miner-tuned"
    checks = had.best_of(("gem-miner-tuned-inverted", "gem-miner-tuned-redrawn"), middle)
    pruners = had.best_of(("synflow-twice", "snip-twice"), middle)
    steps = [had.differences(_tuned(after), _tuned(before), middle) for before, after in pairwise(CHAIN)]
    common = set.intersection(*(set(step) for step in steps))
    return judge_all([
        *(judged(claim, had.differences(tuned, "lottery", density), tuned, "lottery", at=density)
          for claim, density in ((S212, middle), (S212_DENSER, dense), (S212_SPARSER, sparse))),
        judged(S212_TIME, had.speedup(sparse), "gem-miner", "lottery", at=sparse),
        judged(S212_SHUFFLED, had.differences(tuned, f"{tuned}-shuffled", middle), tuned, f"{tuned}-shuffled"),
        judged(S211, had.minus(tuned, checks, middle), tuned, f"{tuned}-inverted", f"{tuned}-redrawn"),
        judged(S212_BEFORE, had.minus(tuned, pruners, middle), tuned, "synflow-twice", "snip-twice"),
        judged(S213, {seed: min(step[seed] for step in steps) for seed in sorted(common)}, *map(_tuned, CHAIN)),
        *(judged(claim, step, _tuned(before), _tuned(after))
          for claim, step, (before, after) in zip(STEPS, steps, pairwise(CHAIN), strict=True)),
    ])  # fmt: skip


def _tuned(name: str) -> str:
    return f"{name}-tuned"


def answers(found: Findings) -> list[str]:
    """What the tables say, with n and intervals."""
    had = searched(found)
    said = []
    for density in had.densities:
        pairs = Spread(tuple(had.differences("gem-miner-tuned", "lottery", density).values()))
        if pairs.n > 1 and pairs.interval is not None:
            means = {label: statistics.fmean(v) for label in METHODS if (v := had.trained(label, density).values())}
            best = max(means, key=lambda label: means[label])
            first = "lottery tickets do" if best == "lottery" else f"{called(best)} does"
            said.append(
                f"At {words.sparsity(density)} sparsity ({100 * density:.3g} % density) {first} best, with "
                f"{means[best]:.2f} %. Gem-Miner, fine-tuned, less lottery ticket: {signed(pairs.mean)} "
                f"points (95 % interval {signed(pairs.interval.low)} to "
                f"{signed(pairs.interval.high)}, n = {pairs.n}); the paper has them equal."
            )
    sparse, middle = had.densities[-1], had.densities[1]
    if faster := had.speedup(sparse):
        said.append(
            f"Its wiring at {words.sparsity(sparse)} is there {statistics.fmean(faster.values()):.1f} times as soon as "
            f"the ticket's, after 1 training instead of {max(ROUNDS.get(found.preset, ROUNDS['laptop']))} "
            f"(n = {len(faster)}; the paper says up to 19)."
        )
    for check, what in (("shuffled", "shuffled within its layers"), ("inverted", "inverted"),
                        ("redrawn", "with its weights drawn anew")):  # fmt: skip
        lost = Spread(tuple(had.differences("gem-miner-tuned", f"gem-miner-tuned-{check}", middle).values()))
        if lost.n > 1 and lost.interval is not None:
            said.append(
                f"At {words.sparsity(middle)} its wiring, {what}, loses {lost.mean:.2f} points (95 % interval "
                f"{signed(lost.interval.low)} to {signed(lost.interval.high)}, n = {lost.n})."
            )
    return said


study = Study(
    name="gem_miner",
    title="Is a wiring that is found by scores worth a lottery ticket?",
    question="Gem-Miner trains a score for each connection of a network whose weights stay as they were drawn, prunes "
    "by score while it trains, and hands over a wiring that is then fine-tuned: one training, where iterative "
    "magnitude pruning takes twenty. Is its wiring as good, how much sooner is it there, is it the wiring that "
    "matters, and which of its ingredients?\n\n"
    "Against lottery tickets, edge-popup, SynFlow, SNIP, smart ratios and random wirings at 3.72, 1.44 and 0.59 % "
    "density. What is wired before training also trains twice as long: as long as a search and its fine-tuning.",
    presets={
        "smoke": Preset(seeds=2, takes="a minute: Gaussian blobs, a small network, four epochs"),
        "laptop": Preset(seeds=5, takes="half an hour on two cores: LeNet-300-100 on MNIST, four epochs a training"),
        "overnight": Preset(seeds=5, takes="days on a laptop, a night on a GPU: ResNet-20 on CIFAR-10, 30 + 30 epochs"),
        "paper": Preset(seeds=5, takes="a GPU: ResNet-20 on CIFAR-10, 150 + 150 epochs"),
    },
    runs=runs,
    tables=tables,
    figures=figures,
    claims=claims,
    answers=answers,
    source="Sreenivasan, Sohn, Yang, Grinde, Nagle, Wang, Xing, Lee & Papailiopoulos 2022, Rare Gems: Finding Lottery "
    "Tickets at Initialization",
)  # fmt: skip
