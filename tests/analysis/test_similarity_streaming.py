"""Streams of batches against the whole at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.analysis.similarity import (
    Similarity,
    StreamingCCA,
    StreamingCKA,
    cca,
    debiased_cka,
    linear_cka,
    procrustes,
    pwcca,
    svcca,
)

WHOLE = {"svcca": svcca, "cca": cca, "pwcca": pwcca, "procrustes": procrustes, "cka": linear_cka}


def related(points: int = 300, k1: int = 7, k2: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((points, 3))
    x = shared @ rng.standard_normal((3, k1)) + rng.standard_normal((points, k1))
    y = shared @ rng.standard_normal((3, k2)) + rng.standard_normal((points, k2))
    return x * np.logspace(-3, 1, k1) + 5, y * np.logspace(1, -2, k2) - 20


def streamed(stream: StreamingCCA | StreamingCKA, x: np.ndarray, y: np.ndarray, cuts: list[int]):
    for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True):
        stream.update(a, b)
    return stream


def same(found: Similarity, whole: Similarity) -> bool:
    assert found.value == pytest.approx(whole.value, abs=1e-10)
    assert found.noise_floor == pytest.approx(whole.noise_floor, abs=1e-10)
    assert np.allclose(found.correlations, whole.correlations, rtol=0, atol=1e-10)
    return (found.measure, found.directions, found.points, found.units, found.notes) == (
        whole.measure, whole.directions, whole.points, whole.units, whole.notes,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 300), max_size=8).map(sorted))
def test_every_stream_equals_the_whole_however_it_is_cut(seed: int, cuts: list[int]) -> None:
    x, y = related(seed=seed)
    stream = streamed(StreamingCCA(), x, y, cuts)
    for measure, whole in WHOLE.items():
        assert same(stream.result(measure), whole(x, y))
    assert same(streamed(StreamingCKA("linear"), x, y, cuts).result(), linear_cka(x, y))
    assert same(streamed(StreamingCKA("debiased"), x, y, cuts).result(), debiased_cka(x, y))


def test_a_stream_whose_mean_wanders_equals_the_whole() -> None:
    x, y = related()
    x, y = x + np.linspace(0, 50, len(x))[:, None], y - np.linspace(0, 80, len(y))[:, None] ** 1.2
    stream = streamed(StreamingCCA(), x, y, list(range(16, 300, 16)))
    for measure, whole in WHOLE.items():
        assert same(stream.result(measure), whole(x, y))
    cuts = list(range(16, 300, 16))
    assert same(streamed(StreamingCKA("debiased"), x, y, cuts).result(), debiased_cka(x, y))


def test_a_stream_drops_dead_units_and_broken_points_as_the_whole_does() -> None:
    x, y = related()
    x = np.column_stack([x[:, :3], np.full(len(x), 0.1), x[:, 3:], x[:, 0]])  # one dead, one twice
    x[17, 2], y[100, 1] = np.nan, np.inf
    stream = streamed(StreamingCCA(), x, y, [50, 100, 101, 250])
    for measure, whole in WHOLE.items():
        found = stream.result(measure)
        assert set(found.notes) == set(whole(x, y).notes)
        assert found.value == pytest.approx(whole(x, y).value, abs=1e-10)
        assert found.directions == whole(x, y).directions
    found = streamed(StreamingCKA("debiased"), x, y, [50, 100, 101, 250]).result()
    assert found.value == pytest.approx(debiased_cka(x, y).value, abs=1e-10)
    assert found.notes == ("2 points are not finite and were left out",)


def test_a_unit_that_is_dead_only_in_the_first_batch_counts() -> None:
    x, y = related()
    x[:100, 1] = 0.0
    stream = streamed(StreamingCCA(), x, y, [100])
    assert same(stream.result("cca"), cca(x, y))
    assert same(streamed(StreamingCKA("linear"), x, y, [100]).result(), linear_cka(x, y))


def test_results_may_be_read_on_the_way() -> None:
    x, y = related()
    stream = StreamingCCA()
    stream.update(x[:120], y[:120])
    assert same(stream.result(), svcca(x[:120], y[:120]))
    stream.update(x[120:], y[120:])
    assert same(stream.result(), svcca(x, y))


def test_minibatch_cka_is_the_quotient_of_mean_unbiased_hsics() -> None:
    x, y = related()

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        n, one = len(a), np.ones(len(a))
        k, l = a @ a.T, b @ b.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        last = 2 / (n - 2) * (one @ k @ l @ one)
        return ((k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - last) / (n * (n - 3))

    # about a common point, so that the reference loses no digits; the estimator itself does not see the offset
    x0, y0 = x - x.mean(0), y - y.mean(0)
    cuts = [64, 128, 200]
    batches = list(zip(np.split(x0, cuts), np.split(y0, cuts), strict=True))
    pair, own, other = (
        np.mean([f(a, b) for a, b in batches]) for f in (hsic, lambda a, b: hsic(a, a), lambda a, b: hsic(b, b))
    )
    found = streamed(StreamingCKA("minibatch"), x, y, cuts).result()
    assert found.value == pytest.approx(pair / math.sqrt(own * other), abs=1e-10)
    assert (found.measure, found.points, found.noise_floor) == ("minibatch_cka", 300, 0.0)


def test_minibatch_cka_leaves_out_batches_below_four_points() -> None:
    x, y = related()
    with_small = streamed(StreamingCKA("minibatch"), x, y, [100, 103]).result()
    assert "1 batches have fewer than four points and were left out" in with_small.notes
    without = StreamingCKA("minibatch")
    without.update(x[:100], y[:100])
    without.update(x[103:], y[103:])
    assert with_small.value == pytest.approx(without.result().value, abs=1e-10)


@pytest.mark.parametrize("estimator", ["linear", "debiased", "minibatch"])
@pytest.mark.parametrize(
    "x, y",
    [
        (np.zeros((10, 3)), np.ones((10, 2))),
        (np.ones((1, 3)), np.ones((1, 2))),
        (np.full((10, 3), np.nan), np.ones((10, 2))),
        (np.eye(6), np.eye(6)),
        (np.zeros((0, 3)), np.zeros((0, 2))),
        (np.zeros((10, 0)), np.zeros((10, 0))),
        (np.arange(12.0).reshape(4, 3) * 1e300, np.arange(4.0)[:, None] * 1e-300),
        (np.arange(6.0).reshape(2, 3), np.arange(2.0)[:, None]),
    ],
)
def test_no_stream_gives_nan(estimator, x: np.ndarray, y: np.ndarray) -> None:
    stream = StreamingCKA(estimator)
    found = [stream.result()]
    stream.update(x, y)
    found.append(stream.result())
    stream.update(x, y)
    found.append(stream.result())
    other = StreamingCCA()
    found += [other.result(measure) for measure in WHOLE]
    for _ in range(2):
        other.update(x, y)
        found += [other.result(measure) for measure in WHOLE]
    assert all(math.isfinite(each.value) and math.isfinite(each.noise_floor) for each in found)
    assert all(each.notes for each in found if each.value == 0)


def test_a_stream_keeps_little_memory() -> None:
    stream = StreamingCCA()
    for _ in range(50):
        stream.update(*related())
    assert stream._factor.shape[0] <= 2 * 12


def test_float32_batches_keep_their_rounding_in_mind() -> None:
    x, y = related()
    x = np.column_stack([x, x[:, 0] + x[:, 6]])
    x32, y32 = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    stream = StreamingCCA()
    stream.update(x32[:100], y32[:100])
    stream.update(x32[100:], y32[100:])
    assert same(stream.result("cca"), cca(x32, y32))
    assert stream.result("cca").directions == (7, 5)


def test_wrong_arguments_of_streams_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r'`estimator` of `StreamingCKA` must be "linear", "debiased" or "minibatch"'):
        StreamingCKA("unbiased")
    with pytest.raises(ValueError, match=r"`variance` of `svcca` must be in \(0, 1\]. Got 0."):
        StreamingCCA(variance=0)
    with pytest.raises(
        ValueError, match=r"`measure` of `StreamingCCA.result` is unknown. Got 'svca'. Did you mean 'svcca'"
    ):
        StreamingCCA().result("svca")
    stream = StreamingCCA()
    stream.update(np.ones((3, 2)), np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"`update` must get the units of the first batch, \(2, 4\). Got \(2, 3\)."):
        stream.update(np.ones((3, 2)), np.ones((3, 3)))
