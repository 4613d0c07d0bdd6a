"""Optimizer memory follows the connections, by one rule.

A tensor in ``optimizer.state[p]`` with the shape of ``p`` is memory per weight: kept connections keep it, new ones
start as that optimizer starts it. Nothing here knows an optimizer's name.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_STARTS = {"step_size": "lr", "sum": "initial_accumulator_value"}
"""State that does not start at zero -> the group option it starts from (Rprop, Adagrad)."""


def per_weight(state: dict[str, Any] | None, like: Tensor) -> dict[str, Tensor]:
    """The entries of one parameter's optimizer state that hold a number for each weight."""
    if not state or not like.dim():
        return {}
    return {key: t for key, t in state.items() if isinstance(t, Tensor) and t.shape == like.shape}


def start_of(key: str, group: dict[str, Any]) -> float:
    """What the optimizer writes into ``key`` when it meets a weight for the first time."""
    return float(group.get(_STARTS.get(key, ""), 0.0))


def forget(state: dict[str, Any] | None, param: nn.Parameter, where: Tensor, group: dict[str, Any]) -> None:
    """Make the optimizer meet these weights for the first time again."""
    for key, tensor in per_weight(state, param).items():
        tensor.masked_fill_(where.to(tensor.device), start_of(key, group))
