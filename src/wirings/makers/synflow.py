"""SynFlow: prune without data, by the flow through the absolute network, and never let a layer collapse."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from wirings.core.budgets import Budget, uniform
from wirings.core.forms import Form, Unstructured
from wirings.core.settings import positive_int, register
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.controls import inverted_scores
from wirings.makers.homogeneous import Homogeneous
from wirings.makers.prunable import prunable
from wirings.makers.scoring import (
    Batch,
    CollapseWarning,
    Masks,
    Pace,
    Scope,
    Scored,
    Where,
    keys_of,
    listed,
    logits,
    prune,
    said_which,
    shapes_of,
    untouched,
    unwrapped,
    weights_of,
)


def synflow(
    model: nn.Module,
    shape: Sequence[int],
    density: float,
    *,
    rounds: int = 100,
    schedule: Pace = "exponential",
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    where: Where = prunable,
    except_: Iterable[str] = (),
) -> Wiring:
    """Iterative synaptic flow pruning (Tanaka, Kunin, Yamins & Ganguli 2020, Algorithm 1). It needs no data.

    Each round scores every connection by the flow ``R = 1' prod |W_l| 1`` that would be lost with it and keeps the
    best of all layers together. Flow is conserved from layer to layer, so a layer that grows thin grows precious.

    Example:
        >>> wiring = synflow(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), (1, 8), 0.25)
        >>> wiring.nnz
        10

    Differs from the paper: exactly ``round(density * N)`` connections are kept, ties to the lower index, never "all
    above a threshold". Batch norm's running mean (zero at initialisation) is left out, so that the flow stays positive
    in a trained network; see :mod:`wirings.makers.homogeneous` for attention, layer norms and smooth activations.

    Args:
        model: any module; it is the same afterwards, to the bit.
        shape: of one input with its batch dimension, ``(1, 3, 32, 32)``; for a model of tokens ``(1, length)``.
        density: of the prunable weights together, in (0, 1].
        rounds: 100 in the paper.
        schedule: "exponential" in the paper; "linear" prunes too much at once at the end.
        scope, budget, form: see :class:`SynFlow`.
        where: the prunable set: a function like `prunable`, or patterns to choose from it.
        except_: patterns of what stays dense, e.g. ``("fc", "*shortcut*")``. SynFlow tends to remove all 1×1
            shortcuts of a residual network: leave them out to keep them.

    Raises:
        ValueError: a density that leaves nothing, or a flow beyond float64.
        WiringError: a model without weights to prune.
    """
    weights = weights_of(model, where, except_, "synflow")
    flow = Flow(model, shape, weights)
    with untouched(flow.model):
        wiring = prune(
            flow.scores,
            shapes_of(weights),
            density,
            owner="synflow",
            rounds=rounds,
            schedule=schedule,
            scope=scope,
            budget=budget,
            form=form,
        )
    return wiring


def synflow_scores(
    model: nn.Module,
    shape: Sequence[int],
    *,
    masks: Masks | None = None,
    where: Where = prunable,
    except_: Iterable[str] = (),
) -> dict[str, Tensor]:
    """The synaptic flow through every connection, ``|w| * dR/d|w|``, in float64: one round of :func:`synflow`.

    Args:
        model, shape, where, except_: see :func:`synflow`; with ``where=with_biases`` biases are scored too.
        masks: connections that are still there; all by default.
    """
    weights = weights_of(model, where, except_, "synflow")
    flow = Flow(model, shape, weights)
    with untouched(flow.model):
        return flow.scores(masks or {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()})


class Flow:
    """The absolute network in float64: a scorer, and the total flow ``R`` of its last call."""

    total: float

    def __init__(self, model: nn.Module, shape: Sequence[int], weights: Mapping[str, nn.Parameter]) -> None:
        if isinstance(shape, (int, str)) or not all(isinstance(n, int) and n >= 1 for n in shape):
            raise ValueError(f"`shape` of `synflow` must be the sizes of an input, like (1, 3, 32, 32). Got {shape!r}.")
        self.model, self.shape = unwrapped(model), tuple(shape)
        self.keys = {name: key for name, key in keys_of(self.model).items() if name in weights}
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        self.absolute = {name: _absolute(t.detach()) for name, t in tensors}
        self.device = next(iter(weights.values())).device
        self.seen_once = False

    def scores(self, masks: Masks) -> dict[str, Tensor]:
        """``|w| * dR/d|w|`` of the network masked so."""
        leaves = {}
        for name, key in self.keys.items():
            weight = self.absolute[key].clone()
            leaves[name] = weight.masked_fill_(~masks[name].to(weight.device), 0).requires_grad_()
        total = self.forward({self.keys[name]: leaf for name, leaf in leaves.items()})
        self.total = total.item()
        if not total.isfinite():
            raise ValueError("`synflow` cannot score this model: its flow overflows float64. Rescale its weights.")
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        found = {}
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            found[name] = torch.zeros_like(leaf) if gradient is None else gradient.mul_(leaf.detach())
        self._look(found, masks)
        return {name: score.detach() for name, score in found.items()}

    def forward(self, weights: Mapping[str, Tensor]) -> Tensor:
        """``R``: the sum of what the absolute network makes of ones."""
        ones = torch.ones(self.shape, dtype=torch.float64, device=self.device)
        with _float64(), Homogeneous(self.model), said_which("synflow", self.model, f"ones of shape {self.shape}"):
            return logits(functional_call(self.model, {**self.absolute, **weights}, (ones,))).sum()

    def _look(self, scores: Mapping[str, Tensor], masks: Masks) -> None:
        """Say once what keeps the theory from holding."""
        if self.seen_once:
            return
        self.seen_once = True
        negative = [name for name, s in scores.items() if s.numel() and float(s.min()) < -1e-12 * float(s.abs().max())]
        if negative:
            warnings.warn(
                f"`synflow` finds negative flow in {listed(negative)}: the model subtracts somewhere, so layers may "
                "collapse. Leave them out with `except_`.",
                CollapseWarning,
                stacklevel=5,
            )
        matrices = {name: s for name, s in scores.items() if s.ndim > 1}  # biases are zero at initialisation
        idle = [name for name, s in matrices.items() if bool(masks[name].any()) and not bool((s != 0).any())]
        if idle:
            zero = [f"{n}.weight" for n, m in self.model.named_modules() if _is_zero_scale(m)]
            cause = (
                f"{listed(zero)} {'is' if len(zero) == 1 else 'are'} zero; begin with ones instead"
                if zero
                else "a weight or a path around them is zero, or the model does not use them"
            )
            warnings.warn(
                f"`synflow` finds no flow in {listed(idle)}, which will be pruned first: {cause}.",
                CollapseWarning,
                stacklevel=5,
            )


def module_flows(model: nn.Module, shape: Sequence[int], modules: Sequence[str]) -> dict[str, float]:
    """The flow ``<dR/dy, y>`` that leaves each named module: for what carries flow and has no weight, as a shortcut.

    Args:
        model, shape: see :func:`synflow`.
        modules: names as in ``model.named_modules()``; each is called once in a forward pass.
    """
    flow = Flow(model, shape, weights_of(model, prunable, (), "module_flows"))
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
            # a copy, so that only what leaves through this module counts, not the same tensor used elsewhere
            outputs[name] = output * 1
            return outputs[name]

        handles.append(flow.model.get_submodule(name).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name in modules:
            keep(name)
        with untouched(flow.model):
            total = flow.forward({key: flow.absolute[key].clone().requires_grad_() for key in flow.keys.values()})
            gradients = torch.autograd.grad(total, list(outputs.values()))
    finally:
        for handle in handles:
            handle.remove()
    return {name: float((g * y.detach()).sum()) for (name, y), g in zip(outputs.items(), gradients, strict=True)}


@register("maker")
@dataclass(frozen=True)
class SynFlow(Scored):
    """Settings of :func:`synflow`, for the command line and for settings files.

    Args:
        density, scope, budget, form, only, except_: see :class:`wirings.makers.scoring.Scored`.
        rounds: how often the flow is measured; 100 in the paper.
        schedule: "exponential" in the paper.
        inverted: the control of Frankle et al. 2021: as many connections in each weight as SynFlow keeps, but those of
            the least flow in the unpruned network.
    """

    rounds: int = field(default=100, kw_only=True)
    schedule: Pace = field(default="exponential", kw_only=True)
    inverted: bool = field(default=False, kw_only=True)
    kind: Literal["synflow"] = field(default="synflow", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int("rounds", self)
        if self.schedule not in ("exponential", "linear"):
            raise ValueError(f'`schedule` of `SynFlow` must be "exponential" or "linear". Got {self.schedule!r}.')

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        wiring = synflow(model, shape, self.density, rounds=self.rounds, schedule=self.schedule, **self.common())
        if not self.inverted:
            return wiring
        scores = synflow_scores(model, shape, where=self.common()["where"], except_=self.except_)
        least = inverted_scores(scores)
        return Wiring(
            {name: self.form.top(least[name].cpu(), t.nnz, Topology.full(t.shape)) for name, t in wiring.items()}
        )


def _absolute(tensor: Tensor) -> Tensor:
    """``|t|`` in float64; integers and booleans as they are, and infinities (those of attention masks) too."""
    if not tensor.is_floating_point():
        return tensor.clone()
    wide = tensor.double()
    return torch.where(wide.isfinite(), wide.abs(), wide)


def _is_zero_scale(module: nn.Module) -> bool:
    """Whether a norm multiplies by nothing but zeros, as "zero-init residual" has it."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 1 and weight.numel() > 0 and not bool((weight != 0).any())


@contextmanager
def _float64() -> Iterator[None]:
    """Tensors that a forward pass makes for itself are float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
