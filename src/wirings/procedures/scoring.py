"""Accuracy of many networks on the same images, which are decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from wirings.data import Batches
from wirings.training.build import Task

Images = Literal["test", "held-out"]


def accuracy_on(mine: Task, on: Images, images: int | None, *, owner: str) -> Callable[[nn.Module], float]:
    """What scores a network of a run.

    Args:
        mine: the run's images.
        on: which of them.
        images: how many, evenly spread over the set; by default all.
        owner: whose arguments these are, for what is said of wrong ones.
    """
    batches = mine.test if on == "test" else mine.held_out
    if batches is None:
        raise ValueError(f"`on` of `{owner}` must be 'test': this run held no images out.")
    scored = _spread(batches, batches.count if images is None else images, owner)
    return lambda network: _accuracy(network, scored)


def _spread(batches: Batches, count: int, owner: str) -> list[tuple[Tensor, Tensor]]:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= batches.count:
        raise ValueError(f"`images` of `{owner}` must be an integer from 1 to {batches.count}. Got {count!r}.")
    wanted = torch.arange(count) * batches.count // count
    chosen, first = [], 0
    for x, y in batches.epoch(0):
        here = wanted[(wanted >= first) & (wanted < first + len(y))].to(y.device) - first
        if len(here):
            chosen.append((x[here], y[here]))
        first += len(y)
    return chosen


@torch.no_grad()
def _accuracy(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """In evaluation mode; the model is nobody else's."""
    model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    return right / sum(len(y) for _, y in batches)
