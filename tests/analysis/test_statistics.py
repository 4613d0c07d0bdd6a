"""Intervals, p-values, equivalence, detectable effects and Holm, against scipy, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from wirings.analysis.statistics import (
    Effect,
    detectable,
    equivalence,
    estimate,
    holm,
    mean_interval,
    paired,
    unpaired,
)
from wirings.core.streams import derived_seed

VALUES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=2, max_size=30)


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def test_the_mean_of_three_values_has_the_interval_of_the_book() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    reach = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)  # t(0.975, 2 df), in closed form, x sd / sqrt(n)
    assert found.low == pytest.approx(2 - reach, abs=1e-12)
    assert found.high == pytest.approx(2 + reach, abs=1e-12)
    assert (found.mean, found.n, found.sd) == (2.0, 3, 1.0)


def test_one_value_says_nothing_about_the_spread() -> None:
    found = mean_interval([5.0])
    assert (found.mean, found.low, found.high, found.sd) == (5.0, -math.inf, math.inf, 0.0)
    effect = paired([5.0], [1.0])
    assert (effect.effect, effect.low, effect.high, effect.p) == (4.0, -math.inf, math.inf, 1.0)
    assert effect.detectable == math.inf
    assert unpaired([5.0], [1.0, 2.0]).p == 1.0
    assert equivalence([5.0], [5.0], margin=1).p == 0.5


@pytest.mark.parametrize("n", [2, 5, 9])
def test_paired_below_ten_is_the_paired_t_test_of_scipy(n: int) -> None:
    a, b = normal(n), normal(n, 1) * 2 + 1
    found, expected = paired(a, b), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert (found.method, found.n) == ("paired t", n)


@pytest.mark.parametrize("sizes", [(5, 5), (3, 12), (30, 20)])
def test_unpaired_is_the_welch_test_of_scipy(sizes: tuple[int, int]) -> None:
    a, b = normal(sizes[0]), normal(sizes[1], 1) * 3 + 1
    found, expected = unpaired(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert (found.method, found.n) == ("Welch t", min(sizes))


@pytest.mark.parametrize("n", [14, 20, 40])
@pytest.mark.parametrize("draw", ["normal", "exponential", "few values"])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_paired_from_ten_is_the_bca_bootstrap_of_scipy_draw_by_draw(n: int, draw: str, level: float) -> None:
    rng = np.random.default_rng(7)
    a = {"normal": rng.standard_normal, "exponential": rng.standard_exponential}.get(
        draw, lambda size: rng.integers(0, 3, size).astype(float)
    )(n)
    found = paired(a, np.zeros(n), level=level, resamples=2_000, seed=3)
    expected = stats.bootstrap(
        (a,), np.mean, n_resamples=2_000, method="BCa", confidence_level=level, vectorized=True,
        rng=np.random.default_rng(derived_seed(3, "bootstrap")),
    ).confidence_interval  # fmt: skip
    # few values bring ties with the mean: we count them half, scipy as their rounding falls
    tolerance = 0.02 if draw == "few values" else 1e-10
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=tolerance)
    assert (found.method, found.n) == ("BCa bootstrap", n)


def test_the_bootstrap_begins_at_ten() -> None:
    assert paired(normal(9), normal(9, 1)).method == "paired t"
    assert paired(normal(10), normal(10, 1)).method == "BCa bootstrap"
    assert estimate(normal(9)).method == "t"


def test_the_bootstrap_is_repeatable_and_hears_its_seed_only() -> None:
    a, b = normal(15), normal(15, 1)
    np.random.seed(0)  # noqa: NPY002
    first = paired(a, b)
    np.random.seed(1)  # noqa: NPY002
    assert paired(a, b) == first
    assert paired(a, b, seed=1) != first


@settings(max_examples=150, deadline=None)
@given(values=VALUES, level=st.sampled_from([0.8, 0.95, 0.99]))
def test_p_is_small_exactly_where_the_interval_leaves_out_zero(values: list[float], level: float) -> None:
    found = paired(values, [0.0] * len(values), level=level, resamples=999)
    assert 0 <= found.p <= 1
    assert found.low <= found.high
    assume(abs(found.p - (1 - level)) > 0.01)  # the resolution of 999 resamples
    assert (found.p < 1 - level) == (not found.low <= 0 <= found.high)


@settings(max_examples=60, deadline=None)
@given(values=VALUES)
def test_turning_both_samples_round_turns_the_interval_round(values: list[float]) -> None:
    zeros = [0.0] * len(values)
    there, back = paired(values, zeros), paired(zeros, values)
    assert back.effect == pytest.approx(-there.effect, abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-6)
    assert back.p == pytest.approx(there.p, abs=1e-6)


@pytest.mark.parametrize(
    "n, draw, lowest, highest",
    [(5, "normal", 0.93, 0.97), (12, "normal", 0.89, 0.96), (20, "exponential", 0.88, 0.96)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(n: int, draw: str, lowest: float, highest: float) -> None:
    # a bootstrap of few values is known to be a little short: it resamples a spread that is itself too small by (n-1)/n
    rng = np.random.default_rng(0)
    truth = 0.0 if draw == "normal" else 1.0
    hits = 0
    for _ in range(500):
        sample = getattr(rng, f"standard_{draw}")(n)
        low, high = estimate(sample, resamples=499).interval(0.95)
        hits += low <= truth <= high
    assert lowest < hits / 500 < highest


@pytest.mark.parametrize("n", [4, 12])
def test_false_alarms_are_as_rare_as_they_should_be(n: int) -> None:
    rng = np.random.default_rng(1)
    ps = np.array([paired(rng.standard_normal(n), rng.standard_normal(n), resamples=499).p for _ in range(400)])
    assert 0.02 < (ps < 0.05).mean() < 0.11


@pytest.mark.parametrize("df", [2, 4, 9, 49, 300.5])
def test_the_detectable_effect_has_the_power_of_the_noncentral_t(df: float) -> None:
    critical, shift = stats.t.ppf(0.975, df), detectable(1.0, df)
    power = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
    assert power == pytest.approx(0.8, abs=1e-9)


def test_the_detectable_effect_is_found_four_times_in_five() -> None:
    n, sd = 5, 2.0
    effect = detectable(sd / math.sqrt(n), n - 1)
    rng = np.random.default_rng(0)
    draws = rng.normal(effect, sd, (20_000, n))
    t = draws.mean(1) / (draws.std(1, ddof=1) / math.sqrt(n))
    assert (np.abs(t) > stats.t.ppf(0.975, n - 1)).mean() == pytest.approx(0.8, abs=0.01)


def test_the_detectable_effect_falls_with_n_and_grows_with_power() -> None:
    by_n = [detectable(1 / math.sqrt(n), n - 1) for n in (2, 3, 5, 10, 30, 1000)]
    assert by_n == sorted(by_n, reverse=True)
    assert by_n[-1] == pytest.approx(2.8016 / math.sqrt(1000), rel=2e-3)  # 1.95996 + 0.84162 of the normal
    assert detectable(1.0, 4, power=0.9) > detectable(1.0, 4, power=0.8)
    assert detectable(0.0, 4) == 0.0
    assert detectable(1.0, 4, level=0.05, power=0.5) == 0.0
    found = paired([1.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    assert found.detectable == detectable(np.std([1, 2, 4], ddof=1) / math.sqrt(3), 2)


@pytest.mark.parametrize("n", [6, 14])
def test_differences_without_spread_decide_although_they_are_rounded(n: int) -> None:
    a = normal(n)
    found = paired(a + 0.1, a)
    assert (found.low, found.high) == (found.effect, found.effect)
    assert found.effect == pytest.approx(0.1)
    assert (found.p, found.detectable) == (0.0, 0.0)
    assert paired(a, a) == Effect(0.0, 0.0, 0.0, 1.0, 0.0, n, found.method)
    assert equivalence(a, a, margin=0.1).p == 0.0
    assert equivalence(a + 0.2, a, margin=0.1).p == 1.0


def test_one_wild_value_neither_breaks_the_bootstrap_nor_decides() -> None:
    wild = np.zeros(12)
    wild[3] = -1000.0
    found = paired(wild, np.zeros(12))
    assert found.high == 0.0
    assert found.p > 0.05
    best = paired(np.r_[np.ones(11), 1e9], np.zeros(12))
    assert 2 / 10_000 <= best.p < 0.001  # no smaller than the resamples can show


@pytest.mark.parametrize("n", [5, 30])
def test_tost_is_two_one_sided_tests(n: int) -> None:
    a = normal(n) * 0.5
    found = equivalence(a, np.zeros(n), margin=0.6)
    if n < 10:
        lower = stats.ttest_1samp(a, -0.6, alternative="greater").pvalue
        upper = stats.ttest_1samp(a, 0.6, alternative="less").pvalue
        assert found.p == pytest.approx(max(lower, upper), abs=1e-12)
    assert (found.p < 0.05) == (found.low > -0.6 and found.high < 0.6)
    assert (found.effect, found.margin, found.n) == (pytest.approx(a.mean()), 0.6, n)


@settings(max_examples=60, deadline=None)
@given(values=VALUES, margin=st.floats(0.1, 50), pairs=st.booleans())
def test_tost_does_not_care_which_sample_comes_first(values: list[float], margin: float, pairs: bool) -> None:
    zeros = [0.0] * len(values)
    there, back = equivalence(values, zeros, margin, pairs=pairs), equivalence(zeros, values, margin, pairs=pairs)
    assert back.p == pytest.approx(there.p, abs=1e-6)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-6)
    assert equivalence(values, zeros, 2 * margin, pairs=pairs).p <= there.p


def test_holm_of_the_book() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.5, 0.5]) == [1.0, 1.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12), st.randoms(use_true_random=False))
def test_holm_is_monotone_and_lies_between_the_raw_and_bonferroni(ps: list[float], random) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= min(1.0, len(ps) * p) + 1e-15 for p, q in zip(ps, adjusted, strict=True))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
    mixed = list(range(len(ps)))
    random.shuffle(mixed)
    assert holm([ps[i] for i in mixed]) == [adjusted[i] for i in mixed]
    if ps:  # a smaller p never makes another claim worse
        assert all(q <= r for q, r in zip(holm([ps[0] / 2, *ps[1:]]), adjusted, strict=True))


def test_wrong_arguments_are_refused_in_a_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"`a` of `estimate` must be finite. Got \[1.0, nan\]: leave out diverged runs"
    ):
        paired([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"`b` of `estimate` must be a sequence of at least one number. Got shape \(0,\)"
    ):
        paired([1.0], [])
    with pytest.raises(
        ValueError, match=r"`a` and `b` must come in pairs, as many in each. Got 2 and 1: compare them unpaired"
    ):
        paired([1.0, 2.0], [1.0])
    for level in (0.0, 1.0, 95, math.nan):
        with pytest.raises(ValueError, match=r"`level` of `paired` must be in \(0, 1\). Got"):
            paired([1.0, 2.0], [1.0, 1.0], level=level)
    for margin in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"`margin` of `equivalence` must be a finite number above 0. Got"):
            equivalence([1.0, 2.0], [1.0, 1.0], margin)
    with pytest.raises(
        ValueError, match=r"`pvalues` of `holm` must be a sequence of numbers in \[0, 1\]. Got \[0.5, nan\]"
    ):
        holm([0.5, math.nan])
    with pytest.raises(ValueError, match=r"`power` of `detectable` must be in \(0, 1\). Got 80."):
        detectable(1.0, 4, power=80)
    with pytest.raises(ValueError, match=r"`error` of `detectable` must be at least 0. Got nan."):
        detectable(math.nan, 4)
    with pytest.raises(ValueError, match=r"`resamples` of the bootstrap must be at least 99. Got 9."):
        paired(normal(12), normal(12, 1), resamples=9)
