"""Rules: what the forward pass sees of the trained tensor, and what the optimizer sees of the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Generator, Tensor

from wirings.core.support import Support
from wirings.core.topology import Topology


class Rule(Protocol):
    """Six pure functions between the tensor that is trained and the weight that is used.

    ``trains_scores`` tells apart the two worlds: where it is false, the trained tensor *is* the weight, on the forward
    support; where it is true, the weight stays frozen and what trains is a score for every position.
    """

    trains_scores: ClassVar[bool]

    def begin(self, weight: Tensor, rng: Generator) -> Tensor:
        """The tensor that trains, at the start; shape of ``weight``."""
        ...

    def effective(self, trained: Tensor, frozen: Tensor, support: Support) -> Tensor:
        """What the forward pass uses; zero outside ``support.forward``."""
        ...

    def factor(self, support: Support) -> float:
        """What :meth:`effective` multiplies the frozen weights by."""
        ...

    def pullback(self, gradient: Tensor, trained: Tensor, frozen: Tensor, support: Support) -> Tensor:
        """What the optimizer sees of the gradient of the effective weight; zero outside ``support.backward``."""
        ...

    def penalty(self, trained: Tensor, support: Support) -> Tensor | None:
        """A gradient to add before the optimizer's step, or ``None``. ``trained`` holds the whole backward support."""
        ...

    def project(self, trained: Tensor) -> Tensor:
        """What the trained tensor becomes right after the optimizer's step; itself, where nothing bounds it."""
        ...


@dataclass(frozen=True)
class Straight:
    """The weight itself trains: used on the forward support, moved on the backward support.

    Where backward is larger, this is the straight-through estimator: a position that the forward pass does not use
    still gets the gradient of the place where it would stand (DNW: Wortsman et al. 2019; Top-KAST: Jayakumar et al.
    2020).

    Args:
        decay: L2 strength on the forward support (the gradient of ``decay / 2 * w**2``).
        rim_decay: L2 strength on ``backward - forward``, divided by the forward density (Top-KAST, section 2.3).
    """

    decay: float = 0.0
    rim_decay: float = 0.0
    trains_scores: ClassVar[bool] = False

    def begin(self, weight: Tensor, rng: Generator) -> Tensor:
        return weight.detach().clone()

    def effective(self, trained: Tensor, frozen: Tensor, support: Support) -> Tensor:
        return _within(support.forward, trained)

    def factor(self, support: Support) -> float:
        return 1.0

    def pullback(self, gradient: Tensor, trained: Tensor, frozen: Tensor, support: Support) -> Tensor:
        return _within(support.backward, gradient)

    def penalty(self, trained: Tensor, support: Support) -> Tensor | None:
        if not (self.decay or self.rim_decay):
            return None
        inside, whole = support.forward.mask, support.backward.mask
        strength = torch.full_like(trained, self.rim_decay / support.forward.density)
        return trained * strength.masked_fill_(~whole, 0).masked_fill_(inside, self.decay)

    def project(self, trained: Tensor) -> Tensor:
        return trained


@dataclass(frozen=True)
class Scored:
    """Weights stay frozen and a score for every position trains (edge-popup; Ramanujan et al. 2020, eq. 4).

    The gradient of a score is the gradient of the effective weight, times the frozen weight, times the slope of how the
    score is read; the selection itself is passed straight through. Scores outside the backward support get none.

    Args:
        read: ``"magnitude"``: ranked by ``|s|``, whose slope is the sign (edge-popup); they begin Kaiming-uniform with
            ``a = sqrt(5)``. ``"value"``: as they are, drawn from U[0, 1] and clamped to it after each step (Gem-Miner;
            Sreenivasan et al. 2022). ``"chance"``: as ``sigmoid(s)`` (learned supermasks; Zhou et al. 2019).
        decay: L2 strength on the scores of the backward support (the gradient of ``decay / 2 * s**2``).
        rescale: multiply what is used by positions over used positions, as they are at each step (dynamic weight
            rescaling; Zhou et al. 2019, section 5.2). For the gradient it is a constant.
    """

    read: Literal["magnitude", "value", "chance"] = "magnitude"
    decay: float = 0.0
    rescale: bool = False
    trains_scores: ClassVar[bool] = True

    def begin(self, weight: Tensor, rng: Generator) -> Tensor:
        draws = torch.rand(weight.shape, generator=rng, dtype=torch.float64)
        if self.read != "value":
            bound = 1 / math.sqrt(math.prod(weight.shape[1:]))  # kaiming_uniform with a = sqrt(5) is this bound
            draws = (2 * draws - 1) * bound
        return draws.to(weight)

    def effective(self, trained: Tensor, frozen: Tensor, support: Support) -> Tensor:
        used = _within(support.forward, frozen)
        return used * self.factor(support) if self.rescale else used

    def factor(self, support: Support) -> float:
        return support.forward.numel / max(support.forward.nnz, 1) if self.rescale else 1.0

    def pullback(self, gradient: Tensor, trained: Tensor, frozen: Tensor, support: Support) -> Tensor:
        scores = gradient * frozen * self._slope(trained)
        if self.rescale:
            scores.mul_(self.factor(support))
        return _within(support.backward, scores)

    def penalty(self, trained: Tensor, support: Support) -> Tensor | None:
        if not self.decay:
            return None
        return _within(support.backward, self.decay * trained)

    def project(self, trained: Tensor) -> Tensor:
        return trained.clamp(0, 1) if self.read == "value" else trained

    def _slope(self, trained: Tensor) -> Tensor | float:
        if self.read == "magnitude":
            return trained.sign()
        if self.read == "chance":
            chance = trained.sigmoid()
            return chance * (1 - chance)
        return 1.0


_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _within(topology: Topology, values: Tensor) -> Tensor:
    """The values on the topology, zero elsewhere; the values themselves where it is full."""
    if topology.is_full:
        return values
    if values.requires_grad:  # a gradient that is itself differentiated: bits have no derivative
        return values.masked_fill(~topology.mask, 0)
    whole = _INTEGERS[values.element_size()]  # all ones where it is connected: a tenth of the time of masked_fill
    return (values.view(whole) & topology.mask.to(whole).neg_()).view(values.dtype)
