"""Verdicts: each row of the decision table, and that no word says more than its interval."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.analysis.claims import COLUMNS, Claim, Verdict, judge, judge_all
from wirings.analysis.statistics import mean_interval

DECIDED = {
    "reproduced": True,
    "holds at reduced scale": True,
    "not reproduced": False,
    "does not hold at reduced scale": False,
}


def claim(direction: str = "above", threshold: float = 0.0, n: int = 5, **more) -> Claim:
    return Claim(
        id="S0.1b",
        sentence="A beats B.",
        statistic="A - B, points",
        threshold=threshold,
        direction=direction,
        n=n,
        **more,
    )


def spread(mean: float, reach: float, n: int = 5) -> list[float]:
    """n < 10 values with this mean and a 95 % t interval of this reach either way."""
    shape = np.linspace(-1, 1, n)
    return list(mean + shape * reach / (mean_interval(shape).high or 1))


def test_spread_is_what_it_says() -> None:
    found = mean_interval(spread(3.0, 0.5))
    assert (found.low, found.high) == pytest.approx((2.5, 3.5))


def test_row_1_no_values_are_unjudged() -> None:
    for values, against in ((None, None), ([], None), ([], [1.0]), ([1.0], [])):
        found = judge(claim(), values, against, scale="paper")
        assert (found.word, found.reason, found.n) == ("unjudged", "there are no values", 0)
        assert (found.effect, found.low, found.high, found.detectable, found.p) == (None,) * 5


def test_row_2_fewer_values_than_promised_are_underpowered_whatever_they_say() -> None:
    found = judge(claim(n=5), spread(3.0, 0.5, n=4), scale="paper")
    assert found.low > 0
    assert (found.word, found.reason) == ("underpowered", "4 of the 5 values that the claim asks for")
    assert judge(claim(n=5), spread(-3.0, 0.5, n=4), scale="paper").word == "underpowered"
    assert judge(claim(n=3, exact=True), [1.0, 1.0], scale="paper").word == "underpowered"
    assert judge(claim(n=1), [3.0], scale="paper").word == "underpowered"  # one value has no interval


def test_rows_3_and_4_exact_claims_are_compared_value_by_value() -> None:
    equal = claim("within", 0.0, n=2, exact=True, target=0.25)
    held = judge(equal, [0.25, 0.25], scale="reduced")
    assert (held.word, held.effect, held.low, held.high) == ("holds at reduced scale", 0.25, 0.25, 0.25)
    assert (held.detectable, held.p, held.method) == (0.0, None, "exact")
    missed = judge(equal, [0.25, 0.26, 0.2], scale="paper")
    assert (missed.word, missed.effect, missed.low, missed.high) == ("not reproduced", 0.2, 0.2, 0.26)
    assert missed.reason == "2 of 3 values are not as claimed"
    assert judge(claim("above", 5.75, n=1, exact=True), [5.75], scale="paper").word == "not reproduced"
    assert judge(claim("below", 1e-12, n=1, exact=True), [1e-13], scale="paper").word == "reproduced"


@pytest.mark.parametrize(
    "direction, threshold, mean",
    [("above", 0.0, 0.6), ("below", 0.0, -0.6), ("above", 70.0, 70.6), ("within", 2.0, 0.6), ("within", 2.0, -1.4)],
)
def test_row_5_an_interval_wholly_as_claimed_reproduces(direction: str, threshold: float, mean: float) -> None:
    for scale, word in (("paper", "reproduced"), ("reduced", "holds at reduced scale")):
        found = judge(claim(direction, threshold), spread(mean, 0.5), scale=scale)
        assert found.word == word
        assert found.p < 0.05
        assert found.reason == "the whole interval is as claimed"


@pytest.mark.parametrize(
    "direction, threshold, mean",
    [("above", 0.0, -0.6), ("below", 0.0, 0.6), ("within", 2.0, 2.6), ("within", 2.0, -2.6)],
)
def test_row_6_an_interval_wholly_otherwise_does_not(direction: str, threshold: float, mean: float) -> None:
    for scale, word in (("paper", "not reproduced"), ("reduced", "does not hold at reduced scale")):
        found = judge(claim(direction, threshold), spread(mean, 0.5), scale=scale)
        assert found.word == word
        assert found.p < 0.05


@pytest.mark.parametrize("sign, direction", [(1, "above"), (-1, "below")])
def test_row_7_a_claimed_effect_that_could_be_seen_and_is_not_there_does_not_hold(sign: int, direction: str) -> None:
    values = [sign * value for value in spread(0.1, 0.5)]
    for kind in ({"effect": 2.0}, {"published": sign * 2.0}):
        found = judge(claim(direction, **kind), values, scale="paper")
        assert found.detectable < 2.0
        assert found.word == "not reproduced"
        assert found.reason == "the interval holds the threshold and leaves out the claimed effect"
        assert found.p < 0.05  # of an effect as large as claimed


@pytest.mark.parametrize("sign, direction", [(1, "above"), (-1, "below")])
def test_row_8_an_interval_that_does_not_decide_is_underpowered(sign: int, direction: str) -> None:
    def word_and_reason(mean: float, reach: float, **kind) -> tuple[str, str]:
        found = judge(claim(direction, **kind), [sign * value for value in spread(mean, reach)], scale="paper")
        assert found.p > 0.05 or kind
        return found.word, found.reason

    both = "the interval holds both the threshold and the claimed effect"
    assert word_and_reason(0.4, 0.5, effect=0.8) == ("underpowered", both)
    unseen = "the interval holds the threshold; the claimed 0.55 needs more values to be seen"
    assert word_and_reason(0.0, 0.5, effect=0.55) == ("underpowered", unseen)  # left out, but hardly detectable
    nobody = "the interval holds the threshold, and nobody says how large an effect is claimed"
    assert word_and_reason(0.1, 0.5) == ("underpowered", nobody)


def test_row_8_an_equivalence_that_reaches_over_the_margin_is_underpowered() -> None:
    found = judge(claim("within", 0.5), spread(0.2, 0.5), scale="paper")
    assert (found.word, found.reason) == ("underpowered", "the interval reaches over the margin")
    wide = judge(claim("within", 0.5), spread(0.0, 3.0), scale="paper")
    assert wide.word == "underpowered"


def test_an_equivalence_is_about_its_target() -> None:
    near = claim("within", 1.0, target=98.8)
    assert judge(near, spread(98.6, 0.3), scale="paper").word == "reproduced"
    assert judge(near, spread(97.0, 0.3), scale="paper").word == "not reproduced"


def test_row_9_holm_takes_back_what_was_decided_by_luck() -> None:
    sure = judge(claim(), spread(3.0, 0.5), scale="reduced")
    lucky = judge(claim(), spread(0.55, 0.5), scale="reduced")
    assert (sure.word, lucky.word) == ("holds at reduced scale",) * 2
    assert 0.025 < lucky.p < 0.05
    unlucky = judge(claim(), spread(0.0, 0.5), scale="reduced")
    missing = judge(claim(), None, scale="reduced")
    counted = judge(claim(n=1, exact=True), [1.0], scale="reduced")
    kept = judge_all([sure, lucky, unlucky, missing, counted])
    assert [verdict.word for verdict in kept] == [
        "holds at reduced scale", "underpowered", "underpowered", "unjudged", "holds at reduced scale",
    ]  # fmt: skip
    assert kept[1].reason == "the whole interval is as claimed, but not after Holm's correction for 3 claims"
    assert kept[0].p_holm == pytest.approx(3 * sure.p)
    assert kept[1].p_holm == pytest.approx(2 * lucky.p)
    assert kept[3:] == [missing, counted]
    assert judge_all([lucky]) == [replace(lucky, p_holm=lucky.p)]
    assert judge_all([]) == []


def test_values_are_compared_in_pairs_or_by_welch() -> None:
    base = np.array([70.0, 75.0, 80.0, 85.0, 90.0])
    better = base + np.array([0.4, 0.5, 0.6, 0.5, 0.5])
    in_pairs = judge(claim(), better, base, scale="paper")
    assert (in_pairs.word, in_pairs.method) == ("reproduced", "paired t")
    apart = judge(claim(), better, base, scale="paper", pairs=False)
    assert (apart.word, apart.method) == ("underpowered", "Welch t")
    assert judge(claim(), np.arange(10.0), scale="paper").method == "BCa bootstrap"


def test_a_row_has_the_columns_of_the_table() -> None:
    values = [0.4, 0.5, 0.6, 0.5, 0.5]
    found = judge(claim(), values, scale="reduced", net="lenet5", data="mnist", run_ids=["a1", "b2"])
    row = found.to_row()
    assert tuple(row) == COLUMNS
    assert COLUMNS == ("id", "scale", "net", "data", "n", "effect", "low", "high", "detectable", "verdict", "run_ids")
    assert (row["id"], row["scale"], row["net"], row["data"], row["n"]) == ("S0.1b", "reduced", "lenet5", "mnist", 5)
    assert (row["effect"], row["low"], row["high"]) == (found.effect, found.low, found.high)
    assert (row["verdict"], row["run_ids"]) == ("holds at reduced scale", "a1 b2")


def holds(verdict: Verdict) -> bool | None:
    return DECIDED.get(verdict.word)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(-10, 10).map(lambda value: round(value, 2)), min_size=1, max_size=14),
    direction=st.sampled_from(["above", "below", "within"]),
    threshold=st.floats(0.1, 3),
    n=st.integers(1, 12),
    effect=st.none() | st.floats(0.1, 5),
    family=st.integers(1, 4),
)
def test_no_word_says_more_than_its_interval(values, direction, threshold, n, effect, family) -> None:
    tested = claim(direction, threshold, n, effect=effect)
    found = judge_all([judge(tested, values, scale="paper")] * family)[0]
    low, high = found.low, found.high
    if holds(found) is True:
        assert len(values) >= n
        assert tested.meets(low) and tested.meets(high)  # noqa: PT018
        assert low > threshold or high < threshold
    if holds(found) is False:
        assert len(values) >= n
        assert not tested.meets(found.effect) or effect is not None
        beyond = {"above": threshold + (effect or 0), "below": threshold - (effect or 0)}.get(direction)
        if direction == "above":
            assert high < beyond
        elif direction == "below":
            assert low > beyond
        else:
            assert low > threshold or high < -threshold
    if len(values) == 1:
        assert found.word == "underpowered"
    if holds(found) is not None and len(values) < 10:
        assert found.p < 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5).map(lambda value: round(value, 2)), min_size=2, max_size=9), st.floats(0.1, 2))
def test_above_and_below_are_mirrors(values: list[float], effect: float) -> None:
    up = judge(claim("above", 1.0, n=2, effect=effect), values, scale="paper")
    down = judge(claim("below", -1.0, n=2, effect=effect), [-value for value in values], scale="paper")
    assert (up.word, up.reason, up.p) == (down.word, down.reason, pytest.approx(down.p))


@pytest.mark.parametrize("truth, wrong", [(0.0, True), (1.0, False)])
def test_false_verdicts_are_rare(truth: float, wrong: bool) -> None:
    # at no effect "reproduced" is wrong; at the claimed effect "not reproduced" is
    rng = np.random.default_rng(0)
    verdicts = [judge(claim(effect=1.0), rng.normal(truth, 0.6, 5), scale="paper") for _ in range(400)]
    assert np.mean([holds(verdict) is wrong for verdict in verdicts]) < 0.045  # 2.5 % a side
    assert np.mean([holds(verdict) is not wrong and holds(verdict) is not None for verdict in verdicts]) > 0.3


def test_wrong_claims_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r'`direction` of `Claim` must be "above", "below" or "within". Got \'up\'.'):
        claim("up")
    with pytest.raises(ValueError, match=r"`threshold` of `Claim` must be a finite number. Got nan."):
        claim(threshold=math.nan)
    with pytest.raises(ValueError, match=r'`threshold` of a `Claim` "within" must be above 0, a margin. Got 0.0.'):
        claim("within", 0.0)
    with pytest.raises(ValueError, match=r"`effect` of `Claim` must be above 0, counted from the threshold. Got -1."):
        claim(effect=-1)
    with pytest.raises(ValueError, match=r"`n` of `Claim` must be at least 1. Got 0."):
        claim(n=0)
    with pytest.raises(ValueError, match=r'`scale` of `judge` must be "paper" or "reduced". Got \'laptop\'.'):
        judge(claim(), [1.0], scale="laptop")
    with pytest.raises(ValueError, match=r"`against` of `judge` must be None for the exact claim S0.1b."):
        judge(claim(exact=True), [1.0], [1.0], scale="paper")
    with pytest.raises(ValueError, match=r"`values` of `judge` must be a sequence of finite numbers."):
        judge(claim(exact=True), [math.nan], scale="paper")
    with pytest.raises(ValueError, match=r"`a` of `estimate` must be finite."):
        judge(claim(), [math.nan, 1.0], scale="paper")


def test_the_published_effect_counts_from_the_threshold_and_only_beyond_it() -> None:
    assert claim("above", 1.0, published=3.0).claimed_effect == 2.0
    assert claim("below", 1.0, published=0.25).claimed_effect == 0.75
    assert claim("above", 1.0, published=0.5).claimed_effect is None
    assert claim("above", 1.0, published=3.0, effect=0.5).claimed_effect == 0.5
    assert claim("within", 1.0, published=3.0).claimed_effect is None
