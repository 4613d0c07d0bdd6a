"""Similarities against closed forms and plain NumPy, under their invariances, and on data that have nothing to say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.analysis.similarity import cca, debiased_cka, linear_cka, procrustes, pwcca, rbf_cka, svcca
from wirings.analysis.similarity.noise import random_overlaps

CCA_FAMILY = [cca, svcca, pwcca]
EVERY_MEASURE = [*CCA_FAMILY, linear_cka, debiased_cka, rbf_cka, procrustes]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def related(points: int = 200, k1: int = 6, k2: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sides that share part of what they say, with units of very different size."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((points, 3))
    x = shared @ rng.standard_normal((3, k1)) + rng.standard_normal((points, k1))
    y = shared @ rng.standard_normal((3, k2)) + rng.standard_normal((points, k2))
    return x * np.logspace(-2, 1, k1) + 3, y * np.logspace(1, -1, k2) - 1


def low_rank(points: int = 120, units: int = 9, rank: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Units that are combinations of fewer, and an orthonormal basis of what they span."""
    factor = normal(points, rank, seed=seed)
    basis = np.linalg.qr(factor - factor.mean(0))[0]
    return factor @ normal(rank, units, seed=seed + 1), basis


# an independent evaluation in plain NumPy, written from the definitions


def numpy_cca(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    qx = np.linalg.qr(x - x.mean(0))[0]
    qy = np.linalg.qr(y - y.mean(0))[0]
    return np.linalg.svd(qx.T @ qy, compute_uv=False)


def numpy_leading(x: np.ndarray, variance: float) -> np.ndarray:
    x = x - x.mean(0)
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    k = next(k for k in range(1, len(values) + 1) if (values[:k] ** 2).sum() / (values**2).sum() >= variance)
    return (left * values)[:, :k]


def numpy_pwcca(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    whiten_x = vectors / np.sqrt(values) @ vectors.T
    values, vectors = np.linalg.eigh(y.T @ y)
    whiten_y = vectors / np.sqrt(values) @ vectors.T
    a, rho, _ = np.linalg.svd(whiten_x @ x.T @ y @ whiten_y)
    variates = x @ whiten_x @ a[:, : len(rho)]
    weights = np.abs(variates.T @ x).sum(1)
    return float((weights * rho).sum() / weights.sum())


def numpy_cka(k: np.ndarray, l: np.ndarray) -> float:
    n = len(k)
    h = np.eye(n) - 1 / n
    hsic = lambda a, b: np.trace(a @ h @ b @ h)
    return float(hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l)))


def numpy_unbiased_hsic(k: np.ndarray, l: np.ndarray) -> float:
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    one = np.ones(n)
    total = (
        np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    )
    return float(total / (n * (n - 3)))


def numpy_debiased(k: np.ndarray, l: np.ndarray) -> float:
    return numpy_unbiased_hsic(k, l) / math.sqrt(numpy_unbiased_hsic(k, k) * numpy_unbiased_hsic(l, l))


