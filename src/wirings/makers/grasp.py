"""GraSP: keep the connections whose removal would cost the network its gradient flow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from wirings.core.budgets import Budget, uniform
from wirings.core.forms import Form, Unstructured
from wirings.core.settings import positive_int, register
from wirings.core.streams import stream
from wirings.core.wiring import Wiring
from wirings.makers.gradients import Norms, Problem
from wirings.makers.prunable import prunable
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
    untouched,
    weights_of,
    width_of_logits,
)

Sign = Literal["paper", "synflow-data"]


def grasp(
    model: nn.Module,
    batch: Batch | Iterable[Batch],
    density: float,
    *,
    sign: Sign = "paper",
    temperature: float | None = None,
    redraw_linear: bool = False,
    rounds: int = 1,
    schedule: Pace = "exponential",
    loss: Loss | None = None,
    norms: Norms = "train",
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    where: Where = prunable,
    except_: Iterable[str] = (),
    rng: Generator | None = None,
) -> Wiring:
    """Gradient signal preservation (Wang, Zhang & Grosse 2020, equation 8).

    Removing a weight w changes the squared gradient norm by ``-2 w (H g)`` to first order; the connections with the
    largest ``w * (H g)`` are kept. One batch is cut into two halves, as in the authors' code: ``g`` and ``H g`` are
    sums over the halves.

    Example:
        >>> wiring = grasp(model, balanced(loader, classes=10), 0.02)

    Args:
        model: any module that can be differentiated twice; it is the same afterwards, to the bit.
        batch: (inputs, targets), cut into two halves; or several batches, taken as they are. The authors use 10 samples
            of every class on CIFAR-10: :func:`balanced` collects them.
        density: of the prunable weights together, in (0, 1].
        sign: "paper" keeps the largest ``w * (H g)``; "synflow-data" keeps the smallest, and takes no temperature:
            the opposite selection, which made the GraSP numbers stored with the SynFlow paper.
        temperature: divides the logits; by default 200 (the authors' code) with "paper" and 1 with "synflow-data", and
            1 where the model makes the loss itself (batches by name).
        redraw_linear: score with linear layers freshly drawn from Glorot's normal distribution, as the authors' code
            does in its copy of the network.
        rounds, schedule: more than one round is iterative GraSP.
        loss: (logits, targets) -> scalar; cross-entropy by default.
        norms: batch norm with the statistics of the batch ("train", as the authors) or its own ("eval").
        scope, budget, form, where, except_: see :func:`wirings.makers.synflow.synflow`.
        rng: for ``redraw_linear``; by default the stream "grasp" of seed 0.
    """
    if sign not in ("paper", "synflow-data"):
        raise ValueError(f'`sign` of `grasp` must be "paper" or "synflow-data". Got {sign!r}.')
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"`temperature` of `grasp` must be a positive number. Got {temperature!r}.")
    batches = _halved(as_batches(batch, "grasp"))
    own_loss = loss is None and isinstance(batches[0], Mapping)
    heat = temperature or (200.0 if sign == "paper" and not own_loss else 1.0)
    weights = weights_of(model, where, except_, "grasp")
    values: dict[str, Tensor] = {name: weight.detach() for name, weight in weights.items()}
    if redraw_linear:
        values = _redrawn(values, rng or stream(0, "grasp"))
    problem = Problem(model, values, batches, loss, heat)
    with untouched(model, norms=norms):
        return prune(
            lambda masks: grasp_scores(problem, masks, sign=sign),
            shapes_of(weights),
            density,
            owner="grasp",
            rounds=rounds,
            schedule=schedule,
            scope=scope,
            budget=budget,
            form=form,
        )


def grasp_scores(problem: Problem, masks: Masks | None = None, *, sign: Sign = "paper") -> dict[str, Tensor]:
    """``w * (H g)`` of the network masked so ("paper"), or its negative ("synflow-data")."""
    values = problem.masked(masks)
    product = problem.hessian_gradient(masks)
    turn = 1.0 if sign == "paper" else -1.0
    return {name: turn * values[name].detach().double() * product[name] for name in values}


def balanced(batches: Iterable[Batch], *, classes: int, each: int = 10) -> tuple[Tensor, Tensor]:
    """One batch with ``each`` samples of every class, the first ones that come, class by class in turn.

    In turn (0, 1, ..., 0, 1, ...), so that both halves of the batch hold the classes evenly.

    Raises:
        ValueError: if the batches end before every class has enough.
    """
    found: list[list[Tensor]] = [[] for _ in range(classes)]
    for batch in batches:
        if not isinstance(batch, (tuple, list)):
            raise TypeError("`balanced` needs batches of (inputs, targets), not batches by name.")
        for x, y in zip(batch[0], batch[1].tolist(), strict=True):
            if not isinstance(y, int) or not 0 <= y < classes:
                raise ValueError(f"`balanced` needs targets that are classes below {classes}. Got {y!r}.")
            if len(found[y]) < each:
                found[y].append(x)
        if all(len(samples) == each for samples in found):
            inputs = torch.stack([samples[i] for i in range(each) for samples in found])
            return inputs, torch.arange(classes).repeat(each)
    short = next(label for label, samples in enumerate(found) if len(samples) < each)
    raise ValueError(
        f"`each` of `balanced` asks for {each} samples of every class. Got {len(found[short])} of class {short}."
    )


@register("maker")
@dataclass(frozen=True)
class GraSP(Scored):
    """Settings of :func:`grasp`, for the command line and for settings files.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
        sign, temperature, redraw_linear, rounds, schedule, norms: see :func:`grasp`.
        samples_per_class: 10 on CIFAR-10 in the paper. Classes are counted by the width of the model's logits.
    """

    sign: Sign = field(default="paper", kw_only=True)
    temperature: float | None = field(default=None, kw_only=True)
    redraw_linear: bool = field(default=False, kw_only=True)
    rounds: int = field(default=1, kw_only=True)
    schedule: Pace = field(default="exponential", kw_only=True)
    norms: Norms = field(default="train", kw_only=True)
    samples_per_class: int = field(default=10, kw_only=True)
    kind: Literal["grasp"] = field(default="grasp", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("rounds", self)
        positive_int("samples_per_class", self)
        if self.sign not in ("paper", "synflow-data"):
            raise ValueError(f'`sign` of `GraSP` must be "paper" or "synflow-data". Got {self.sign!r}.')
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"`temperature` of `GraSP` must be a positive number. Got {self.temperature!r}.")

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        if batches is None:
            raise ValueError("`GraSP` needs data: give `batches`. Without data: SynFlow, NTK-SAP or magnitude.")
        classes = width_of_logits(model, shape)
        return grasp(
            model,
            balanced(batches, classes=classes, each=self.samples_per_class),
            self.density,
            sign=self.sign,
            temperature=self.temperature,
            redraw_linear=self.redraw_linear,
            rounds=self.rounds,
            schedule=self.schedule,
            norms=self.norms,
            rng=rng,
            **self.common(),
        )


def _halved(batches: list[Batch]) -> list[Batch]:
    """A single batch as its two halves; several as they are."""
    if len(batches) > 1:
        return batches
    batch = batches[0]
    n = len(next(iter(batch.values()))) if not isinstance(batch, tuple) else len(batch[0])
    if n < 2:
        return batches
    cut = n // 2
    if isinstance(batch, tuple):
        return [(batch[0][:cut], batch[1][:cut]), (batch[0][cut:], batch[1][cut:])]
    return [{k: v[:cut] for k, v in batch.items()}, {k: v[cut:] for k, v in batch.items()}]


def _redrawn(values: dict[str, Tensor], rng: Generator) -> dict[str, Tensor]:
    """Matrices drawn from N(0, 2 / (fan_in + fan_out)); convolutions as they are."""
    drawn = {}
    for name, value in values.items():
        draw = torch.randn(value.shape, generator=rng, dtype=torch.float64) * math.sqrt(2 / sum(value.shape[:2]))
        drawn[name] = draw.to(value) if value.ndim == 2 else value
    return drawn
