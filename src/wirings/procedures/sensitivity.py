"""Sensitivity: how a trained network bears losing more of its connections, without being trained again."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wirings.core.scores import magnitude, random
from wirings.core.select import top, top_global
from wirings.core.settings import in_range, positive_int
from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.procedures.scoring import accuracy_on
from wirings.procedures.values import full_wiring, weights_of
from wirings.training.build import task
from wirings.training.records import Record

FRACTIONS = tuple(n / 20 for n in range(20))
"""0, 5, 10, ... 95 % of the connections removed."""


@dataclass(frozen=True, kw_only=True)
class Further:
    """What to remove.

    Args:
        order: ``"random"``, or ``"magnitude"``: the smallest first.
        scope: ``"global"``: over all weights together; ``"local"``: the same share of each.
        fractions: of the connections, ascending, in [0, 1]; the first must be 0.
        repeats: random draws. Neutral: 10 for ``"random"``; by magnitude there is one order only.
        seed: of the draws.
    """

    order: Literal["random", "magnitude"] = "magnitude"
    scope: Literal["global", "local"] = "global"
    fractions: tuple[float, ...] = FRACTIONS
    repeats: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("order", ("random", "magnitude")), ("scope", ("global", "local"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"`{name}` of `Further` must be one of {', '.join(known)}. Got {getattr(self, name)!r}."
                )
        for fraction in self.fractions:
            in_range("fractions", self, 0, 1, of=fraction)
        if not self.fractions or self.fractions[0] != 0 or list(self.fractions) != sorted(set(self.fractions)):
            raise ValueError(f"`fractions` of `Further` must ascend from 0. Got {self.fractions}.")
        positive_int("repeats", self)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Scores against the share of connections removed.

    Args:
        fractions: removed, of the connections there were.
        scores: one row a repeat, aligned with ``fractions``.
        chance: the score of guessing.
    """

    fractions: tuple[float, ...]
    scores: tuple[tuple[float, ...], ...]
    chance: float = 0.1

    @property
    def mean(self) -> tuple[float, ...]:
        """The score at each fraction, averaged over repeats."""
        return tuple(sum(column) / len(column) for column in zip(*self.scores, strict=True))

    @property
    def auc(self) -> float:
        """Area under the score relative to the initial one, over the span of fractions: 1 where nothing is lost.

        Example:
            >>> Sensitivity(fractions=(0.0, 0.5, 1.0), scores=((0.8, 0.8, 0.4),)).auc
            0.875
        """
        curve = [score / self.mean[0] for score in self.mean] if self.mean[0] else [0.0] * len(self.fractions)
        points = list(zip(self.fractions, curve, strict=True))
        area = sum((b - a) * (x + y) / 2 for (a, x), (b, y) in itertools.pairwise(points))
        span = self.fractions[-1] - self.fractions[0]
        return area / span if span else 1.0

    @property
    def q50(self) -> float | None:
        """The fraction at which half of what was above chance is lost, between measured points by a straight line.

        ``None`` where the curve never falls so far.

        Example:
            >>> Sensitivity(fractions=(0.0, 0.5, 1.0), scores=((0.9, 0.9, 0.1),)).q50
            0.75
        """
        level = self.chance + (self.mean[0] - self.chance) / 2
        points = list(zip(self.fractions, self.mean, strict=True))
        for (a, x), (b, y) in itertools.pairwise(points):
            if y <= level < x:
                return a + (b - a) * (x - level) / (x - y)
        return None


