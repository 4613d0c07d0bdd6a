"""SRigL: constant fan-in at every living unit; units that few salient connections reach die, and may live again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.forms import ConstantFanIn, Unstructured
from wirings.core.schedules import Constant
from wirings.methods import SRigL
from wirings.methods.srigl import rewired
from wirings.testing import FakeSite


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_unit_refills_with_its_own_strongest_gradients() -> None:
    site = FakeSite(
        [[5.0, 1.0, 0.0, 0.0], [4.0, 3.0, 0.0, 0.0]],
        mask=[[1, 1, 0, 0], [1, 1, 0, 0]],
        gradient=[[0.0, 0.0, 0.1, 0.2], [0.0, 0.0, 8.0, 9.0]],
    )
    # one connection goes: the 1.0 of the first unit. It refills at 0.2, however strong the other's gradients are.
    after = rewired(site, 0.25, 4, None)
    assert after.mask.int().tolist() == [[1, 0, 0, 1], [1, 1, 0, 0]]


def test_a_unit_with_too_many_kept_connections_keeps_the_largest() -> None:
    site = FakeSite(
        [[5.0, 6.0, 7.0, 0.0], [0.1, 0.2, 0.3, 0.0]],
        mask=[[1, 1, 1, 0], [1, 1, 1, 0]],
        gradient=[[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]],
    )
    after = rewired(site, 0.5, 4, None)  # the budget asks for two inputs a unit
    assert after.mask.int().tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_a_unit_with_few_salient_connections_is_ablated_and_the_others_inherit() -> None:
    site = FakeSite(
        [[5.0, 6.0, 0.0, 0.0], [0.1, 0.2, 0.0, 0.0], [7.0, 8.0, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0]],
        mask=[[1, 1, 0, 0]] * 4,
        gradient=[[0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 1.0, 0.5]],
    )
    after = rewired(site, 0.25, 8, 0.5)
    assert after.in_degrees.tolist() == [3, 0, 3, 3]  # 8 connections, 3 units: 2.67 each, rounded
    assert after.mask[0].int().tolist() == [1, 1, 1, 0]
    assert rewired(site, 0.25, 8, None).in_degrees.tolist() == [2, 2, 2, 2]


def test_an_ablated_unit_is_revived_by_strong_gradients() -> None:
    site = FakeSite(
        [[5.0, 6.0, 4.0], [0.0, 0.0, 0.0], [7.0, 8.0, 0.3]],
        mask=[[1, 1, 1], [0, 0, 0], [1, 1, 1]],
        gradient=[[0.0, 0.0, 0.0], [9.0, 8.0, 0.0], [0.0, 0.0, 0.0]],
    )
    after = rewired(site, 0.4, 6, 0.3)
    assert after.mask.int().tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 0]]


def test_never_fewer_units_live_than_the_budget_needs() -> None:
    weight, gradient = torch.zeros(6, 8, dtype=torch.float64), torch.zeros(6, 8, dtype=torch.float64)
    weight[:5, 0], weight[0, 1] = 2.0, 1.0  # kept: two connections of the first unit, one of each of the next four
    gradient[0, 2:] = 1.0
    mask = torch.zeros(6, 8)
    mask[:, :2] = 1
    after = rewired(FakeSite(weight, mask=mask, gradient=gradient), 0.5, 12, 1.0)
    # only the first unit has two salient connections, but twelve do not fit into its eight inputs
    assert after.in_degrees.tolist() == [6, 6, 0, 0, 0, 0]


def test_the_last_weight_loses_no_unit() -> None:
    rows = [[9.0, 9.0, 0.0, 0.0], [0.1, 0.1, 0.0, 0.0]]
    make = lambda: FakeSite(rows, mask=[[1, 1, 0, 0]] * 2, gradient=[[1.0, 1.0, 3.0, 3.0], [0.0] * 4])
    method = SRigL(density=0.5, fraction=Constant(0.5), gamma=1.0)
    after = method.update({"hidden": make(), "last": make()}, 100, generator())
    assert after["hidden"].forward.in_degrees.tolist() == [4, 0]
    assert after["last"].forward.in_degrees.tolist() == [2, 2]


@given(
    share=st.floats(0, 1),
    density=st.floats(0.1, 0.9),
    gamma=st.floats(0, 1),
    seed=st.integers(0, 5),
    conv=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_living_unit_has_the_same_fan_in(
    share: float, density: float, gamma: float, seed: int, conv: bool
) -> None:
    rng = generator(seed)
    method = SRigL(density=density, fraction=Constant(share), gamma=gamma)
    shapes = {"a": (8, 3, 2, 2) if conv else (8, 12), "b": (6, 8)}
    draw = lambda shape: torch.randn(shape, generator=rng, dtype=torch.float64)
    sites = {name: FakeSite(draw(shape), gradient=draw(shape)) for name, shape in shapes.items()}
    for name, support in method.start(sites, rng).items():
        sites[name].install(support)
    counts = method.budget(shapes, density)
    for step in (100, 200, 300):
        for name, support in method.update(sites, step, rng).items():
            degrees = support.forward.in_degrees
            living = degrees[degrees > 0]
            assert len(living.unique()) == 1
            assert ConstantFanIn().holds(support.forward)
            assert abs(support.forward.nnz - counts[name]) <= max(len(living) / 2, 8)
            sites[name].install(support)
    assert (sites["b"].support.forward.in_degrees > 0).all()


def test_a_share_of_zero_changes_nothing() -> None:
    site = FakeSite([[5.0, 1.0, 0.0]], mask=[[1, 1, 0]], gradient=[[0.0, 0.0, 1.0]])
    assert rewired(site, 0.0, 2, 0.3) is site.support.forward


def test_its_update_replaces_the_step_as_rigls_does() -> None:
    method = SRigL()
    assert method.replaces_step()
    assert method.form == ConstantFanIn()


def test_any_other_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`form` of `SRigL` must be one of ConstantFanIn. Got Unstructured\(\)"):
        SRigL(form=Unstructured())
