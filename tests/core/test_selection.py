"""Selection against a stable sort: exactly k, ties to the lower index."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.select import top, top_global, top_mask
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

INF = math.inf


def naive(scores: list[float], k: int) -> list[int]:
    """Stable sort by (-score, index); -0.0 and 0.0 tie."""
    return sorted(sorted(range(len(scores)), key=lambda i: -scores[i])[:k])


few_levels = st.lists(st.sampled_from([-INF, -1.5, -0.0, 0.0, 1.0, 2.0, INF]), max_size=40)
any_floats = st.lists(st.floats(allow_nan=False, width=32), max_size=40)


@given(st.one_of(few_levels, any_floats), st.integers(0, 40), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=300, deadline=None)
def test_it_chooses_what_a_stable_sort_chooses(scores: list[float], k: int, dtype: torch.dtype) -> None:
    k = min(k, len(scores))
    chosen = top_mask(torch.tensor(scores, dtype=dtype), k)
    assert chosen.dtype == torch.bool
    assert chosen.nonzero().flatten().tolist() == naive(scores, k)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(levels=few_levels, k=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_half_precisions_rank_as_they_are(dtype: torch.dtype, levels: list[float], k: int) -> None:
    k = min(k, len(levels))
    assert top_mask(torch.tensor(levels, dtype=dtype), k).nonzero().flatten().tolist() == naive(levels, k)


@given(st.lists(st.integers(-3, 3), max_size=30), st.integers(0, 30))
@settings(max_examples=50, deadline=None)
def test_integers_can_be_ranked(scores: list[int], k: int) -> None:
    k = min(k, len(scores))
    chosen = top_mask(torch.tensor(scores, dtype=torch.int64), k)
    assert chosen.nonzero().flatten().tolist() == naive([float(s) for s in scores], k)


def test_many_values_with_ties_across_the_threshold() -> None:
    scores = torch.randint(0, 50, (100_000,), generator=torch.Generator().manual_seed(0)).float()
    for k in (1, 1000, 50_000, 99_999):
        expected = scores.sort(descending=True, stable=True).indices[:k].sort().values
        assert torch.equal(top_mask(scores, k).nonzero().flatten(), expected)


def test_random_ties_are_seeded_fair_and_leave_the_rest_alone() -> None:
    scores = torch.tensor([1.0, 5.0, 1.0, 0.0, 1.0, 1.0])
    same = [top_mask(scores, 3, ties=torch.Generator().manual_seed(4)).tolist() for _ in range(2)]
    assert same[0] == same[1]
    rng, counts = torch.Generator().manual_seed(1), torch.zeros(6)
    for _ in range(600):
        chosen = top_mask(scores, 3, ties=rng)
        assert int(chosen.sum()) == 3
        counts += chosen
    assert counts[1] == 600
    assert counts[3] == 0
    assert ((counts[[0, 2, 4, 5]] - 300).abs() < 75).all()  # six standard deviations


def test_random_ties_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    top_mask(torch.ones(10), 3, ties=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n", [4, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_among_the_scores_is_refused(n: int, dtype: torch.dtype, sign: int) -> None:
    for k in {1, 2, n - 1}:
        scores = torch.arange(n).to(dtype)
        scores[n // 3] = sign * math.nan
        with pytest.raises(ValueError, match=r"cannot rank NaN"):
            top_mask(scores, k)


def test_all_or_none_need_no_ranking() -> None:
    assert top_mask(torch.tensor([math.nan, 1.0]), 0).tolist() == [False, False]
    assert top_mask(torch.tensor([math.nan, 1.0]), 2).tolist() == [True, True]
    assert top_mask(torch.tensor([]), 0).tolist() == []


@pytest.mark.parametrize("k", [-1, 4, 1.0, math.nan, True, "1"])
def test_an_impossible_k_is_refused(k: object) -> None:
    with pytest.raises(ValueError, match=r"`k` of `top` must be an integer in \[0, 3\]"):
        top_mask(torch.zeros(3), k)  # type: ignore[arg-type]


def test_scores_may_lie_in_memory_in_any_order() -> None:
    scores = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    on = Topology.full(scores.shape)
    expected = top(scores, 11, on)
    assert expected.nnz == 11
    assert top(scores.to(memory_format=torch.channels_last), 11, on) == expected
    wide = torch.zeros(4, 3, 2, 4, dtype=torch.float64)
    wide[..., ::2] = scores
    assert top(wide[..., ::2], 11, on) == expected
    assert top(scores.requires_grad_(), 11, on) == expected


def test_it_chooses_within_a_topology() -> None:
    on = Topology.at((1, 5), [0, 2, 3, 4])
    assert top(torch.tensor([1.0, 5.0, 1.0, 0.0]), 2, on).index.tolist() == [0, 2]
    assert top(torch.tensor([1.0, 5.0, 1.0, 0.0]), 2, ~~on).nnz == 2
    assert top(torch.tensor([]), 0, Topology.empty((2, 2))).nnz == 0
    with pytest.raises(ValueError, match=r"one score per position of `on` \(4\). Got 5"):
        top(torch.zeros(5), 2, on)


def test_a_global_choice_ranks_all_weights_together() -> None:
    on = Wiring({"a": Topology.full((2, 2)), "b": Topology.at((3,), [0, 2]), "c": Topology.empty((2,))})
    scores = {"b": torch.tensor([9.0, 2.0]), "a": torch.tensor([[1.0, 2.0], [3.0, 2.0]]), "c": torch.tensor([])}
    chosen = top_global(scores, 3, on)
    assert {name: t.index.tolist() for name, t in chosen.items()} == {"a": [1, 2], "b": [0], "c": []}
    assert list(chosen) == ["a", "b", "c"]
    assert top_global(scores, 6, on) == on
    assert top_global({}, 0, Wiring({})) == Wiring({})


def test_a_global_choice_says_what_does_not_fit() -> None:
    on = Wiring({"a": Topology.full((2,)), "b": Topology.full((2,))})
    with pytest.raises(ValueError, match=r"must cover every weight of `on`. `b` has none"):
        top_global({"a": torch.ones(2)}, 1, on)
    with pytest.raises(ValueError, match=r"`scores` of `b` must have 2 entries. Got 3"):
        top_global({"a": torch.ones(2), "b": torch.ones(3)}, 1, on)
