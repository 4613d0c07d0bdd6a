"""Random sparse convolutions, and how near a result must be: for all tests of their kernels' routes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.testing import assert_close

from wirings.kernels import ConvIndex


def problem(
    shape: tuple[int, int, int, int],
    batch: int,
    size: tuple[int, int],
    *,
    density: float = 0.8,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **how: int,
) -> tuple[ConvIndex, Tensor, Tensor, Tensor, Tensor]:
    """Index, values, input, bias and the output's gradient."""
    generator = torch.Generator().manual_seed(seed)
    numel = math.prod(shape)
    some = torch.randperm(numel, generator=generator)[: math.ceil(density * numel)]
    index = ConvIndex(shape, some.sort().values, **how)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    x, grad = draw(batch, index.in_channels, *size), draw(batch, shape[0], *index.output_size(*size))
    return index, draw(index.nnz), x, draw(shape[0]), grad


def near(found: Tensor, exact: Tensor, terms: int) -> None:
    """As near as sums of so many products of numbers about 1 allow: Winograd's errors spread over a tile, also to where
    such a sum comes out small, or where nothing but zeros meet."""
    largest = exact.abs().max().item() if exact.numel() else 0.0
    off = 1e-13 if found.dtype == torch.float64 else 1e-5
    once = 2.0**-8 if found.dtype == torch.bfloat16 else 0
    assert_close(found.double(), exact, rtol=once, atol=off * (largest + math.sqrt(terms)))
