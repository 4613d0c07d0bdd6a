"""What all pruning at initialisation shares: which weights, how many are kept in which round, and what to warn about.

An algorithm gives a *scorer*: masks of the connections still there -> scores in float64, higher is kept. The rest is
:func:`prune`. The model is never written to: scorers run it with other tensors in the place of its own.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from wirings.core.budgets import AnyBudget, Budget, check_density, uniform
from wirings.core.errors import WiringError, WiringsError
from wirings.core.forms import AnyForm, Form, Unstructured
from wirings.core.names import bare, matches
from wirings.core.select import top_mask
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.prunable import prunable

Masks = Mapping[str, Tensor]
"""Weight name -> bool tensor of the weight's shape: the connections still there."""

Scores = Mapping[str, Tensor]
"""Weight name -> float64 tensor of the weight's shape; higher is kept."""

Scorer = Callable[[Masks], Scores]
"""Scores the connections of a network that is masked so."""

Batch = tuple[Tensor, Tensor] | Mapping[str, Tensor]
"""(inputs, targets); or what a `transformers` model takes by name, ``labels`` among it."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, targets) -> a scalar."""

Where = Callable[[nn.Module], Mapping[str, nn.Parameter]] | Sequence[str]
"""The prunable set: a function like :func:`prunable`, or patterns of the names to take from it."""

Scope = Literal["global", "local"]
Pace = Literal["exponential", "linear"]


class CollapseWarning(UserWarning):
    """A layer lost every connection, or connections without any score had to be kept."""


@runtime_checkable
class ModelMaker(Protocol):
    """Writes a wiring from a model, and from data where it asks for some.

    Called twice with equal arguments, it writes equal wirings. It leaves the model as it was, to the bit, and the
    global random state too.
    """

    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator, /
    ) -> Wiring:
        """The wiring for this model.

        Args:
            model: on any device; neither weights nor buffers nor training flags change.
            shape: of one input, batch dimension first: ``(1, 3, 32, 32)``.
            batches: training data, read as far as the maker needs; ``None`` suffices for makers without data.
            rng: for everything that is drawn.
        """
        ...


class Common(TypedDict):
    """The keywords that every pruning at initialisation takes."""

    scope: Scope
    budget: Budget
    form: Form
    where: Where
    except_: tuple[str, ...]


@dataclass(frozen=True)
class Scored(ABC):
    """Settings that every pruning at initialisation shares; the base of `SynFlow`, `SNIP`, `GraSP` ...

    Args:
        density: of the prunable weights together, in (0, 1].
        scope: "global" ranks all weights together; "local" ranks within each weight, whose count the budget gives.
        budget: shares the connections out where the scope is local.
        form: what each topology must look like; counts are lowered to what it can hold.
        only: patterns of the weights to prune; empty for all that can be.
        except_: patterns of weights that stay dense and outside the count, such as ``("fc",)`` for the classifier.
    """

    density: float
    scope: Scope = field(default="global", kw_only=True)
    budget: AnyBudget = field(default=uniform, kw_only=True)
    form: AnyForm = field(default=Unstructured(), kw_only=True)
    only: tuple[str, ...] = field(default=(), kw_only=True)
    except_: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_density(self.density, owner)
        if self.scope not in ("global", "local"):
            raise ValueError(f'`scope` of `{owner}` must be "global" or "local". Got {self.scope!r}.')

    @abstractmethod
    def of_model(
        self, model: nn.Module, shape: Sequence[int], batches: Iterable[Batch] | None, rng: Generator
    ) -> Wiring:
        """See :class:`ModelMaker`."""

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        raise WiringError(
            f"`{type(self).__name__}` needs the model, not only its shapes: make the wiring first with "
            "`.of_model(model, shape, batches, rng)` and begin with that, as a `Run` does by itself."
        )

    def common(self) -> Common:
        """The shared settings as keywords of the function of the same name."""
        return Common(
            scope=self.scope,
            budget=self.budget,
            form=self.form,
            where=self.only or prunable,
            except_=self.except_,
        )


# ---------------------------------------------------------------------- choosing


