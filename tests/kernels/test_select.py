from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.kernels import native, strongest, strongest_conv_gradient, strongest_gradient, top_index, top_mask


def chosen(scores, k, absolute=False):
    """The oracle: sort (score descending, index ascending), take k."""
    ranked = [abs(s) if absolute else s for s in scores.flatten().tolist()]
    return sorted(sorted(range(len(ranked)), key=lambda i: (-ranked[i], i))[:k])


def test_ties_go_to_the_lower_index(any_build):
    scores = torch.tensor([1.0, 2.0, 2.0, 0.0, 2.0])
    assert top_index(scores, 2).tolist() == [1, 2]
    assert top_mask(scores, 4).tolist() == [True, True, True, False, True]
    assert top_index(torch.zeros(100), 7).tolist() == list(range(7))
    assert top_index(torch.tensor([-0.0, 0.0, -1.0]), 1).tolist() == [0]  # -0 and 0 are equal
    assert top_index(torch.tensor([0.0, -0.0, -1.0]), 1).tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(
    # few distinct values make many ties, wide ones reach every radix digit
    scores=st.one_of(
        st.lists(
            st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0, float("inf"), float("-inf")]), min_size=1, max_size=80
        ),
        st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=80),
    ),
    share=st.floats(0, 1),
    absolute=st.booleans(),
)
def test_exactly_the_k_highest_are_chosen(any_build, scores, share, absolute):
    k = round(share * len(scores))
    for dtype in (torch.float32, torch.float64):
        tensor = torch.tensor(scores, dtype=dtype)
        wanted = chosen(tensor, k, absolute)
        assert top_index(tensor, k, absolute=absolute).tolist() == wanted
        assert top_mask(tensor, k, absolute=absolute).nonzero().flatten().tolist() == wanted


