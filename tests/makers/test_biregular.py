"""Bi-regular wirings: exact counts, degrees within one on both sides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.budgets import uniform
from wirings.makers.biregular import BiRegular, biregular


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 13), st.integers(1, 13), st.floats(0, 1), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_degrees_differ_by_at_most_one_on_both_sides(outs: int, ins: int, share: float, seed: int) -> None:
    k = round(share * outs * ins)
    t = biregular(outs, ins, k, rng(seed))
    assert t.nnz == k
    for degrees in (t.in_degrees, t.out_degrees):
        assert int(degrees.max()) - int(degrees.min()) <= 1


def test_degrees_are_equal_where_the_count_divides() -> None:
    exact = biregular(60, 90, 1800, rng())
    assert set(exact.in_degrees.tolist()) == {30}
    assert set(exact.out_degrees.tolist()) == {20}


def test_every_position_is_equally_likely() -> None:
    total = torch.zeros(6, 9)
    source = rng()
    for _ in range(1500):
        total += biregular(6, 9, 18, source).mask
    assert (total / 1500 - 1 / 3).abs().max() < 0.06  # five standard errors of a fair coin of 1/3


def test_kernels_are_wired_element_by_element_or_whole() -> None:
    shapes = {"conv": (8, 12, 3, 3)}
    single = BiRegular(0.25, budget=uniform)(shapes, rng())["conv"]
    assert single.nnz == 216
    assert set(single.in_degrees.tolist()) == {27}
    whole = BiRegular(0.25, budget=uniform, whole_kernels=True)(shapes, rng())["conv"]
    assert set(whole.mask.flatten(2).sum(-1).flatten().tolist()) == {0, 9}
    assert set(whole.in_degrees.tolist()) == {27}
    assert set(whole.out_degrees.tolist()) == {18}


def test_counts_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`k` of `biregular` must be in \[0, 6\]. Got 7"):
        biregular(2, 3, 7, rng())
    with pytest.raises(ValueError, match=r"`BiRegular` wires weights of shape \(out, in, ...\)"):
        BiRegular(0.5)({"bias": (4,)}, rng())