def prune(
    score: Scorer,
    shapes: Shapes,
    density: float,
    *,
    owner: str,
    rounds: int = 1,
    schedule: Pace = "exponential",
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    may_return: bool = False,
    watch: Callable[[int, Scores, Masks, Masks], None] | None = None,
) -> Wiring:
    """Score, keep the best, and again: exactly ``round(density * N)`` connections are left after the last round.

    Args:
        score: the algorithm.
        shapes: of the prunable weights.
        density: in (0, 1].
        owner: whose name stands in errors and warnings.
        rounds: how often scores are taken; round k keeps the share :func:`remaining`.
        schedule: how the kept share falls from round to round.
        scope, budget, form: see :class:`Scored`.
        may_return: rank all positions in every round, so that a removed connection may come back (FORCE).
        watch: called after each round with its number (from 1), its scores, and the masks before and after.

    Raises:
        ValueError: if the density leaves no connection, or a score is NaN or infinite.
    """
    check_density(density, owner)
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise ValueError(f"`rounds` of `{owner}` must be an integer of at least 1. Got {rounds!r}.")
    total = sum(math.prod(shape) for shape in shapes.values())
    if round(density * total) < 1:
        raise ValueError(f"`density` {density} of `{owner}` leaves none of {total} connections; ask for more.")
    full = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    kept: Masks = full
    for number in range(1, rounds + 1):
        scores = {name: value.detach().cpu() for name, value in score(kept).items()}
        for name, value in scores.items():
            # the sum sees every NaN and infinity; the second look forgives a sum that overflows by itself
            if not bool(value.sum().isfinite()) and not bool(value.isfinite().all()):
                raise ValueError(
                    f"`{owner}` cannot rank `{name}`: a score is not finite. Look for a loss or a weight that is not."
                )
        share = remaining(density, number, rounds, schedule=schedule)
        before, kept = kept, _kept(scores, share, full if may_return else kept, scope, budget, form)
        if watch is not None:
            watch(number, scores, before, kept)
    _warn(owner, scores, kept, form)
    return Wiring({name: Topology.of(mask) for name, mask in kept.items()})


def remaining(density: float, number: int, rounds: int, *, schedule: Pace = "exponential") -> float:
    """The share of connections kept after round ``number`` of ``rounds``.

    ``density ** (k / n)`` (exponential; Tanaka et al. 2020, Algorithm 1) or ``1 - (1 - density) * k / n`` (linear).

    Example:
        >>> [round(remaining(0.01, k, 100), 5) for k in (1, 10, 50, 100)]
        [0.95499, 0.63096, 0.1, 0.01]
    """
    if schedule not in ("exponential", "linear"):
        raise ValueError(f'`schedule` must be "exponential" or "linear". Got {schedule!r}.')
    if number == rounds:
        return density
    return density ** (number / rounds) if schedule == "exponential" else 1 - (1 - density) * number / rounds


def _kept(scores: Scores, share: float, among: Masks, scope: Scope, budget: Budget, form: Form) -> Masks:
    """The best connections of ``among``, as many as the share of all positions says."""
    shapes = {name: tuple(mask.shape) for name, mask in among.items()}
    if scope == "local":
        counts = {name: min(k, int(among[name].sum())) for name, k in budget(shapes, share).items()}
        if isinstance(form, Unstructured):
            return {name: _best(scores[name], counts[name], mask) for name, mask in among.items()}
    else:
        chosen = _best_of_all(scores, round(share * sum(mask.numel() for mask in among.values())), among)
        if isinstance(form, Unstructured):
            return chosen
        counts = {name: int(mask.sum()) for name, mask in chosen.items()}
    return {
        name: form.top(scores[name][mask], form.settle(counts[name], mask.shape), Topology.of(mask)).mask
        for name, mask in among.items()
    }


def _best(scores: Tensor, k: int, among: Tensor) -> Tensor:
    return _narrowed(among, top_mask(scores[among], k))


def _best_of_all(scores: Scores, k: int, among: Masks) -> Masks:
    """The ``k`` best over all weights; ties to the weight named first, then to the lower index."""
    candidates = [scores[name][mask] for name, mask in among.items()]
    values = torch.cat(candidates)
    if 0 < k < values.numel():
        # Comparing with the k-th value is several times faster than selecting by position, where no tie has to be cut.
        threshold = float(np.partition(values.numpy(), values.numel() - k)[values.numel() - k])
        above = {name: mask & (scores[name] >= threshold) for name, mask in among.items()}
        if sum(int(torch.count_nonzero(mask)) for mask in above.values()) == k:
            return above
    chosen = torch.split(top_mask(values, k), [c.numel() for c in candidates])
    return {name: _narrowed(mask, c) for (name, mask), c in zip(among.items(), chosen, strict=True)}


