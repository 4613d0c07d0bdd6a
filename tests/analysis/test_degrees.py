"""Degrees, their inequality, and their evolution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.analysis.degrees import (
    DeadUnits,
    concentration,
    dead_logits,
    dead_units,
    distribution,
    evolution,
    evolutions,
    gini,
    in_degrees,
    out_degrees,
    slope,
    spearman,
)
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

MASK = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
LINEAR = Wiring({"fc": Topology.of(MASK)})


def test_degrees_of_a_linear_layer() -> None:
    assert in_degrees(LINEAR)["fc"].tolist() == [2, 1, 0]
    assert out_degrees(LINEAR)["fc"].tolist() == [2, 1, 0, 0]
    assert distribution(in_degrees(LINEAR)["fc"]) == {0: 1, 1: 1, 2: 1}
    assert in_degrees(LINEAR, count="channels")["fc"].tolist() == [2, 1, 0]


def test_degrees_of_a_convolution_count_elements_or_channels() -> None:
    mask = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    mask[0, 0] = True
    mask[0, 2, 0, 0] = True
    wiring = Wiring({"conv": Topology.of(mask)})
    assert in_degrees(wiring)["conv"].tolist() == [5, 0]
    assert in_degrees(wiring, count="channels")["conv"].tolist() == [2, 0]
    assert out_degrees(wiring, count="channels")["conv"].tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"`count` must be 'elements' or 'channels'. Got 'kernels'"):
        in_degrees(wiring, count="kernels")  # type: ignore[arg-type]


def test_dead_units_are_named() -> None:
    assert dead_units(LINEAR) == {"fc": DeadUnits(outputs=(2,), inputs=(2, 3))}
    assert dead_units(Wiring.full({"a": (2, 2)})) == {"a": DeadUnits((), ())}


def test_a_logit_that_never_moves_is_dead() -> None:
    logits = torch.tensor([[0.0, 1.0, 5.0], [0.0, 2.0, 5.0]])
    assert dead_logits(logits) == (0, 2)
    for bad in (torch.zeros(3), torch.zeros(1, 3)):
        with pytest.raises(ValueError, match=r"must have shape \(n >= 2, classes\)"):
            dead_logits(bad)


def test_gini_knows_its_ends() -> None:
    assert gini([3, 3, 3]) == 0.0
    assert gini([0, 0, 0, 8]) == 0.75
    assert gini([]) == gini([0, 0]) == 0.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_gini_is_half_the_mean_difference_over_the_mean(values: list[int]) -> None:
    x = np.array(values, dtype=float)
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean()) if x.any() else 0.0
    assert gini(values) == pytest.approx(expected)


def test_concentration_is_the_share_of_the_best_connected() -> None:
    assert concentration([7, 1, 1, 1, 0, 0, 0, 0, 0, 0]) == 0.7
    assert concentration([2, 2, 2, 2], top=0.5) == 0.5
    assert concentration([5, 1], top=1.0) == 1.0
    assert concentration([3, 1], top=0.01) == 0.75  # at least one unit
    assert concentration([0, 0]) == 0.0
    for top in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"`top` of `concentration` must be in \(0, 1\]"):
            concentration([1], top=top)


def rows(*degrees: int) -> Topology:
    mask = torch.zeros(len(degrees), 6, dtype=torch.bool)
    for unit, degree in enumerate(degrees):
        mask[unit, :degree] = True
    return Topology.of(mask)


def test_a_structure_that_emerges_early_and_is_amplified_later() -> None:
    found = evolution([rows(2, 2, 2), rows(1, 2, 3), rows(0, 2, 4)], early=1)
    assert found.net_share == 0.5
    assert found.path_share == 0.5
    assert found.spearman == pytest.approx(1.0)
    assert found.amplification == pytest.approx(1.0)
    assert found.gini == (0.0, pytest.approx(2 / 9), pytest.approx(4 / 9))


def test_changes_that_are_taken_back_count_for_the_path_only() -> None:
    found = evolution([rows(2, 2), rows(3, 1), rows(2, 2), rows(1, 3)], early=1)
    assert found.path_share == pytest.approx(1 / 3)
    assert found.net_share == -1.0  # the early moment was farther from the end than the beginning
    assert found.spearman == pytest.approx(-1.0)
    assert found.amplification == pytest.approx(-2.0)


def test_what_is_not_defined_is_nan() -> None:
    found = evolution([rows(2, 2), rows(2, 2), rows(2, 2)], early=1)
    assert all(math.isnan(x) for x in (found.net_share, found.path_share, found.spearman, found.amplification))


def test_evolutions_go_weight_by_weight() -> None:
    history = [Wiring({"a": rows(2, 2), "b": rows(1)}), Wiring({"a": rows(1, 3), "b": rows(2)})]
    assert evolutions(history, early=1)["a"] == evolution([w["a"] for w in history], early=1)
    with pytest.raises(ValueError, match=r"`early` of `evolution` must be in \[1, 1\]. Got 0"):
        evolutions(history, early=0)
    with pytest.raises(ValueError, match=r"must hold at least two wirings. Got none"):
        evolutions([], early=1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20))
@settings(deadline=None)
def test_rank_correlation_and_slope_agree_with_scipy(pairs: list[tuple[int, int]]) -> None:
    from scipy import stats

    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    if np.ptp(x) and np.ptp(y):
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    if np.ptp(x):
        assert slope(x, y) == pytest.approx(stats.linregress(x, y).slope)
    else:
        assert math.isnan(slope(x, y))
        assert math.isnan(spearman(x, y))
