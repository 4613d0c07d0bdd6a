"""How numbers at connections follow them to another topology."""

from __future__ import annotations

import torch
from torch import Tensor

from wirings.core.topology import Topology


class Move:
    """How numbers at the connections of one topology go to those of another.

    Example:
        >>> move = Move(Topology.at((1, 4), [0, 2]), Topology.at((1, 4), [2, 3]))
        >>> move(torch.tensor([5.0, 7.0]))
        tensor([7., 0.])
    """

    def __init__(self, old: Topology, new: Topology) -> None:
        here, wanted = old.index, new.index.to(old.device)
        self._at = torch.searchsorted(here, wanted).clamp_(max=max(here.numel() - 1, 0))
        self._kept = here[self._at] == wanted if here.numel() else torch.zeros_like(wanted, dtype=torch.bool)

    def __call__(self, tensor: Tensor, start: float = 0.0) -> Tensor:
        """The numbers of kept connections in their new places; ``start`` at new ones."""
        if not tensor.numel():
            return tensor.new_full((self._at.numel(),), start)
        at, kept = self._at.to(tensor.device), self._kept.to(tensor.device)
        return torch.where(kept, tensor[at], start)