def test_large_selections_agree_with_sorting_at_any_number_of_threads(build, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        scores = torch.randn(50_001, generator=generator, dtype=dtype).mul(50).round().div(50)  # many ties
        for k in (1, 5_000, 49_999):
            wanted = scores.abs().sort(descending=True, stable=True).indices[:k].sort().values
            for count in (1, 2, 3):
                monkeypatch.setattr(native, "threads", lambda work, count=count: count)
                assert torch.equal(top_index(scores, k, absolute=True), wanted)
                assert torch.equal(top_mask(scores, k, absolute=True).nonzero().flatten(), wanted)


MANY = 150_001  # enough for a sample of the scores to be taken first


def _scores(kind):
    rng = torch.Generator().manual_seed(1)
    some = torch.randn(MANY, generator=rng)
    if kind == "sorted":
        return some.sort().values
    if kind == "ties":
        return some.mul(20).round().div(20)
    if kind == "mostly zero":
        return some * (torch.rand(MANY, generator=rng) < 0.05)
    if kind == "misleading":  # what an evenly spaced sample sees is the smallest of all
        seen = torch.arange(2**14, dtype=torch.float64).mul(MANY).div(2**14).long()
        return (some.abs() + 1).index_fill(0, seen, 0.5)
    if kind == "infinite":
        return torch.where(torch.rand(MANY, generator=rng) < 0.3, float("inf"), some)
    return some.fill_(2.0) if kind == "equal" else some


@pytest.mark.parametrize("kind", ["normal", "sorted", "ties", "mostly zero", "misleading", "infinite", "equal"])
def test_many_scores_agree_with_sorting_whatever_a_sample_of_them_says(any_build, kind, monkeypatch):
    for dtype in (torch.float32, torch.float64):
        scores = _scores(kind).to(dtype)
        for absolute in (False, True):
            order = (scores.abs() if absolute else scores).sort(descending=True, stable=True).indices
            for k in (1, 20, 7_500, MANY // 2, MANY - 3, MANY):
                for count in (1, 3):
                    monkeypatch.setattr(native, "threads", lambda work, count=count: count)
                    wanted = order[:k].sort().values
                    assert torch.equal(top_index(scores, k, absolute=absolute), wanted)
                    assert torch.equal(top_mask(scores, k, absolute=absolute).nonzero().flatten(), wanted)


@pytest.mark.parametrize("place", [0, 77, MANY - 1])
def test_one_nan_among_many_scores_is_found(any_build, place):
    for dtype in (torch.float32, torch.float64):
        scores = torch.randn(MANY, generator=torch.Generator().manual_seed(2), dtype=dtype)
        scores[place] = float("nan")
        for choose in (top_mask, top_index):
            with pytest.raises(ValueError, match="a score is NaN, which has no rank"):
                choose(scores, 1000)


def test_shape_and_half_precision(any_build):
    scores = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    assert top_mask(scores, 2).tolist() == [[False, True], [True, False]]
    assert top_mask(scores.T, 2).tolist() == [[False, True], [True, False]]
    assert top_mask(scores.bfloat16(), 1).tolist() == [[False, True], [False, False]]
    assert top_index(scores, 0).tolist() == []
    assert top_mask(torch.empty(0), 0).tolist() == []


def test_what_has_no_rank_is_refused(any_build):
    for sign in (1, -1):
        for dtype in (torch.float32, torch.float64):
            scores = torch.tensor([1.0, sign * float("nan"), 2.0], dtype=dtype)
            for choose in (top_mask, top_index):
                with pytest.raises(ValueError, match="a score is NaN, which has no rank"):
                    choose(scores, 1)
    with pytest.raises(ValueError, match=r"`k` must be in \[0, 2\], the number of scores. Got 3"):
        top_index(torch.ones(2), 3)
    with pytest.raises(TypeError, match="`scores` must be floating point"):
        top_index(torch.ones(2, dtype=torch.int64), 1)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    kept=st.sampled_from([0.0, 0.3, 1.0]),
    share=st.floats(0, 1),
    ties=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_strongest_gradient_is_that_of_the_dense_gradient(any_build, rows, columns, kept, share, ties, seed):
    from wirings.kernels import select

    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: (
        torch.randint(-2, 3, shape, generator=generator).double()
        if ties
        else torch.randn(shape, generator=generator, dtype=torch.float64)
    )
    grad, x = draw(5, rows), draw(5, columns)
    skip = (torch.rand(rows * columns, generator=generator) < kept).nonzero().flatten()
    dense = (grad.T @ x).abs().flatten()
    dense[skip] = -1
    k = round(share * (rows * columns - len(skip)))
    wanted = dense.sort(descending=True, stable=True).indices[:k].sort().values
    for block in (1, 3 * columns, 2**20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(select, "_BLOCK", block)
            assert strongest_gradient(grad, x, k, skip=skip).tolist() == wanted.tolist()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_strongest_gradient_of_a_convolution(any_build, groups, monkeypatch):
    from wirings.kernels import select

    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, 7, 6, generator=generator, dtype=torch.float64)
    weight = torch.zeros(8, 4 // groups, 3, 3, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.conv2d(x, weight, stride=2, padding=1, groups=groups)
    grad = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    y.backward(grad)
    skip = torch.arange(0, weight.numel(), 3)
    dense = weight.grad.abs().flatten()
    dense[skip] = -1
    for block in (1, 2**20):
        monkeypatch.setattr(select, "_BLOCK", block)
        found = strongest_conv_gradient(grad, x, (3, 3), 10, stride=2, padding=1, groups=groups, skip=skip)
        assert found.tolist() == chosen(dense, 10)


def test_a_strongest_gradient_that_cannot_be_is_refused(any_build):
    grad, x = torch.ones(2, 3), torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"`k` must be in \[0, 11\], the positions that are free. Got 12"):
        strongest_gradient(grad, x, 12, skip=torch.tensor([5]))
    with pytest.raises(ValueError, match="`skip` must be an ascending 1-D int64 tensor"):
        strongest_gradient(grad, x, 1, skip=torch.tensor([5, 4]))
    with pytest.raises(ValueError, match=r"`grad` and `x` must be \(batch, out\) and \(batch, in\)"):
        strongest_gradient(grad, x[:1], 1)
    with pytest.raises(ValueError, match="a score is NaN"):
        strongest(iter([(0, torch.tensor([1.0, float("nan")]))]), 2, 1)
