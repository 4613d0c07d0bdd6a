"""Optimal brain damage: keep the connections with the largest second-order cost of removal, ``w² h / 2``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from wirings.core.budgets import Budget, uniform
from wirings.core.forms import Form, Unstructured
from wirings.core.settings import positive_int, register
from wirings.core.streams import stream
from wirings.core.wiring import Wiring
from wirings.makers.gradients import Problem
from wirings.makers.prunable import prunable
from wirings.makers.scoring import (
    Batch,
    Masks,
    Pace,
    Scope,
    Scored,
    Where,
    as_batches,
    call,
    prune,
    shapes_of,
    taken,
    untouched,
    unwrapped,
    weights_of,
)


def obd(
    model: nn.Module,
    batch: Batch | Iterable[Batch],
    density: float,
    *,
    probes: int | None = 64,
    rounds: int = 1,
    schedule: Pace = "exponential",
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    where: Where = prunable,
    except_: Iterable[str] = (),
    rng: Generator | None = None,
) -> Wiring:
    """Optimal brain damage (LeCun, Denker & Solla 1990), with the loss cross-entropy; at initialisation or after.

    The diagonal ``h`` is that of the generalised Gauss-Newton matrix ``J' (diag(p) - p p') J``. LeCun et al. drop the
    same term (their Levenberg-Marquardt approximation); in a network of linear maps, ReLU and max-pooling it *is* the
    Hessian's diagonal, because a logit is piecewise linear in each single weight. It needs no labels.

    Differs from the paper: connections of all layers are ranked together; the paper deletes after training by hand-set
    numbers. Batch norm uses its running statistics.

    Args:
        model: any module whose answers are logits; it is the same afterwards, to the bit.
        batch: (inputs, targets), or several; targets are not read.
        density: of the prunable weights together, in (0, 1].
        probes: random probes per batch (one backward pass each), an unbiased estimate whose standard error is about
            ``h * sqrt(2 / probes)``; ``None`` computes it exactly with a backward pass per sample and class.
        rounds, schedule: score and prune several times.
        scope, budget, form, where, except_: see :func:`wirings.makers.synflow.synflow`.
        rng: for the probes; by default the stream "obd" of seed 0.
    """
    if probes is not None and (not isinstance(probes, int) or isinstance(probes, bool) or probes < 1):
        raise ValueError(f"`probes` of `obd` must be an integer of at least 1, or None. Got {probes!r}.")
    weights = weights_of(model, where, except_, "obd")
    problem = Problem(model, weights, as_batches(batch, "obd"))
    rng = rng or stream(0, "obd")
    with untouched(model):
        return prune(
            lambda masks: obd_scores(problem, masks, probes=probes, rng=rng),
            shapes_of(weights),
            density,
            owner="obd",
            rounds=rounds,
            schedule=schedule,
            scope=scope,
            budget=budget,
            form=form,
        )


def obd_scores(
    problem: Problem, masks: Masks | None = None, *, probes: int | None = 64, rng: Generator | None = None
) -> dict[str, Tensor]:
    """``w² h / 2`` of the network masked so, ``h`` the Gauss-Newton diagonal summed over samples."""
    values = problem.masked(masks)
    diagonal = (
        _exactly(problem, values) if probes is None else _probed(problem, values, probes, rng or stream(0, "obd"))
    )
    return {name: values[name].detach().double().square() * diagonal[name] / 2 for name in values}


def _exactly(problem: Problem, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sum over samples and classes c of ``(J' s_c)²``; the ``s_c`` are the columns of the output Hessian's root."""
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in values.items()}
    for batch in problem.batches:
        answer = call(unwrapped(problem.model), problem.state(values), _inputs(batch)).flatten(0, -2)
        classes = answer.shape[-1]
        for row in range(len(answer)):
            for c in range(classes):
                one = torch.zeros_like(answer)
                one[row, c] = 1
                _add_squares(sums, values, (_root(answer.detach(), one) * answer).sum())
    return sums


def _probed(problem: Problem, values: dict[str, Tensor], probes: int, rng: Generator) -> dict[str, Tensor]:
    """The mean of ``(J' S e)²`` over Gaussian ``e``, whose expectation is the same sum."""
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in values.items()}
    for batch in problem.batches:
        answer = call(unwrapped(problem.model), problem.state(values), _inputs(batch)).flatten(0, -2)
        for _ in range(probes):
            draw = torch.randn(answer.shape, generator=rng, dtype=torch.float64).to(answer)
            _add_squares(sums, values, (_root(answer.detach(), draw) * answer).sum())
    return {name: total / probes for name, total in sums.items()}


def _root(answer: Tensor, e: Tensor) -> Tensor:
    """``S e`` with ``S S' = diag(p) - p p'``, row by row."""
    p = answer.softmax(-1)
    return p.sqrt() * e - p * (p.sqrt() * e).sum(-1, keepdim=True)


def _add_squares(sums: dict[str, Tensor], values: dict[str, Tensor], probe: Tensor) -> None:
    found = torch.autograd.grad(probe, list(values.values()), retain_graph=True, allow_unused=True)
    for total, gradient in zip(sums.values(), found, strict=True):
        if gradient is not None:
            total.add_(gradient.double().square())


def _inputs(batch: Batch) -> object:
    return batch[0] if isinstance(batch, tuple) else batch


@register("maker")
@dataclass(frozen=True)
class OBD(Scored):
    """Settings of :func:`obd`, for the command line and for settings files.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
        probes, rounds, schedule: see :func:`obd`; ``probes = 0`` here asks for the exact diagonal.
        batches: how many batches of the training data are used.
    """

    probes: int = field(default=64, kw_only=True)
    rounds: int = field(default=1, kw_only=True)
    schedule: Pace = field(default="exponential", kw_only=True)
    batches: int = field(default=1, kw_only=True)
    kind: Literal["obd"] = field(default="obd", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("rounds", self)
        positive_int("batches", self)
        if not isinstance(self.probes, int) or isinstance(self.probes, bool) or self.probes < 0:
            raise ValueError(f"`probes` of `OBD` must be an integer of at least 0. Got {self.probes!r}.")

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        return obd(
            model,
            taken(batches, self.batches, "OBD"),
            self.density,
            probes=self.probes or None,
            rounds=self.rounds,
            schedule=self.schedule,
            rng=rng,
            **self.common(),
        )
