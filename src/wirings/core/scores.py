"""Scores: what ranks connections. Pure functions of tensors, any shape, same shape out; higher is kept."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def magnitude(weight: Tensor) -> Tensor:
    """``|w|``: the oldest score, and hard to beat (LeCun 1989 calls it the naive one; Han et al. 2015)."""
    return weight.abs()


def saliency(weight: Tensor, gradient: Tensor) -> Tensor:
    """How much the loss would change, to first order, if a connection went: ``|w * g|`` (Mozer & Smolensky 1989)."""
    return (weight * gradient).abs()


def movement(initial: Tensor, final: Tensor) -> Tensor:
    """How far training carried a weight: ``|w_f - w_i|`` (Zhou et al. 2019)."""
    return (final - initial).abs()


def magnitude_increase(initial: Tensor, final: Tensor) -> Tensor:
    """How much training made of a weight: ``|w_f| - |w_i|`` (Zhou et al. 2019)."""
    return final.abs() - initial.abs()


def random(like: Tensor, rng: Generator) -> Tensor:
    """Independent uniform draws, on the CPU, then moved to where ``like`` lives."""
    return torch.rand(like.shape, generator=rng, dtype=torch.float64).to(like.device)


def lamp(weight: Tensor) -> Tensor:
    """Layer-adaptive magnitude: ``w_u^2 / sum of w_v^2 over |w_v| >= |w_u|`` (Lee et al. 2021, eq. 3), in float64.

    Comparable between layers, so a global selection by it settles the layers' densities by itself. The largest weight
    of a layer scores 1, so no layer is ever emptied before the others.

    Example:
        >>> lamp(torch.tensor([1.0, 2.0, 2.0]))
        tensor([0.1111, 0.5000, 1.0000], dtype=torch.float64)
    """
    squares = weight.detach().double().square().flatten()
    order = squares.sort(stable=True).indices  # equal weights: the later one counts as the larger, so no tie remains
    ascending = squares[order]
    at_least = ascending.flip(0).cumsum(0).flip(0)
    result = torch.empty_like(squares)
    result[order] = torch.where(at_least > 0, ascending / at_least, torch.zeros_like(at_least))
    return result.view(weight.shape)
