"""Lattices and small worlds: exact counts, neighbours near, some of them far."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.makers.lattice import Band, SmallWorld, band, small_world

SHAPES = {"fc": (40, 60), "conv": (12, 8, 3, 3)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_band_has_its_count_and_even_rows(outs: int, ins: int, share: float) -> None:
    k = round(share * outs * ins)
    t = band(outs, ins, k)
    assert t.nnz == k
    assert int(t.in_degrees.max()) - int(t.in_degrees.min()) <= 1


def test_a_band_is_made_of_neighbours() -> None:
    expected = [[1, 1, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 1, 1]]
    assert band(4, 4, 12).mask.int().tolist() == expected


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_rewiring_keeps_every_in_degree(outs: int, ins: int, share: float, rewire: float, seed: int) -> None:
    k = round(share * outs * ins)
    t = small_world(outs, ins, k, rewire, rng(seed))
    assert t.in_degrees.tolist() == band(outs, ins, k).in_degrees.tolist()


def test_as_many_connections_move_as_the_probability_says() -> None:
    lattice, rewired = band(200, 200, 4000), small_world(200, 200, 4000, 0.3, rng())
    assert (rewired - lattice).nnz == pytest.approx(1200, abs=150)
    assert small_world(200, 200, 4000, 0.0, rng()) == lattice
    assert (small_world(200, 200, 4000, 1.0, rng()) & lattice).nnz == 0


def test_the_makers_keep_their_budget_and_whole_kernels() -> None:
    for maker in (Band(0.25), SmallWorld(0.25), SmallWorld(0.25, rewire=1.0)):
        wiring = maker(SHAPES, rng())
        assert wiring.counts == {"fc": 600, "conv": 216}
        assert set(wiring["conv"].mask.flatten(2).sum(-1).flatten().tolist()) == {0, 9}
        assert wiring == maker(SHAPES, rng())
    assert SmallWorld(0.25, rewire=0.0)(SHAPES, rng()) == Band(0.25)(SHAPES, rng())


def test_probabilities_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`rewire` of `SmallWorld` must be in \[0, 1\]. Got nan"):
        SmallWorld(0.1, rewire=float("nan"))
    with pytest.raises(ValueError, match=r"`rewire` of `small_world` must be in \[0, 1\]"):
        small_world(3, 3, 3, 2.0, rng())
    with pytest.raises(ValueError, match=r"`k` of `band` must be in \[0, 9\]. Got 10"):
        band(3, 3, 10)
