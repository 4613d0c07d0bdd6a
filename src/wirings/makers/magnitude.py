"""Magnitude wirings: keep the largest weights, ranked together or weight by weight, plain or scaled as LAMP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Generator, Tensor, nn

from wirings.core import scores
from wirings.core.budgets import AnyBudget, Budget, check_density, uniform
from wirings.core.errors import WiringError
from wirings.core.forms import AnyForm, Form, Unstructured
from wirings.core.names import matches
from wirings.core.select import top_global
from wirings.core.settings import register
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable

Scope = Literal["global", "local"]
"""Whether connections are ranked over the whole network, or within each weight."""


def magnitude(
    weights: nn.Module | Mapping[str, Tensor],
    density: float,
    *,
    scope: Scope = "global",
    budget: Budget = uniform,
    form: Form = Unstructured(),
    except_: Iterable[str] = (),
) -> Wiring:
    """The wiring of the largest weights: before training, the simplest guess; after it, the classic pruning.

    Example:
        >>> weights = {"a": torch.tensor([[3.0, -1.0]]), "b": torch.tensor([[2.0], [0.5]])}
        >>> {name: t.index.tolist() for name, t in magnitude(weights, 0.5).items()}
        {'a': [0], 'b': [0]}

    Args:
        weights: a model (its :func:`prunable` weights), or weight name -> tensor. Nothing is written to them.
        density: of all these weights together, in (0, 1].
        scope: ``"global"`` ranks all weights together; ``"local"`` gives each weight its share of ``budget``.
        budget: how connections are shared out over the weights where ``scope="local"``.
        form: what each topology must look like; any but unstructured needs ``scope="local"``.
        except_: patterns of weights that are left out (they stay dense).

    Raises:
        ValueError: if the density is outside (0, 1], a weight is NaN, or the settings contradict each other.
    """
    return Magnitude(density, scope=scope, budget=budget, form=form)._wiring(_chosen(weights, except_))


def lamp(weights: nn.Module | Mapping[str, Tensor], density: float, *, except_: Iterable[str] = ()) -> Wiring:
    """The wiring of the largest layer-adaptive magnitudes over the whole network (Lee et al. 2021, eq. 3).

    The scores of :func:`wirings.core.scores.lamp` settle the densities of the layers by themselves.

    Args:
        weights: a model (its :func:`prunable` weights), or weight name -> tensor.
        density: of all these weights together, in (0, 1].
        except_: patterns of weights that are left out (they stay dense).
    """
    return LAMP(density)._wiring(_chosen(weights, except_))


@register("maker")
@dataclass(frozen=True)
class Magnitude:
    """Keep the largest of the weights that the network has when it is asked: ``Static(begin=Magnitude(0.05))``.

    At initialisation this is the baseline that pruning at initialisation must beat (Frankle et al. 2021).

    Args:
        density: of the prunable weights together, in (0, 1].
        scope: ``"global"`` ranks all weights together; ``"local"`` gives each weight its share of ``budget``.
        budget: how connections are shared out where ``scope="local"``.
        form: what each topology must look like; any but unstructured needs ``scope="local"``.
    """

    density: float
    scope: Scope = field(default="global", kw_only=True)
    budget: AnyBudget = field(default=uniform, kw_only=True)
    form: AnyForm = field(default=Unstructured(), kw_only=True)
    kind: Literal["magnitude"] = field(default="magnitude", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "Magnitude")
        if self.scope not in get_args(Scope):
            raise ValueError(f"`scope` of `Magnitude` must be 'global' or 'local'. Got {self.scope!r}.")
        if self.scope == "global" and self.budget != uniform:
            raise ValueError(f"`budget` of `Magnitude` needs scope='local'. Got {self.budget!r} with scope='global'.")
        if self.scope == "global" and not isinstance(self.form, Unstructured):
            raise ValueError(f"`form` of `Magnitude` needs scope='local'. Got {self.form!r} with scope='global'.")

    def of_weights(self, weights: Mapping[str, Tensor], rng: Generator) -> Wiring:
        """The wiring of the largest of these; nothing is drawn."""
        return self._wiring(weights)

    def _wiring(self, weights: Mapping[str, Tensor]) -> Wiring:
        sizes = {name: scores.magnitude(weight.detach()) for name, weight in weights.items()}
        if self.scope == "global":
            return _top(sizes, self.density)
        shapes = {name: tuple(size.shape) for name, size in sizes.items()}
        counts = self.budget(shapes, self.density)
        return Wiring(
            {
                name: self.form.top(size, self.form.settle(counts[name], size.shape), _everything(size))
                for name, size in sizes.items()
            }
        )


@register("maker")
@dataclass(frozen=True)
class LAMP:
    """Keep the largest layer-adaptive magnitudes of the weights that the network has when it is asked.

    Lee et al. 2021, eq. 3.

    Args:
        density: of the prunable weights together, in (0, 1].
    """

    density: float
    kind: Literal["lamp"] = field(default="lamp", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "LAMP")

    def of_weights(self, weights: Mapping[str, Tensor], rng: Generator) -> Wiring:
        """The wiring of the best of these; nothing is drawn."""
        return self._wiring(weights)

    def _wiring(self, weights: Mapping[str, Tensor]) -> Wiring:
        return _top({name: scores.lamp(weight) for name, weight in weights.items()}, self.density)


def _chosen(weights: nn.Module | Mapping[str, Tensor], except_: Iterable[str]) -> dict[str, Tensor]:
    """Weight name -> tensor, without those that stay dense."""
    if isinstance(weights, nn.Module):
        return {name: parameter.detach() for name, parameter in prunable(weights, except_=except_).items()}
    if isinstance(except_, str):
        raise TypeError(f"`except_` must be a sequence of patterns. Got the string {except_!r}.")
    patterns = tuple(except_)
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in weights):
            raise WiringError(f"`except_` must name weights. {pattern!r} fits none of {', '.join(list(weights)[:8])}.")
    return {name: weight.detach() for name, weight in weights.items() if not matches(name, patterns)}


def _top(ranks: Mapping[str, Tensor], density: float) -> Wiring:
    """The highest of all weights together, as many as the density says."""
    shapes = {name: tuple(rank.shape) for name, rank in ranks.items()}
    total = sum(uniform(shapes, density).values())
    return top_global(ranks, total, Wiring({name: _everything(rank) for name, rank in ranks.items()}))


def _everything(weight: Tensor) -> Topology:
    return Topology.full(weight.shape, device=weight.device)
