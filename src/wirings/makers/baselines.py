"""Random and magnitude pruning at initialisation, told like SNIP: comparisons differ in the score only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from wirings.core.scores import magnitude
from wirings.core.settings import register
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.scoring import Batch, Scored, prune, shapes_of, weights_of


def random_scores(weights: Mapping[str, Tensor], rng: Generator) -> dict[str, Tensor]:
    """Independent normal draws: layers come out equally dense but for binomial noise ("Rand" of Tanaka et al. 2020)."""
    return {n: torch.randn(w.shape, generator=rng, dtype=torch.float64) for n, w in weights.items()}


def magnitude_scores(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``|w|`` in float64. Under Kaiming's initialisation wide layers have small weights, and die first."""
    return {n: magnitude(w.detach().double()) for n, w in weights.items()}


@register("maker")
@dataclass(frozen=True)
class RandomAtInit(Scored):
    """Random pruning at initialisation: the best of random scores, over all layers together.

    Exact counts within each layer: :class:`wirings.makers.random.ErdosRenyi` with the budget you want.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
    """

    kind: Literal["random-at-init"] = field(default="random-at-init", kw_only=True, repr=False)

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        return self(shapes_of(weights_of(model, self.common()["where"], self.except_, "RandomAtInit")), rng)

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        """The wiring for these weights: their shapes are all it takes."""
        scores = random_scores({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, rng)
        return prune(
            lambda _: scores,
            shapes,
            self.density,
            owner="RandomAtInit",
            scope=self.scope,
            budget=self.budget,
            form=self.form,
        )


@register("maker")
@dataclass(frozen=True)
class MagnitudeAtInit(Scored):
    """Magnitude pruning at initialisation: the largest weights of all layers together.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
    """

    kind: Literal["magnitude-at-init"] = field(default="magnitude-at-init", kw_only=True, repr=False)

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        return self.of_weights(weights_of(model, self.common()["where"], self.except_, "MagnitudeAtInit"), rng)

    def of_weights(self, weights: Mapping[str, Tensor], rng: Generator) -> Wiring:
        """The wiring for these weights: their values are all it takes."""
        scores = magnitude_scores(weights)
        return prune(
            lambda _: scores,
            shapes_of(weights),
            self.density,
            owner="MagnitudeAtInit",
            scope=self.scope,
            budget=self.budget,
            form=self.form,
        )
