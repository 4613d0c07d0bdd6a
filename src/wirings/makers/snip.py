"""SNIP, iterative SNIP and FORCE: keep the connections that the loss feels most at initialisation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from wirings.core.budgets import Budget, uniform
from wirings.core.forms import Form, Unstructured
from wirings.core.scores import saliency
from wirings.core.settings import positive_int, register
from wirings.core.streams import stream
from wirings.core.wiring import Wiring
from wirings.makers.gradients import Norms, Problem
from wirings.makers.prunable import prunable, with_biases
from wirings.makers.scoring import (
    Batch,
    Loss,
    Masks,
    Pace,
    Scope,
    Scored,
    Where,
    as_batches,
    prune,
    shapes_of,
    taken,
    untouched,
    weights_of,
)


def snip(
    model: nn.Module,
    batch: Batch | Iterable[Batch],
    density: float,
    *,
    rounds: int = 1,
    force: bool = False,
    schedule: Pace = "exponential",
    original: bool = False,
    loss: Loss | None = None,
    norms: Norms = "eval",
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    where: Where = prunable,
    except_: Iterable[str] = (),
    rng: Generator | None = None,
) -> Wiring:
    """Single-shot pruning by connection sensitivity ``|w * dL/dw|`` (Lee, Ajanthan & Torr 2019).

    With ``rounds`` it is iterative SNIP, and with ``force`` FORCE (de Jorge et al. 2021): the gradient is that of the
    pruned network at *every* position, times the weight that stood there, so what was removed may return.

    Example:
        >>> wiring = snip(model, (images, labels), 0.05)
        >>> wiring = snip(model, batches, 0.01, rounds=60, force=True)

    Differs from the paper: biases stay and the model's own weights are scored, as in all later work; ``original=True``
    gives the paper's way. All rounds use the same batches.

    Args:
        model: any module; it is the same afterwards, to the bit.
        batch: (inputs, targets), or several; one of 100 (MNIST) or 128 (CIFAR) in the paper.
        density: of the prunable weights together, in (0, 1].
        rounds: 1 is SNIP; the FORCE paper uses 60 to 300.
        force: let removed connections return.
        schedule: how the kept share falls over the rounds.
        original: score biases too (the wiring then names them), on weights freshly drawn from Glorot's uniform
            distribution (biases zero, as there). The paper prunes one draw and trains another; the model's own weights
            are that other one.
        loss: (logits, targets) -> scalar; cross-entropy by default.
        norms: batch norm with its "eval" statistics (as in the SynFlow comparison) or those of the batch ("train").
        scope, budget, form, where, except_: see :func:`wirings.makers.synflow.synflow`.
        rng: for the draw of ``original``; by default the stream "snip" of seed 0.
    """
    if force and rounds == 1:
        raise ValueError("`force` of `snip` needs `rounds` of at least 2: in one round nothing can return.")
    if original and where is not prunable:
        raise ValueError("`original` of `snip` settles the prunable set itself; narrow it with `except_`.")
    everywhere = with_biases if original else where
    weights = weights_of(model, everywhere, except_, "snip")
    values: dict[str, Tensor] = {name: weight.detach() for name, weight in weights.items()}
    if original:
        values = _glorot(values, rng or stream(0, "snip"))
    problem = Problem(model, values, as_batches(batch, "snip"), loss)
    with untouched(model, norms=norms):
        return prune(
            lambda masks: snip_scores(problem, masks, force=force),
            shapes_of(weights),
            density,
            owner="snip",
            rounds=rounds,
            schedule=schedule,
            scope=scope,
            budget=budget,
            form=form,
            may_return=force,
        )


def snip_scores(problem: Problem, masks: Masks | None = None, *, force: bool = False) -> dict[str, Tensor]:
    """``|w * dL/dw|`` of the network masked so; masked positions score 0, unless ``force`` gives them theirs."""
    gradient = problem.gradient(masks)
    values = problem.weights if force or masks is None else problem.masked(masks)
    return {name: saliency(values[name].detach().double(), gradient[name]) for name in gradient}


@register("maker")
@dataclass(frozen=True)
class SNIP(Scored):
    """Settings of :func:`snip`, for the command line and for settings files.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
        rounds, force, schedule, original, norms: see :func:`snip`.
        batches: how many batches of the training data the gradient is summed over; 1 in the paper.
    """

    rounds: int = field(default=1, kw_only=True)
    force: bool = field(default=False, kw_only=True)
    schedule: Pace = field(default="exponential", kw_only=True)
    original: bool = field(default=False, kw_only=True)
    norms: Norms = field(default="eval", kw_only=True)
    batches: int = field(default=1, kw_only=True)
    kind: Literal["snip"] = field(default="snip", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("rounds", self)
        positive_int("batches", self)
        if self.force and self.rounds == 1:
            raise ValueError("`force` of `SNIP` needs `rounds` of at least 2: in one round nothing can return.")
        if self.original and self.only:
            raise ValueError("`original` of `SNIP` settles the prunable set itself; narrow it with `except_`.")

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        return snip(
            model,
            taken(batches, self.batches, "SNIP"),
            self.density,
            rounds=self.rounds,
            force=self.force,
            schedule=self.schedule,
            original=self.original,
            norms=self.norms,
            rng=rng,
            **self.common(),
        )


def _glorot(values: dict[str, Tensor], rng: Generator) -> dict[str, Tensor]:
    """Fresh draws from U(-a, a), a = sqrt(6 / (fan_in + fan_out)); vectors (biases) are zero."""
    drawn = {}
    for name, value in values.items():
        if value.ndim < 2:
            drawn[name] = torch.zeros_like(value)
            continue
        kernel = math.prod(value.shape[2:])
        limit = math.sqrt(6 / (kernel * (value.shape[0] + value.shape[1])))
        uniform_draw = torch.rand(value.shape, generator=rng, dtype=torch.float64)
        drawn[name] = ((2 * uniform_draw - 1) * limit).to(value)
    return drawn