def _narrowed(mask: Tensor, chosen: Tensor) -> Tensor:
    """``mask`` with only the ``chosen`` of its true positions."""
    narrowed = torch.zeros_like(mask)
    narrowed[mask] = chosen
    return narrowed


def _warn(owner: str, scores: Scores, kept: Masks, form: Form) -> None:
    dead = [name for name, mask in kept.items() if not bool(mask.any())]
    if dead:
        warnings.warn(
            f"`{owner}` left no connection in {listed(dead)}: nothing passes there. Raise `density`, or keep "
            "the layer out with `except_`.",
            CollapseWarning,
            stacklevel=4,
        )
    idle = sum(int((scores[name][mask] == 0).sum()) for name, mask in kept.items())
    if idle and isinstance(form, Unstructured):  # a form may have to take worthless positions along
        warnings.warn(
            f"`{owner}` had to keep {idle:,} connections whose score is zero, chosen by position alone. "
            "Raise `rounds`, or look for units that are dead already.",
            CollapseWarning,
            stacklevel=4,
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a sentence: all of them, or the first few and how many more."""
    words = ", ".join(f"`{name}`" for name in names[:most])
    return words if len(names) <= most else f"{words} and {len(names) - most} more"


# ---------------------------------------------------------------------- running a model without touching it


def weights_of(model: nn.Module, where: Where, except_: Iterable[str], owner: str) -> dict[str, nn.Parameter]:
    """The prunable set, by bare names.

    Raises:
        WiringError: if it is empty or a pattern fits nothing.
    """
    if isinstance(where, str):
        raise TypeError(f"`where` of `{owner}` must be a function or a sequence of patterns. Got {where!r}.")
    patterns = tuple(except_)
    if callable(where):
        everything = dict(where(model))
        for pattern in patterns:
            if not any(matches(name, (pattern,)) for name in everything):
                raise WiringError(f"`except_` of `{owner}` must name prunable weights. {pattern!r} fits none.")
        found = {name: p for name, p in everything.items() if not matches(name, patterns)}
    else:
        found = prunable(model, except_=patterns)
        for pattern in where:
            if not any(matches(name, (pattern,)) for name in found):
                raise WiringError(f"`where` of `{owner}` must name prunable weights. {pattern!r} fits none.")
        found = {name: p for name, p in found.items() if matches(name, where)}
    if not found:
        raise WiringError(
            f"`{owner}` found no weight to prune in `{type(model).__name__}`: it looks for exact nn.Linear, nn.Conv1d, "
            "nn.Conv2d and attention projections; name others with `where`."
        )
    return found


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Weight name -> shape."""
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside `torch.compile` and data-parallel wrappers."""
    while True:
        inner = model._modules.get("_orig_mod")
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if inner is None:
            return model
        model = inner


@contextmanager
def untouched(model: nn.Module, *, norms: Literal["train", "eval"] = "eval") -> Iterator[None]:
    """Within: every module in eval mode (norms as asked), gradients on, autocast off; afterwards all as it was."""
    flags = [(module, module.training) for module in model.modules()]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    cpu = torch.get_rng_state()
    accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        for module, _ in flags:
            # _NormBase, not the public classes: it is the common base of batch and instance norms of every dimension
            module.training = norms == "train" and isinstance(module, nn.modules.batchnorm._NormBase)
        # the math kernel is the one that can be differentiated twice
        with torch.enable_grad(), torch.autocast(device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for module, flag in flags:
            module.training = flag
        torch.set_rng_state(cpu)
        if accelerator is not None:
            torch.cuda.set_rng_state(accelerator, device)


@contextmanager
def said_which(owner: str, model: nn.Module, what: str) -> Iterator[None]:
    """Within: an error of the user's model becomes one sentence that says who ran it on what."""
    try:
        yield
    except WiringsError:
        raise
    except Exception as error:  # whatever a stranger's forward pass may raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WiringError(f"`{owner}` could not run `{type(model).__name__}` on {what}: {reason}") from error


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters (detached) and buffers (copied, since a batch norm in training writes to them), by name."""
    state = {name: p.detach() for name, p in model.named_parameters()}
    return state | {name: b.detach().clone() for name, b in model.named_buffers()}


def keys_of(model: nn.Module) -> dict[str, str]:
    """Bare name -> the name under which :func:`state_of` holds that parameter; several for a tied one."""
    first = {id(p): name for name, p in model.named_parameters()}
    return {bare(name): first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}


def leaves(weights: Mapping[str, Tensor], masks: Masks | None = None) -> dict[str, Tensor]:
    """Masked copies of the weights that gradients are taken of."""
    found = {}
    for name, weight in weights.items():
        value = weight.detach().clone()
        if masks is not None:
            value.masked_fill_(~masks[name].to(value.device), 0)
        found[name] = value.requires_grad_()
    return found


def call(model: nn.Module, state: Mapping[str, Tensor], batch_or_input: Any) -> Tensor:  # Any: whatever a model takes
    """The logits of a model that runs with ``state`` in the place of its own tensors."""
    device = next(iter(state.values())).device
    if isinstance(batch_or_input, Mapping):
        inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch_or_input.items() if k != "labels"}
        return logits(functional_call(model, dict(state), (), inputs))
    return logits(functional_call(model, dict(state), (batch_or_input.to(device),)))


def logits(output: Any) -> Tensor:  # Any: models answer with tensors, tuples, mappings or `transformers` outputs
    """The tensor that matters in what a model answers: itself, its ``logits``, or the first tensor in it."""
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for part in parts:
        if isinstance(part, Tensor) and part.is_floating_point():
            return part
    raise WiringError(f"The model must answer with a tensor, or hold one called `logits`. Got {type(output).__name__}.")


def loss_of(
    model: nn.Module, state: Mapping[str, Tensor], batch: Batch, loss: Loss | None, temperature: float = 1.0
) -> Tensor:
    """The loss of one batch; cross-entropy by default, the model's own where the batch comes by name with labels."""
    if isinstance(batch, Mapping):
        if loss is None and temperature == 1:
            device = next(iter(state.values())).device
            inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            own = getattr(functional_call(model, dict(state), (), inputs), "loss", None)
            if not isinstance(own, Tensor):
                raise WiringError("A batch by name needs `labels` that the model makes a `.loss` of; or pass `loss`.")
            return own
        if loss is None:
            raise WiringError("A temperature needs logits and targets: pass `loss`, or batches (inputs, targets).")
        answer = call(model, state, batch)
        return loss(answer / temperature, batch["labels"].to(answer.device))
    answer = call(model, state, batch[0])
    return (loss or F.cross_entropy)(answer / temperature, batch[1].to(answer.device))


def as_batches(batch_or_batches: Batch | Iterable[Batch], owner: str) -> list[Batch]:
    """One batch, or several, as a list."""
    given: Any = batch_or_batches  # Any: told apart below
    if isinstance(given, Mapping):
        return [given]
    if isinstance(given, Tensor):
        raise TypeError(f"`batch` of `{owner}` must be (inputs, targets). Got a tensor alone.")
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(part, Tensor) for part in given):
        return [(given[0], given[1])]
    found = list(given)
    if not found:
        raise ValueError(f"`batch` of `{owner}` must hold at least one batch. Got none.")
    return [batch if isinstance(batch, Mapping) else (batch[0], batch[1]) for batch in found]


def width_of_logits(model: nn.Module, shape: Sequence[int]) -> int:
    """How many classes the model tells apart: the last dimension of what it makes of zeros."""
    with untouched(model), torch.no_grad():
        state = state_of(unwrapped(model))
        first = next(t for t in state.values() if t.is_floating_point())
        return call(unwrapped(model), state, torch.zeros(tuple(shape), dtype=first.dtype)).shape[-1]


def taken(batches: Iterable[Batch] | None, n: int, owner: str) -> list[Batch]:
    """The first ``n`` batches; refused where there are none."""
    if batches is None:
        raise ValueError(f"`{owner}` needs data: give `batches`. Without data: SynFlow, NTK-SAP or magnitude.")
    found: list[Batch] = []
    for batch in batches:
        found.append(batch)
        if len(found) == n:
            break
    return as_batches(found, owner)
