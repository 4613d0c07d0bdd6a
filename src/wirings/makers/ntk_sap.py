"""NTK-SAP: keep the connections that the spectrum of the neural tangent kernel depends on, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from wirings.core.budgets import Budget, uniform
from wirings.core.forms import Form, Unstructured
from wirings.core.settings import in_range, positive_int, register
from wirings.core.streams import stream
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable
from wirings.makers.scoring import (
    Batch,
    Masks,
    Pace,
    Scope,
    Scored,
    Where,
    call,
    keys_of,
    prune,
    said_which,
    shapes_of,
    state_of,
    untouched,
    unwrapped,
    weights_of,
)


def ntk_sap(
    model: nn.Module,
    shape: Sequence[int],
    density: float,
    *,
    rounds: int = 100,
    schedule: Pace = "exponential",
    samples: int = 64,
    spread: float = 1e-2,
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    where: Where = prunable,
    except_: Iterable[str] = (),
    rng: Generator | None = None,
) -> Wiring:
    """Pruning by neural tangent kernel alignment (Wang, Li & Sun 2023), on Gaussian inputs: no data.

    The trace of the kernel is ``E |f(x; m w) - f(x; m (w + d))|² / s²`` for small random ``d`` of standard deviation
    ``s``. A connection scores by how much that trace would change with its mask: ``|d trace / d m|``. Every round
    draws new inputs, new perturbations and new weights, so that the wiring does not hang on one draw of them.

    Differs from the paper: new weights are the model's own ones, permuted at random within each tensor, so that no
    initialiser has to be known; batch norm uses its running statistics; inputs are always Gaussian.

    Args:
        model: any module that takes real-valued inputs; it is the same afterwards, to the bit.
        shape: of one input with its batch dimension, ``(1, 3, 32, 32)``.
        density: of the prunable weights together, in (0, 1].
        rounds, schedule: 100 exponential rounds as in SynFlow; the paper uses rounds of that order.
        samples: Gaussian inputs in each round.
        spread: standard deviation of the perturbation in units of each tensor's own; neutral.
        scope, budget, form, where, except_: see :func:`wirings.makers.synflow.synflow`.
        rng: for all draws; by default the stream "ntk-sap" of seed 0.
    """
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise ValueError(f"`samples` of `ntk_sap` must be an integer of at least 1. Got {samples!r}.")
    if not 0 < spread <= 1:
        raise ValueError(f"`spread` of `ntk_sap` must be in (0, 1]. Got {spread!r}.")
    weights = weights_of(model, where, except_, "ntk_sap")
    rng = rng or stream(0, "ntk-sap")

    def score(masks: Masks) -> dict[str, Tensor]:
        first = next(iter(weights.values()))
        inputs = torch.randn((samples, *shape[1:]), generator=rng, dtype=torch.float64).to(first.dtype)
        drawn = {n: _permuted(w.detach(), rng) for n, w in weights.items()}
        shifts = {}
        for name, weight in drawn.items():
            noise = torch.randn(weight.shape, generator=rng, dtype=torch.float64).to(weight)
            shifts[name] = noise * spread * weight.square().mean().sqrt()
        return ntk_sap_scores(model, drawn, shifts, inputs, masks)

    with untouched(model):
        return prune(
            score,
            shapes_of(weights),
            density,
            owner="ntk_sap",
            rounds=rounds,
            schedule=schedule,
            scope=scope,
            budget=budget,
            form=form,
        )


def ntk_sap_scores(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    shifts: Mapping[str, Tensor],
    inputs: Tensor,
    masks: Masks,
) -> dict[str, Tensor]:
    """``|d/dm sum |f(x; m w) - f(x; m (w + shift))|²|`` at the given masks."""
    inner = unwrapped(model)
    state, keys = state_of(inner), keys_of(inner)
    soft = {name: masks[name].to(w.device, w.dtype).requires_grad_() for name, w in weights.items()}
    with said_which("ntk_sap", inner, f"Gaussian inputs of shape {tuple(inputs.shape)}"):
        here = call(inner, state | {keys[name]: m * weights[name] for name, m in soft.items()}, inputs)
    there = call(inner, state | {keys[name]: m * (weights[name] + shifts[name]) for name, m in soft.items()}, inputs)
    change = (here - there).double().square().sum()
    found = torch.autograd.grad(change, list(soft.values()), allow_unused=True)
    return {
        name: torch.zeros_like(m, dtype=torch.float64) if g is None else g.double().abs()
        for (name, m), g in zip(soft.items(), found, strict=True)
    }


def _permuted(weight: Tensor, rng: Generator) -> Tensor:
    order = torch.randperm(weight.numel(), generator=rng).to(weight.device)
    return weight.flatten()[order].view(weight.shape)


@register("maker")
@dataclass(frozen=True)
class NTKSAP(Scored):
    """Settings of :func:`ntk_sap`, for the command line and for settings files.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
        rounds, schedule, samples, spread: see :func:`ntk_sap`.
    """

    rounds: int = field(default=100, kw_only=True)
    schedule: Pace = field(default="exponential", kw_only=True)
    samples: int = field(default=64, kw_only=True)
    spread: float = field(default=1e-2, kw_only=True)
    kind: Literal["ntk-sap"] = field(default="ntk-sap", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("rounds", self)
        positive_int("samples", self)
        in_range("spread", self, 0, 1, open_low=True)

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        return ntk_sap(
            model,
            shape,
            self.density,
            rounds=self.rounds,
            schedule=self.schedule,
            samples=self.samples,
            spread=self.spread,
            rng=rng,
            **self.common(),
        )
