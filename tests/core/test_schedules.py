"""Schedules: the numbers of the papers, clipped outside, resolved from shares of a run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirings.core.schedules import Constant, Cosine, Cubic, Every, Exponential, Linear
from wirings.core.settings import resolved


def test_rigl_exchanges_along_half_a_cosine() -> None:
    schedule = Cosine(0.3, over=75_000)
    values = {0: 0.3, 25_000: 0.225, 37_500: 0.15, 50_000: 0.075, 75_000: 0.0, 90_000: 0.0}
    assert {t: round(schedule(t), 12) for t in values} == values
    assert Cosine(0.5, over=10, final=0.005)(10) == pytest.approx(0.005)


def test_the_cubic_schedule_of_zhu_and_gupta() -> None:
    sparsity = Cubic(initial=0.0, final=0.99, begin=0, until=100)
    density = Cubic(final=0.01, begin=0, until=100)
    for step, expected in {10: 0.2683, 25: 0.5723, 50: 0.8663, 75: 0.9745}.items():
        assert sparsity(step) == pytest.approx(expected, abs=5.1e-5)
        assert density(step) == pytest.approx(1 - sparsity(step))
    late = Cubic(initial=1.0, final=0.1, begin=20, until=40)
    assert [late(t) for t in (0, 20, 40, 41, 10**9)] == [1.0, 1.0, 0.1, 0.1, 0.1]


def test_the_exponential_schedule_of_synflow() -> None:
    keep = Exponential(initial=1.0, final=0.01, until=100)
    assert [round(keep(k), 5) for k in (1, 10, 50, 100, 101)] == [0.95499, 0.63096, 0.1, 0.01, 0.01]


def test_twenty_per_cent_a_round_is_exponential() -> None:
    published = [80, 64, 51.2, 40.96, 32.77, 26.21, 20.97, 16.78, 13.42, 10.74, 8.59, 6.87, 5.50, 4.40, 3.52, 2.81]
    rounds = Exponential(initial=1.0, final=0.8**16, until=16)
    assert [round(100 * rounds(r), 2) for r in range(1, 17)] == published


def test_a_straight_line_and_a_constant() -> None:
    line = Linear(initial=0.2, final=0.0, begin=10, until=20)
    assert [round(line(t), 12) for t in (0, 10, 15, 20, 30)] == [0.2, 0.2, 0.1, 0.0, 0.0]
    assert Constant(0.3)(10**6) == 0.3


ENDS = [
    Cosine(0.9, over=30, final=0.1),
    Cubic(initial=0.9, final=0.1, begin=10, until=30),
    Linear(initial=0.9, final=0.1, begin=10, until=30),
    Exponential(initial=0.9, final=0.1, begin=10, until=30),
]


@pytest.mark.parametrize("schedule", ENDS, ids=lambda s: s.kind)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_every_schedule_falls_from_its_first_value_to_its_last(schedule: Cubic, a: int, b: int) -> None:
    a, b = min(a, b), max(a, b)
    assert 0.9 + 1e-12 >= schedule(a) >= schedule(b) >= 0.1 - 1e-12
    assert schedule(0) == pytest.approx(0.9)
    assert schedule(30) == pytest.approx(0.1)


@pytest.mark.parametrize("cls", [Cubic, Linear, Exponential])
def test_an_interval_without_length_is_a_jump(cls: type[Cubic]) -> None:
    jump = cls(initial=1.0, final=0.1, begin=50, until=50)
    assert [round(jump(t), 12) for t in (49, 50, 51)] == [1.0, 0.1, 0.1]


def test_every_counts_from_one_and_includes_its_ends() -> None:
    assert [t for t in range(500) if Every(100)(t)] == [100, 200, 300, 400]
    assert [t for t in range(500) if Every(100, begin=200, until=300)(t)] == [200, 300]
    assert [t for t in range(4) if Every(1)(t)] == [1, 2, 3]
    assert not Every(100, until=0)(100)


def test_shares_of_the_run_become_steps() -> None:
    assert resolved(Cosine(0.3, over=0.75), 1000) == Cosine(0.3, over=750)
    assert resolved(Cubic(final=0.1, begin=0.1, until=0.755), 1000) == Cubic(final=0.1, begin=100, until=755)
    assert resolved(Every(0.1, begin=0.25, until=0.5), 1000) == Every(100, begin=250, until=500)
    assert resolved(Every(0.0001), 1000) == Every(1)  # never every 0th step
    assert resolved(Every(7), None) == Every(7)
    untouched = Linear(initial=1.0, final=0.0, until=10)
    assert resolved(untouched, 1000) is untouched


def test_a_share_of_a_run_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`over` of `Cosine` is the share 0.75 of a run; say how long the run is"):
        resolved(Cosine(0.3, over=0.75), None)
    for unresolved in (Cosine(0.3), Cubic(final=0.1), Every(0.1), Every(100, until=0.75), Every(5, begin=0.5)):
        with pytest.raises(ValueError, match=r"must be resolved first"):
            unresolved(3)


NO_NUMBER = [math.nan, math.inf, -math.inf, True, "0.3", None]


@pytest.mark.parametrize("value", NO_NUMBER)
def test_values_are_finite_numbers(value: object) -> None:
    for make in (
        lambda: Constant(value),  # type: ignore[arg-type]
        lambda: Cosine(value),  # type: ignore[arg-type]
        lambda: Cosine(0.3, final=value),  # type: ignore[arg-type]
        lambda: Cubic(final=value),  # type: ignore[arg-type]
        lambda: Linear(initial=value, final=0.1),  # type: ignore[arg-type]
        lambda: Exponential(initial=1.0, final=value),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"` of `\w+` must be a finite number. Got "):
            make()


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, -0.5, 0.0, 1.5, True, "10"])
def test_durations_are_steps_or_shares(value: object) -> None:
    for make in (
        lambda: Cosine(0.3, over=value),  # type: ignore[arg-type]
        lambda: Cubic(final=0.1, begin=value),  # type: ignore[arg-type]
        lambda: Linear(initial=1.0, final=0.1, until=value),  # type: ignore[arg-type]
        lambda: Every(5, begin=value),  # type: ignore[arg-type]
        lambda: Every(5, until=value),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"must be steps \(an int >= 0\) or a share of the run"):
            make()


def test_a_distance_is_positive() -> None:
    with pytest.raises(ValueError, match=r"`n` of `Every` must be an integer of at least 1. Got 0"):
        Every(0)
    with pytest.raises(ValueError, match=r"`n` of `Every` must be in \(0, 1\]. Got 1.5"):
        Every(1.5)
    with pytest.raises(ValueError, match=r"Got nan"):
        Every(math.nan)
    with pytest.raises(ValueError, match=r"`Exponential` must run between positive values. Got 1.0 to 0.0"):
        Exponential(initial=1.0, final=0.0)
