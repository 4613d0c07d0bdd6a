"""DNW and the hybrid: the largest weights are used, all of them train, until the wiring freezes."""

from __future__ import annotations

import pytest
import torch

from wirings.core.forms import NM
from wirings.methods import DNW, Straight
from wirings.testing import FakeSite

RNG = torch.Generator()


def test_75_percent_of_four_weights_leave_the_largest_and_the_gradient_reaches_all() -> None:
    site = FakeSite([[3.0, -1.0, 2.0, 0.5]])
    support = DNW(density=0.25).start({"w": site}, RNG)["w"]
    assert support.forward.mask.int().tolist() == [[1, 0, 0, 0]]
    assert support.backward.is_full
    gradient = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    assert torch.equal(Straight().pullback(gradient, gradient, gradient, support), gradient)


def test_the_forward_pass_sees_the_largest_weights_only() -> None:
    weight = torch.tensor([[3.0, -1.0, 2.0, 0.5]])
    support = DNW(density=0.5).start({"w": FakeSite(weight)}, RNG)["w"]
    assert Straight().effective(weight, weight, support).tolist() == [[3.0, 0.0, 2.0, 0.0]]


def test_an_unused_weight_that_grows_comes_back_with_its_value() -> None:
    site = FakeSite([[3.0, -1.0, 2.0, 5.0]], mask=[[1, 0, 1, 0]], backward=[[1, 1, 1, 1]])
    after = DNW(density=0.5).update({"w": site}, 7, RNG)["w"]
    assert after.forward.mask.int().tolist() == [[1, 0, 0, 1]]
    assert after.backward.is_full


def test_it_updates_at_every_step_and_never_asks_for_more_than_its_support() -> None:
    method = DNW()
    assert all(method.due(step) for step in (1, 2, 10_000))
    assert not any(method.hears(step) for step in (1, 2, 10_000))


def test_the_hybrid_stops_at_the_freezing_step() -> None:
    method = DNW(density=0.5, freeze_at=10)
    site = FakeSite([[3.0, -1.0, 2.0, 0.5]], mask=[[1, 0, 1, 0]], backward=[[1, 1, 1, 1]])
    assert method.update({"w": site}, 9, RNG)["w"].backward.is_full
    frozen = method.update({"w": site}, 10, RNG)["w"]
    assert frozen.is_plain
    assert frozen.forward.nnz == 2
    assert [t for t in range(1, 20) if method.due(t)] == list(range(1, 11))


def test_frozen_at_once_is_magnitude_at_initialisation() -> None:
    method = DNW(density=0.5, freeze_at=0)
    support = method.start({"w": FakeSite([[3.0, -1.0, 2.0, 0.5]])}, RNG)["w"]
    assert support.is_plain
    assert support.forward.mask.int().tolist() == [[1, 0, 1, 0]]
    assert not method.due(1)


def test_with_a_form_it_is_straight_through_n_of_m() -> None:
    site = FakeSite([[1.0, 2.0, 3.0, 4.0, 9.0, 8.0, 7.0, 6.0]])
    support = DNW(density=0.5, form=NM(2, 4)).start({"w": site}, RNG)["w"]
    assert support.forward.mask.int().tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]]
    assert support.backward.is_full


@pytest.mark.parametrize("density", [0, 1.5, float("nan"), -0.1])
def test_a_density_outside_0_and_1_is_refused(density: float) -> None:
    with pytest.raises(ValueError, match=r"`density` of `DNW` must be in \(0, 1\]. Got"):
        DNW(density=density)