def numpy_gaussian(x: np.ndarray, bandwidth: float) -> np.ndarray:
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    apart = np.sort(distance[np.triu_indices(len(x), 1)])
    middle = apart[(len(apart) - 1) // 2]
    return np.exp(-(distance**2) / (2 * (bandwidth * middle) ** 2))


def numpy_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm((x / np.linalg.norm(x)).T @ (y / np.linalg.norm(y)), ord="nuc"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [(200, 6, 4), (50, 3, 12), (40, 1, 7)])
def test_every_measure_equals_a_plain_numpy_evaluation(sizes: tuple[int, int, int], seed: int) -> None:
    x, y = related(*sizes, seed=seed)
    small, large = (x, y) if x.shape[1] <= y.shape[1] else (y, x)
    rho = numpy_cca(x, y)
    assert np.allclose(cca(x, y).correlations, rho, rtol=0, atol=1e-8)
    assert cca(x, y).value == pytest.approx(rho.mean(), abs=1e-8)
    assert cca(x, y, take="max").value == pytest.approx(rho.max(), abs=1e-8)
    truncated = numpy_cca(numpy_leading(x, 0.99), numpy_leading(y, 0.99)).mean()
    assert svcca(x, y).value == pytest.approx(truncated, abs=1e-8)
    assert pwcca(x, y).value == pytest.approx(numpy_pwcca(small, large), abs=1e-8)
    assert linear_cka(x, y).value == pytest.approx(numpy_cka(x @ x.T, y @ y.T), abs=1e-8)
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    assert debiased_cka(x, y).value == pytest.approx(
        numpy_debiased(centred_x @ centred_x.T, centred_y @ centred_y.T), abs=1e-8
    )
    assert rbf_cka(x, y, bandwidth=0.5).value == pytest.approx(
        numpy_cka(numpy_gaussian(x, 0.5), numpy_gaussian(y, 0.5)), abs=1e-8
    )
    assert procrustes(x, y).value == pytest.approx(numpy_procrustes(x, y), abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_low_rank_data_equal_a_plain_numpy_evaluation_on_their_factors(seed: int) -> None:
    (x, basis_x), (y, basis_y) = low_rank(seed=seed), low_rank(units=7, rank=3, seed=seed + 10)
    rho = np.linalg.svd(basis_x.T @ basis_y, compute_uv=False)
    found = cca(x, y)
    assert found.directions == (4, 3)
    assert np.allclose(found.correlations, rho, rtol=0, atol=1e-8)
    assert found.notes == ("9 varying units of x span 4 directions", "7 varying units of y span 3 directions")
    assert svcca(x, y, variance=1.0).value == pytest.approx(rho.mean(), abs=1e-8)
    assert linear_cka(x, y).value == pytest.approx(numpy_cka(x @ x.T, y @ y.T), abs=1e-8)
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    expected = numpy_debiased(centred_x @ centred_x.T, centred_y @ centred_y.T)
    assert debiased_cka(x, y).value == pytest.approx(expected, abs=1e-8)
    assert procrustes(x, y).value == pytest.approx(numpy_procrustes(x, y), abs=1e-8)


def test_low_rank_data_in_float32_keep_their_rank() -> None:
    (x, basis_x), (y, basis_y) = low_rank(points=400), low_rank(points=400, units=7, rank=3, seed=10)
    rho = np.linalg.svd(basis_x.T @ basis_y, compute_uv=False)
    found = cca(torch.tensor(x, dtype=torch.float32) + 5, torch.tensor(y, dtype=torch.float32))
    assert found.directions == (4, 3)
    assert found.value == pytest.approx(rho.mean(), abs=1e-4)


def test_two_units_in_the_plane_have_the_cosine_of_their_angle() -> None:
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    other = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    y = 3 * x + 4 * other  # at an angle whose cosine is 3/5
    assert cca(x, y).value == pytest.approx(0.6, abs=1e-12)
    assert svcca(x, y).value == pytest.approx(0.6, abs=1e-12)
    assert pwcca(x, y).value == pytest.approx(0.6, abs=1e-12)
    assert linear_cka(x, y).value == pytest.approx(0.36, abs=1e-12)
    assert procrustes(x, y).value == pytest.approx(0.6, abs=1e-12)


def test_linear_cka_of_a_stretched_axis_has_a_closed_form() -> None:
    basis = np.linalg.qr(normal(50, 2) - normal(50, 2).mean(0))[0]
    x, y = basis, basis * [1.0, 2.0]
    # (1 + 4) / (sqrt(2) sqrt(1 + 16)); the rotation costs (1 + 2) / (sqrt(2) sqrt(1 + 4))
    assert linear_cka(x, y).value == pytest.approx(5 / math.sqrt(34), abs=1e-12)
    assert procrustes(x, y).value == pytest.approx(3 / math.sqrt(10), abs=1e-12)
    assert cca(x, y).value == pytest.approx(1, abs=1e-12)


def test_svcca_keeps_the_fewest_directions_that_reach_the_variance() -> None:
    basis = np.linalg.qr(normal(60, 3) - normal(60, 3).mean(0))[0]
    x = basis * np.sqrt([0.90, 0.09, 0.01])
    assert svcca(x, x, variance=0.9).directions == (1, 1)
    assert svcca(x, x, variance=0.99).directions == (2, 2)
    assert svcca(x, x, variance=0.991).directions == (3, 3)


def test_pwcca_weighs_what_carries_the_representation() -> None:
    basis = np.linalg.qr(normal(100, 3) - normal(100, 3).mean(0))[0]
    x, y = basis[:, :2] * [3.0, 1.0], basis[:, [0, 2]]  # the large direction is shared, the small one is not
    assert cca(x, y).value == pytest.approx(0.5, abs=1e-12)
    assert pwcca(x, y).value == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize("measure", EVERY_MEASURE)
def test_a_representation_is_like_itself(measure) -> None:
    x, _ = related()
    assert measure(x, x).value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("measure", EVERY_MEASURE)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_rotation_scale_and_shift_change_nothing(measure, seed: int, scale: float, shift: float) -> None:
    x, y = related(seed=seed)
    rotation = np.linalg.qr(normal(x.shape[1], x.shape[1], seed=seed))[0]
    before, after = measure(x, y), measure(scale * (x @ rotation) + shift, y)
    assert after.value == pytest.approx(before.value, abs=1e-8)
    assert measure(scale * x @ rotation, x).value == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("measure", EVERY_MEASURE)
def test_the_order_of_units_and_of_points_changes_nothing(measure) -> None:
    x, y = related()
    rng = np.random.default_rng(1)
    units, points = rng.permutation(x.shape[1]), rng.permutation(len(x))
    assert measure(x[:, units], y).value == pytest.approx(measure(x, y).value, abs=1e-10)
    assert measure(x[points], y[points]).value == pytest.approx(measure(x, y).value, abs=1e-10)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_invertible_map_changes_cka_and_not_cca(seed: int) -> None:
    x, y = related(seed=seed)
    map_x = normal(x.shape[1], x.shape[1], seed=seed) + 2 * np.eye(x.shape[1])
    assert cca(x @ map_x, y).value == pytest.approx(cca(x, y).value, abs=1e-7)
    assert cca(x @ map_x, x).value == pytest.approx(1, abs=1e-7)
    assert linear_cka(x @ map_x, x).value < 1 - 1e-6
    assert procrustes(x @ map_x, x).value < 1 - 1e-6


@pytest.mark.parametrize("measure", [cca, svcca, linear_cka, debiased_cka, rbf_cka, procrustes])
def test_the_sides_may_change_places(measure) -> None:
    x, y = related()
    assert measure(y, x).value == pytest.approx(measure(x, y).value, abs=1e-10)
    assert measure(y, x).noise_floor == pytest.approx(measure(x, y).noise_floor, abs=0.02)


@pytest.mark.parametrize("measure", EVERY_MEASURE)
def test_dead_units_change_nothing_and_are_said(measure) -> None:
    x, y = related()
    dead = np.column_stack([x[:, :2], np.zeros(len(x)), x[:, 2:], np.full(len(x), 7.3)])
    found = measure(dead, y)
    assert found.value == pytest.approx(measure(x, y).value, abs=1e-12)
    assert found.noise_floor == pytest.approx(measure(x, y).noise_floor, abs=1e-12)
    assert found.units == (8, 4)
    assert "2 of 8 units of x do not vary and were left out" in found.notes


DEGENERATE = {
    "all units dead": (np.zeros((30, 4)), normal(30, 4)),
    "both sides constant": (np.full((30, 4), 2.5), np.full((30, 3), -1.0)),
    "fewer points than units": (normal(5, 40), normal(5, 30, seed=1)),
    "one point": (normal(1, 4), normal(1, 3)),
    "two points": (normal(2, 4), normal(2, 3, seed=1)),
    "three points": (normal(3, 4), normal(3, 3, seed=1)),
    "no point": (np.zeros((0, 4)), np.zeros((0, 3))),
    "no unit": (np.zeros((30, 0)), normal(30, 3)),
    "neither points nor units": (np.zeros((0, 0)), np.zeros((0, 0))),
    "duplicate units": (np.repeat(normal(30, 2), 3, axis=1), np.repeat(normal(30, 1, seed=1), 4, axis=1)),
    "all points equal but one": (np.eye(30)[:, :1].repeat(3, axis=1), np.eye(30)[:, 1:4]),
    "one-hot points": (np.eye(6), np.eye(6)[:, ::-1].copy()),
    "NaN in one point": (np.vstack([normal(29, 4), np.full((1, 4), np.nan)]), normal(30, 3, seed=1)),
    "infinite everywhere": (np.full((30, 4), np.inf), normal(30, 3)),
    "huge": (normal(30, 4) * 1e200, normal(30, 3, seed=1) * 1e300),
    "tiny": (normal(30, 4) * 1e-300, normal(30, 3, seed=1) * 1e-200),
    "denormal": (np.arange(30)[:, None] * 5e-324, normal(30, 3, seed=1)),
    "an offset a million times the spread": (normal(30, 4) + 1e6, normal(30, 3, seed=1) - 1e6),
    "integers": (np.arange(60).reshape(30, 2) ** 2, np.arange(30)[:, None]),
    "one unit a side": (normal(30, 1), normal(30, 1, seed=1)),
}


@pytest.mark.parametrize("measure", EVERY_MEASURE)
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_input_gives_nan(measure, case: str, dtype: type) -> None:
    with np.errstate(over="ignore", under="ignore"):
        x, y = (side.astype(dtype) for side in DEGENERATE[case])
    found = measure(x, y)
    assert math.isfinite(found.value)
    assert math.isfinite(found.noise_floor)
    assert -1 <= found.value <= 1 + 1e-12
    assert -1e-12 <= found.noise_floor <= 1 + 1e-12
    assert all(0 <= rho <= 1 for rho in found.correlations)


@pytest.mark.parametrize("measure", EVERY_MEASURE)
@pytest.mark.parametrize(
    "case, note",
    [
        ("all units dead", "x has no unit that varies"),
        ("one point", "1 points are too few to compare anything"),
        ("no unit", "x has no unit that varies"),
        ("infinite everywhere", "30 points are not finite and were left out"),
    ],
)
def test_where_nothing_can_be_compared_the_value_is_0_and_the_reason_is_said(measure, case: str, note: str) -> None:
    found = measure(*DEGENERATE[case])
    assert found.value == 0.0
    assert found.noise_floor == 0.0
    assert note in found.notes


def test_debiased_cka_says_that_it_needs_four_points_that_differ_in_pairs() -> None:
    assert debiased_cka(*DEGENERATE["three points"]).notes == ("3 points: the unbiased estimator needs four",)
    assert debiased_cka(*DEGENERATE["one-hot points"]).notes == ("all pairs of points of one side are equally alike",)


def test_points_that_are_not_finite_are_left_out_on_both_sides() -> None:
    x, y = related()
    broken_x, broken_y = x.copy(), y.copy()
    broken_x[3, 1], broken_y[7, 0] = np.nan, np.inf
    found = svcca(broken_x, broken_y)
    keep = np.setdiff1d(np.arange(len(x)), [3, 7])
    assert found.value == svcca(x[keep], y[keep]).value
    assert found.points == 198
    assert found.notes == ("2 points are not finite and were left out",)


def test_too_few_points_force_correlations_and_the_noise_floor_shows_it() -> None:
    found = cca(normal(20, 15), normal(20, 12, seed=1))
    assert found.notes == ("too few points for 15 + 12 directions: 8 correlations are 1 by force",)
    assert sum(rho > 1 - 1e-10 for rho in found.correlations) == 8
    assert found.noise_floor == pytest.approx(found.value, abs=0.05)
    fewer = cca(normal(5, 40), normal(5, 30, seed=1))
    assert fewer.directions == (4, 4)
    assert fewer.value == pytest.approx(1, abs=1e-12)
    assert fewer.noise_floor == pytest.approx(1, abs=1e-12)


def test_independent_gaussians_of_ten_units_and_ten_thousand_points_are_hardly_alike() -> None:
    found = cca(normal(10_000, 10), normal(10_000, 10, seed=1))
    assert found.noise_floor == pytest.approx(0.85 * math.sqrt(10 / 10_000), rel=0.03)
    assert found.value == pytest.approx(found.noise_floor, abs=0.006)
    largest = cca(normal(10_000, 10), normal(10_000, 10, seed=1), take="max")
    assert largest.noise_floor == pytest.approx(2 * math.sqrt(10 / 10_000), rel=0.15)  # the edge is reached from below


@pytest.mark.parametrize("points, k1, k2", [(100, 1, 1), (50, 1, 9), (30, 5, 1)])
def test_the_noise_floor_of_one_unit_is_the_mean_of_a_beta(points: int, k1: int, k2: int) -> None:
    # the squared correlation with k units is Beta(k/2, (n-1-k)/2), whose half moment is a quotient of gammas
    k, m = max(k1, k2), points - 1
    gammas = map(math.lgamma, ((k + 1) / 2, m / 2, k / 2, (m + 1) / 2))
    a, b, c, d = gammas
    expected = math.exp(a + b - c - d)
    found = cca(normal(points, k1), normal(points, k2, seed=1))
    assert found.noise_floor == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("points, k1, k2", [(40, 3, 5), (40, 5, 3), (12, 4, 6), (10, 6, 7), (9, 8, 8)])
def test_random_overlaps_have_the_moments_of_gaussian_data(points: int, k1: int, k2: int) -> None:
    m = points - 1
    overlaps = random_overlaps(k1, k2, m, 4000, np.random.default_rng(0))
    assert overlaps.shape == (4000, k1, k2)
    rho = torch.linalg.svdvals(overlaps)
    assert float(rho.square().mean()) == pytest.approx(max(k1, k2) / m, abs=0.01)  # exact for any sizes
    rng = np.random.default_rng(1)
    draws = [numpy_cca(rng.standard_normal((points, k1)), rng.standard_normal((points, k2))) for _ in range(400)]
    assert np.allclose(rho.mean(0), np.mean(draws, axis=0), atol=0.03)


@pytest.mark.parametrize("measure", [*CCA_FAMILY, procrustes])
def test_the_noise_floor_is_what_shuffled_points_give(measure) -> None:
    x, y = related(points=80)
    rng = np.random.default_rng(0)
    shuffled = np.mean([measure(x, y[rng.permutation(len(y))]).value for _ in range(60)])
    assert measure(x, y).noise_floor == pytest.approx(shuffled, abs=0.02)


def test_the_noise_floor_of_cka_is_exactly_the_mean_over_all_pairings() -> None:
    x, y = normal(6, 3), normal(6, 2, seed=1)
    orders = [list(order) for order in itertools.permutations(range(6))]
    for measure in (linear_cka, rbf_cka, debiased_cka):
        mean = np.mean([measure(x, y[order]).value for order in orders])
        assert measure(x, y).noise_floor == pytest.approx(mean, abs=1e-10)


def test_the_noise_floor_is_repeatable_and_leaves_the_global_random_state_alone() -> None:
    x, y = related()
    torch.manual_seed(3)
    state, old = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert svcca(x, y) == svcca(x, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], old)  # noqa: NPY002


def test_tensors_of_a_graph_and_of_half_precision_are_taken() -> None:
    x, y = (torch.tensor(side, dtype=torch.float32) for side in related())
    assert svcca(x.requires_grad_(), y).value == pytest.approx(svcca(*related()).value, abs=1e-4)
    assert linear_cka(x.bfloat16(), y.bfloat16()).value == pytest.approx(linear_cka(*related()).value, abs=1e-2)
    assert float(linear_cka(x, y)) == linear_cka(x, y).value


def test_wrong_arguments_are_refused_in_a_sentence() -> None:
    x, y = related()
    with pytest.raises(ValueError, match=r"`x` and `y` must hold the same points, one a row. Got 200 and 199 rows"):
        svcca(x, y[:-1])
    with pytest.raises(ValueError, match=r"`x` must have shape \(points, units\). Got \(200,\)"):
        linear_cka(x[:, 0], y)
    with pytest.raises(TypeError, match=r"`y` must be real activations. Got torch.complex128."):
        linear_cka(x, y.astype(complex))
    for variance in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"`variance` of `svcca` must be in \(0, 1\]. Got"):
            svcca(x, y, variance=variance)
    with pytest.raises(ValueError, match=r"`bandwidth` of `rbf_cka` must be a finite number above 0. Got nan."):
        rbf_cka(x, y, bandwidth=math.nan)
    with pytest.raises(ValueError, match=r'`take` of `cca` must be "mean" or "max". Got \'sum\'.'):
        cca(x, y, take="sum")
