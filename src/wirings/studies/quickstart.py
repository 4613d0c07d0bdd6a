"""The quickstart: eight ways to train LeNet-300-100 on handwritten digits, at 90 and 98 % sparsity.

Every method gets the same first weights, the same batches in the same order, the same number of steps and, but for the
lottery, the same connections a layer (ERK). It is a look at what there is: with three seeds it shows intervals and
gives no verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wirings.core.budgets import erk
from wirings.core.schedules import Cosine, Cubic, Every
from wirings.core.wiring import Shapes
from wirings.makers.random import ErdosRenyi
from wirings.methods import DNW, SET, GradualMagnitude, RigL, Static
from wirings.procedures import Lottery, Pruning
from wirings.studies import words
from wirings.studies.figures import Figure
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Table
from wirings.studies.views.comparison import (
    accuracy_figure,
    cost_figure,
    difference,
    difference_figure,
    mean,
    method_table,
)
from wirings.studies.views.structure import degree_figure, evolution_figure, pixel_figure, trace_figure
from wirings.training.settings import Run

DENSITIES = (0.1, 0.02)
ROUNDS = (0.46, 0.215, 0.1, 0.045, 0.02)
"""What each round of the lottery keeps: a ticket at 90 % after three rounds of pruning, one at 98 % after five."""

METHODS = ("static", "set", "rigl", "dnw-frozen", "dnw", "gradual", "lottery")
"""From the one that knows least about the task to the one that costs most."""


def runs(preset: str, seeds: Sequence[int]) -> list[Work]:
    """Dense, six methods at two densities, and a lottery, for each seed; the longest chains first."""
    work: list[Work] = []
    for seed in seeds:
        dense = _run(preset, seed)
        work.append(Lottery(run=dense, rounds=len(ROUNDS), pruning=Keeping(densities=ROUNDS)))
    for density in DENSITIES:
        for method in _methods(density, Every(0.1 if preset == "smoke" else 0.02, until=0.75)):
            work += [_run(preset, seed, method=method, label=_label(method)) for seed in seeds]
    return work


def _run(preset: str, seed: int, **settings: object) -> Run:
    if preset == "smoke":
        return Run(data="gaussian-blobs", epochs=6, seed=seed, **settings)  # type: ignore[arg-type]
    return Run(epochs=15, batch_size=64, learning_rate=0.05, seed=seed, **settings)  # type: ignore[arg-type]


def _methods(density: float, often: Every) -> list[Static | SET | RigL | DNW | GradualMagnitude]:
    """The methods at one density, each layer at its ERK share; exchanges are as frequent as a short run needs."""
    begin = ErdosRenyi(density, budget=erk)
    return [
        DNW(density=density, budget=erk),
        DNW(density=density, budget=erk, freeze_at=0.2),
        GradualMagnitude(density=Cubic(final=density, begin=0.1, until=0.75), when=Every(0.01), budget=erk),
        RigL(begin=begin, when=often),
        SET(begin=begin, fraction=Cosine(0.3, over=0.75), when=often),
        Static(begin=begin),
    ]


def _label(method: object) -> str:
    return "dnw-frozen" if getattr(method, "freeze_at", None) is not None else ""


@dataclass(frozen=True, kw_only=True)
class Keeping(Pruning):
    """Global magnitude pruning that keeps a given share after each round."""

    densities: tuple[float, ...] = ()

    def counts(self, shapes: Shapes, level: int) -> dict[str, int]:
        running, counts = 0.0, {}
        for name, shape in shapes.items():
            ideal = math.prod(shape) * (1.0 if level == 0 else self.densities[level - 1])
            counts[name] = round(running + ideal) - round(running)
            running += ideal
        return counts


# ---------------------------------------------------------------------- what they say


def tables(found: Findings) -> list[Table]:
    """One row a method and sparsity."""
    caption = (
        "Accuracy is of the last values on the test images, which were read once. All methods share "
        "first weights, batches "
        "and steps; all but the lottery, which prunes globally, share the ERK budget. A lottery "
        "ticket has been trained "
        "several times; its cost counts every round."
    )
    return [method_table(found, METHODS, DENSITIES, caption=caption)]


def figures(found: Findings) -> list[Figure]:
    """A figure a question."""
    sparsest = DENSITIES[-1]
    first = [record for method in METHODS for record in found.of(method, density=sparsest)[:1]]
    at = f"at {words.sparsity(sparsest)} sparsity"
    one = f"{at}, seed {first[0].seed}" if first else at
    ticket = "The lottery ticket shows every round of its pruning. The next figure shows how sure the order is."
    drawn = [
        accuracy_figure(found, METHODS, caption=ticket),
        difference_figure(found, METHODS, DENSITIES),
        cost_figure(found, METHODS, DENSITIES),
        degree_figure(first, what=one),
        pixel_figure(first, what=one),
        evolution_figure({method: found.of(method, density=sparsest) for method in METHODS}, what=at),
        trace_figure([record for record in first if record.method in ("set", "rigl", "dnw-frozen", "dnw")], what=one),
    ]
    return [figure for figure in drawn if figure is not None]


def answers(found: Findings) -> list[str]:
    """What the table says, with its uncertainty."""
    dense = found.cell("dense")
    said = []
    for density in DENSITIES:
        cells = [c for method in METHODS if (c := found.cell(method, density)) is not None]
        if dense is None or len(cells) < 2:
            continue
        best = max(cells, key=lambda cell: mean(cell.last))
        lost = mean(dense.last) - mean(best.last)
        text = (
            f"At {words.sparsity(density)} sparsity the highest mean is that of {words.method(best.method)}: "
            f"{mean(best.last):.2f} %, {abs(lost):.2f} points {'below' if lost >= 0 else 'above'} the "
            "dense network"
        )
        above = difference(found, best, "static")
        if above is not None and above.interval is not None:
            span = above.interval
            text += f" and {above.mean:.2f} above a random wiring (95 % interval {span.low:.2f} to {span.high:.2f})"
        said.append(text + f", n = {best.n}.")
    if said:
        said.append("So few seeds show the size of things, not the order of neighbours: read the intervals.")
    return said


study = Study(
    name="quickstart",
    title="Eight ways to a sparse network",
    question="How much of a small network can be left out, which way of choosing its connections "
    "keeps the most accuracy, "
    "and what do the chosen wirings look like? LeNet-300-100 on 10,000 handwritten digits: dense, "
    "wired at random, and "
    "wired by six methods before, while or after training, at 90 and 98 % sparsity.",
    presets={
        "smoke": Preset(seeds=2, takes="seconds: small images of Gaussian blobs, six epochs"),
        "laptop": Preset(seeds=3, takes="at most three minutes on two cores: the embedded digits, 15 epochs"),
    },
    runs=runs,
    tables=tables,
    figures=figures,
    answers=answers,
)
