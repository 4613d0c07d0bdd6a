"""A site of numbers that you write down: methods can be asked without a network, an optimizer or a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wirings.core.scores import magnitude
from wirings.core.select import top
from wirings.core.support import Support
from wirings.core.topology import Topology


class FakeSite:
    """One sparse weight as a :class:`wirings.methods.Site`, made of literal tensors (float64).

    Example:
        >>> site = FakeSite([[3.0, 0.0, -1.0]], mask=[[1, 0, 1]], gradient=[[0.0, 9.0, 0.0]])
        >>> site.strongest_gradient(1, among=~site.support.forward).index.tolist()
        [1]

    Args:
        weight: the trained tensor, a (nested) list or a tensor; scores for methods that train scores.
        mask: where it is connected now; everywhere by default. Values elsewhere read as zero unless ``remembered``.
        backward: the backward mask, where it is larger.
        gradient: this step's gradient; zero by default.
        momentum: the running mean of dense gradients; zero by default.
        remembered: whether values outside the backward mask can be read (see ``Method.remembers``).
    """

    def __init__(
        self,
        weight: Tensor | Sequence[Any],
        *,
        mask: Tensor | Sequence[Any] | None = None,
        backward: Tensor | Sequence[Any] | None = None,
        gradient: Tensor | Sequence[Any] | None = None,
        momentum: Tensor | Sequence[Any] | None = None,
        remembered: bool = False,
    ) -> None:
        self._weight = torch.as_tensor(weight, dtype=torch.float64)
        zero = torch.zeros_like(self._weight)
        self._gradient = zero if gradient is None else torch.as_tensor(gradient, dtype=torch.float64)
        self._momentum = zero if momentum is None else torch.as_tensor(momentum, dtype=torch.float64)
        self.shape = tuple(self._weight.shape)
        forward = Topology.full(self.shape) if mask is None else Topology.of(torch.as_tensor(mask))
        self.support = (
            Support.both(forward) if backward is None else Support(forward, Topology.of(torch.as_tensor(backward)))
        )
        self._remembered = remembered

    def install(self, support: Support) -> None:
        """Take a new support, as attach does after an update; new connections start at zero."""
        if not self._remembered:
            self._weight = self._weight.masked_fill(~(self.support.backward & support.backward).mask, 0)
        self.support = support

    def weight(self, on: Topology) -> Tensor:
        held = self._weight if self._remembered else self._weight.masked_fill(~self.support.backward.mask, 0)
        return held.reshape(-1)[on.index]

    def gradient(self, on: Topology) -> Tensor:
        return self._gradient.reshape(-1)[on.index]

    def strongest_gradient(self, k: int, among: Topology) -> Topology:
        return top(magnitude(self.gradient(among)), k, among)

    def momentum(self, on: Topology) -> Tensor:
        return self._momentum.reshape(-1)[on.index]