def sensitivity(
    model: nn.Module,
    score: Callable[[nn.Module], float],
    wiring: Wiring | None = None,
    *,
    further: Further = Further(),
    recalibrate: Callable[[nn.Module], object] | None = None,
    chance: float = 0.1,
) -> Sensitivity:
    """Remove ever more of a trained network's connections and score what is left (Van Gelder et al. 2020, figure 2).

    Example:
        >>> curve = sensitivity(model, accuracy, sparse.wiring, further=Further(order="random"))
        >>> curve.auc, curve.q50

    Args:
        model: the trained network; it stays as it is.
        score: of a network, an accuracy.
        wiring: the connections it has. Default: those weights that are not zero.
        further: what to remove.
        recalibrate: called with each pruned network before it is scored, for the statistics of its batch norms; see
            :func:`recalibrated`. Default: they stay as they were, as in the paper.
        chance: the score of guessing.
    """
    wiring = non_zero(model) if wiring is None else wiring
    weights = weights_of(model, wiring)
    repeats = further.repeats if further.order == "random" else 1
    rows = []
    for repeat in range(repeats):
        ranks = _ranks(weights, wiring, further, repeat)
        row = []
        for fraction in further.fractions:
            pruned = copy.deepcopy(model)
            _cut(pruned, remaining(ranks, wiring, fraction, further.scope))
            if recalibrate is not None:
                recalibrate(pruned)
            row.append(float(score(pruned)))
        rows.append(tuple(row))
    return Sensitivity(fractions=further.fractions, scores=tuple(rows), chance=chance)


def sensitivity_of(
    record: Record,
    *,
    further: Further = Further(),
    recalibrate: bool = False,
    on: Literal["test", "held-out"] = "test",
    images: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> Sensitivity:
    """The sensitivity of a finished run's network, on its own images.

    Args:
        record: of a finished run.
        further: what to remove.
        recalibrate: whether batch norms see one epoch of training images after each removal.
        on: which images score.
        images: how many of them, evenly spread over the set; by default all.
        data_root: where data sets lie.
    """
    mine = task(record.run, data_root)
    return sensitivity(
        record.model().to(mine.test.images.device),
        accuracy_on(mine, on, images, owner="sensitivity_of"),
        record.wiring,
        further=further,
        recalibrate=(lambda pruned: recalibrated(pruned, (x for x, _ in mine.train.epoch(0)))) if recalibrate else None,
        chance=1 / mine.data.classes,
    )


def remaining(scores: dict[str, Tensor], wiring: Wiring, fraction: float, scope: str) -> Wiring:
    """The wiring without the lowest-scored ``fraction`` of its connections; counts are rounded to the nearest."""
    if scope == "global":
        return top_global(scores, wiring.nnz - round(fraction * wiring.nnz), wiring)
    return Wiring({name: top(scores[name], t.nnz - round(fraction * t.nnz), t) for name, t in wiring.items()})


@torch.no_grad()
def recalibrated(model: nn.Module, images: Iterable[Tensor]) -> nn.Module:
    """Let batch norms measure their statistics anew over these batches, each batch counting the same; in place."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    modes = [(module, module.training) for module in model.modules()]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    model.eval()
    for norm in norms:
        norm.train()
    for batch in images:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


def non_zero(model: nn.Module) -> Wiring:
    """The wiring that a network's own zeros tell."""
    every = full_wiring(model)
    return Wiring({name: Topology.of(weight != 0) for name, weight in weights_of(model, every).items()})


def _ranks(weights: dict[str, Tensor], wiring: Wiring, further: Further, repeat: int) -> dict[str, Tensor]:
    """What ranks the connections: one order for all fractions, so that what is gone at 10 % is gone at 20 %."""
    values = {name: weights[name].reshape(-1)[t.index.to(weights[name].device)] for name, t in wiring.items()}
    if further.order == "magnitude":
        return {name: magnitude(value) for name, value in values.items()}
    rng = stream(further.seed, "sensitivity", repeat)
    return {name: random(value, rng) for name, value in values.items()}


@torch.no_grad()
def _cut(model: nn.Module, wiring: Wiring) -> None:
    for name, weight in weights_of(model, wiring).items():
        weight.mul_(wiring[name].mask.to(weight.device))


__all__ = [
    "FRACTIONS",
    "Further",
    "Sensitivity",
    "non_zero",
    "recalibrated",
    "remaining",
    "sensitivity",
    "sensitivity_of",
]
