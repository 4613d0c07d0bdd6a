"""Sums of loss gradients over batches, for a network masked so: what SNIP, FORCE and GraSP score with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wirings.makers.scoring import Batch, Loss, Masks, keys_of, leaves, loss_of, state_of, unwrapped

Norms = Literal["train", "eval"]


@dataclass(frozen=True)
class Problem:
    """A model, some of its weights, and batches: everything that a gradient needs.

    Args:
        model: runs with other tensors in the place of its own.
        weights: name -> weight; other values than the model's own may stand there.
        batches: gradients are summed over them, in float64.
        loss: (logits, targets) -> scalar; ``None`` for cross-entropy.
        temperature: divides the logits.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    batches: Sequence[Batch]
    loss: Loss | None = None
    temperature: float = 1.0

    def state(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of the model, with ``values`` in their places."""
        inner = unwrapped(self.model)
        keys = keys_of(inner)
        return state_of(inner) | {keys[name]: value for name, value in values.items()}

    def masked(self, masks: Masks | None) -> dict[str, Tensor]:
        """Leaves with the weights' values where the masks are true, and zeros elsewhere."""
        return leaves(self.weights, masks)

    def loss_at(self, values: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The loss of one batch."""
        return loss_of(unwrapped(self.model), self.state(values), batch, self.loss, self.temperature)

    def gradient(self, masks: Masks | None) -> dict[str, Tensor]:
        """The gradient at every position, masked ones included, summed over the batches."""
        values = self.masked(masks)
        sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in values.items()}
        for batch in self.batches:
            found = torch.autograd.grad(self.loss_at(values, batch), list(values.values()), allow_unused=True)
            for total, gradient in zip(sums.values(), found, strict=True):
                if gradient is not None:
                    total.add_(gradient.double())
        return sums

    def hessian_gradient(self, masks: Masks | None) -> dict[str, Tensor]:
        """``H g`` with the summed gradient ``g`` held constant, summed over the batches (double backpropagation)."""
        values = self.masked(masks)
        g = self.gradient(masks)
        sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in values.items()}
        for batch in self.batches:
            first = torch.autograd.grad(
                self.loss_at(values, batch), list(values.values()), create_graph=True, allow_unused=True
            )
            terms = [(g[n].to(d.dtype) * d).sum() for n, d in zip(values, first, strict=True) if d is not None]
            product = torch.stack(terms).sum()
            if not product.requires_grad:
                continue  # the loss is linear in every weight: the Hessian is zero
            second = torch.autograd.grad(product, list(values.values()), allow_unused=True)
            for total, gradient in zip(sums.values(), second, strict=True):
                if gradient is not None:
                    total.add_(gradient.double())
        return sums
