"""Overlap, distance and exploration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirings.analysis.overlap import Exploration, churn, hamming, jaccard, net_change, path_length
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

sets = st.sets(st.integers(0, 9))


def at(chosen: set[int]) -> Topology:
    return Topology.at((10,), sorted(chosen))


@given(sets, sets)
def test_they_are_those_of_sets(a: set[int], b: set[int]) -> None:
    x, y = at(a), at(b)
    assert hamming(x, y) == len(a ^ b)
    assert jaccard(x, y) == (len(a & b) / len(a | b) if a | b else 1.0)
    assert churn(x, y) == (len(b - a) / len(b) if b else 0.0)
    assert hamming(Wiring({"w": x, "v": y}), Wiring({"w": y, "v": y})) == len(a ^ b)


@given(st.lists(sets, min_size=1, max_size=5))
def test_no_way_is_shorter_than_the_net_change(history: list[set[int]]) -> None:
    topologies = [at(s) for s in history]
    assert path_length(topologies) >= net_change(topologies) == len(history[0] ^ history[-1])


def test_an_empty_history_has_no_length() -> None:
    assert path_length([]) == net_change([]) == 0


@given(st.lists(sets, min_size=1, max_size=6))
def test_exploration_begins_at_the_density_and_never_falls(history: list[set[int]]) -> None:
    explored = Exploration()
    assert explored.rate == 0.0
    assert explored.rates == {}
    rates = []
    for chosen in history:
        explored.see(Wiring({"a": at(chosen), "b": Topology.full((2,))}))
        rates.append(explored.rate)
    assert rates[0] == (len(history[0]) + 2) / 12
    assert rates == sorted(rates)
    assert rates[-1] == (len(set().union(*history)) + 2) / 12 <= 1
    assert explored.rates == {"a": len(set().union(*history)) / 10, "b": 1.0}


def test_exploration_goes_on_after_a_resume() -> None:
    explored = Exploration()
    explored.see({"a": at({1})})
    again = Exploration(explored.seen)
    again.see({"a": at({2})})
    assert again.rate == pytest.approx(0.2)
    assert explored.rate == pytest.approx(0.1)
