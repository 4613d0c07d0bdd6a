"""Expander layers: constant degrees where they are promised, and the gap that theory gives."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.budgets import Uniform
from wirings.core.topology import Topology
from wirings.makers.biregular import biregular
from wirings.makers.expander import (
    AffineExpander,
    XNet,
    affine_expander,
    is_ramanujan,
    two_singular_values,
    x_layer,
)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("outs", "ins"), [(4, 9), (9, 4), (5, 5)])
def test_the_smaller_side_chooses_its_partners(outs: int, ins: int) -> None:
    t = x_layer(outs, ins, 3, rng())
    degrees = t.in_degrees if outs < ins else t.out_degrees
    assert set(degrees.tolist()) == {3}
    assert t.nnz == 3 * min(outs, ins)


def test_an_x_net_wires_whole_kernels_and_leaves_what_it_is_told() -> None:
    shapes = {"conv1": (16, 3, 3, 3), "conv2": (16, 16, 3, 3), "fc": (10, 16)}
    wiring = XNet(0.25, budget=Uniform(dense=("conv1", "fc")))(shapes, rng())
    assert wiring["conv1"].is_full
    assert wiring["fc"].is_full
    assert set(wiring["conv2"].mask.flatten(2).sum(-1).flatten().tolist()) == {0, 9}
    assert set(wiring["conv2"].out_degrees.tolist()) == {4 * 9}


@given(st.sampled_from([2, 3, 5, 7]), st.data())
@settings(max_examples=30, deadline=None)
def test_an_affine_expander_has_the_singular_values_of_its_theory(q: int, data: st.DataObject) -> None:
    a, c = data.draw(st.integers(1, q)), data.draw(st.integers(1, q))
    t = affine_expander(c * q, a * q, q)
    assert t.density == 1 / q
    assert set(t.in_degrees.tolist()) == {a}
    assert set(t.out_degrees.tolist()) == {c}
    first, second = two_singular_values(t)
    assert first == pytest.approx(math.sqrt(a * c), abs=1e-9)
    assert second <= math.sqrt(q) + 1e-9


def test_ramanujan_is_said_where_it_holds_and_only_there() -> None:
    assert is_ramanujan(affine_expander(49, 49, 7))
    split = Topology.of(torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)))
    assert two_singular_values(split) == pytest.approx((4.0, 4.0))
    assert not is_ramanujan(split)
    assert not is_ramanujan(Topology.of(torch.tensor([[1, 1], [1, 0]])))


def test_the_explicit_expander_is_at_least_as_good_as_a_random_regular_one() -> None:
    explicit = affine_expander(121, 121, 11)
    chance = biregular(121, 121, 121 * 11, rng())
    assert two_singular_values(explicit)[1] < two_singular_values(chance)[1]


def test_the_prime_nearest_to_the_density_is_taken_and_narrow_layers_stay_dense() -> None:
    maker = AffineExpander(0.1)
    assert maker.q == 11
    wiring = maker({"fc1": (300, 784), "conv": (22, 33, 3, 3), "fc3": (10, 100)}, rng())
    assert wiring["fc1"].density == pytest.approx(1 / 11, rel=0.02)
    assert wiring["conv"].density == 1 / 11
    assert wiring["fc3"].is_full


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`q` of `affine_expander` must be prime. Got 9"):
        affine_expander(9, 9, 9)
    with pytest.raises(ValueError, match=r"`density` of `AffineExpander` must be in \(0, 0.5\]. Got 0.7"):
        AffineExpander(0.7)
    with pytest.raises(ValueError, match=r"`expand` of `x_layer` must be in \[1, 4\]. Got 5"):
        x_layer(4, 4, 5, rng())
