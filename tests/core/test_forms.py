"""Forms: what a topology may look like, and the best that does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.forms import NM, Block, ConstantFanIn, Form, Unstructured
from wirings.core.topology import Topology

FORMS = [Unstructured(), NM(2, 4), NM(1, 2), Block(2, 2), Block(1, 4), ConstantFanIn()]
SHAPES = [(4, 8), (4, 8, 2, 2)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores_for(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(math.prod(shape), generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMS, ids=repr)
@given(k=st.integers(0, 32), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_the_best_has_the_form_and_the_settled_count(form: Form, shape: tuple[int, ...], k: int, seed: int) -> None:
    on = Topology.full(shape)
    chosen = form.top(scores_for(shape, seed), k, on)
    assert chosen.nnz == form.settle(k, shape) <= k
    assert form.holds(chosen)
    assert form.settle(chosen.nnz, shape) == chosen.nnz


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", [f for f in FORMS if not isinstance(f, NM)], ids=repr)
def test_what_is_kept_and_what_grows_have_the_form_together(form: Form, shape: tuple[int, ...]) -> None:
    now = form.top(scores_for(shape), math.prod(shape) // 2, Topology.full(shape))
    k = form.settle(now.nnz // 2, shape)
    keep = form.top(scores_for(shape, 1)[now.index], now.nnz - k, now)
    free = ~keep
    grown = form.top(scores_for(shape, 2)[free.index], k, free)
    assert keep <= now
    assert (keep & grown).nnz == 0
    assert (keep | grown).nnz == now.nnz
    assert form.holds(keep | grown)


def test_nm_keeps_the_best_of_every_group() -> None:
    scores = torch.tensor([[1.0, 4.0, 3.0, 2.0], [0.0, 0.0, 0.0, 9.0]])
    assert NM(2, 4).top(scores, 8, Topology.full((2, 4))).mask.int().tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]
    assert NM(2, 4).settle(8, (2, 4)) == 4
    assert NM(2, 4).settle(3, (2, 4)) == 2
    assert not NM(1, 4).holds(Topology.at((2, 4), [0, 1]))


def test_nm_groups_run_along_the_inputs_of_each_kernel_position() -> None:
    scores = torch.arange(8.0).view(1, 4, 1, 2)
    chosen = NM(1, 4).top(scores, 2, Topology.full(scores.shape))
    assert chosen.mask.nonzero().tolist() == [[0, 3, 0, 0], [0, 3, 0, 1]]


def test_blocks_are_ranked_by_their_sum() -> None:
    scores = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 3.5], [0, 0, 5, 0], [0, 0, 0, 0]])
    chosen = Block(2, 2).top(scores, 11, Topology.full((4, 4)))
    assert chosen.mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert not Block(2, 2).holds(Topology.at((4, 4), [0, 1, 4]))


def test_a_block_of_half_precision_scores_does_not_overflow() -> None:
    scores = torch.full((2, 8), 60_000.0, dtype=torch.float16)
    scores[:, 4:] = 61_000.0
    assert Block(2, 4).top(scores, 8, Topology.full((2, 8))).mask[0].tolist() == [False] * 4 + [True] * 4


def test_a_block_that_is_partly_taken_cannot_grow() -> None:
    on = ~Topology.at((2, 4), [0])
    assert Block(2, 2).top(torch.ones(7), 4, on).mask.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    with pytest.raises(ValueError, match=r"`k` of `Block\(height=2, width=2\)` must be at most 0 here. Got 4"):
        Block(2, 2).top(torch.ones(6), 4, ~Topology.at((2, 4), [0, 3]))


def test_constant_fan_in_gives_every_unit_its_best() -> None:
    scores = torch.tensor([[9.0, 8, 7, 6], [1, 2, 3, 4]])
    chosen = ConstantFanIn().top(scores, 5, Topology.full((2, 4)))
    assert chosen.mask.int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert not ConstantFanIn().holds(Topology.at((2, 4), [0, 1, 4]))


def test_constant_fan_in_spreads_over_living_units_only() -> None:
    on = Topology.at((3, 4), [0, 1, 2, 8, 9, 10])  # unit 1 is ablated
    chosen = ConstantFanIn().top(torch.tensor([1.0, 2, 3, 3, 2, 1]), 4, on)
    assert chosen.index.tolist() == [1, 2, 8, 9]
    assert ConstantFanIn().holds(chosen)
    with pytest.raises(ValueError, match=r"must be a multiple of the 2 living output units. Got 3"):
        ConstantFanIn().top(torch.ones(6), 3, on)


@pytest.mark.parametrize("form", [NM(1, 2), ConstantFanIn()], ids=repr)
def test_a_score_of_minus_infinity_is_still_a_position(form: Form) -> None:
    on = Topology.at((2, 4), [1, 3, 5, 7])
    chosen = form.top(torch.full((4,), -math.inf), 4, on)
    assert chosen.nnz == 4
    assert chosen <= on


@pytest.mark.parametrize("form", [NM(2, 4), ConstantFanIn()], ids=repr)
def test_ties_go_to_the_lower_index_or_where_the_seed_says(form: Form) -> None:
    on = Topology.full((64, 8))
    assert form.top(torch.ones(512), 128, on).mask[:, :2].all() or isinstance(form, NM)
    drawn = [form.top(torch.ones(512), 128, on, ties=generator(3)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != form.top(torch.ones(512), 128, on)
    assert len({tuple(row) for row in drawn[0].mask.tolist()}) > 5  # rows draw apart from each other
    assert form.holds(drawn[0])


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_channels_last_scores_give_the_same_choice(form: Form) -> None:
    scores = torch.rand(4, 8, 2, 2, generator=generator(), dtype=torch.float64)
    on = Topology.full(scores.shape)
    assert form.top(scores.to(memory_format=torch.channels_last), 64, on) == form.top(scores, 64, on)


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_integer_scores_can_be_ranked(form: Form) -> None:
    assert form.top(torch.arange(32), 16, Topology.full((4, 8))).nnz == 16


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_nan_and_wrong_sizes_are_refused(form: Form) -> None:
    on = Topology.full((4, 8))
    scores = torch.ones(32)
    scores[5] = math.nan
    with pytest.raises(ValueError, match=r"cannot rank NaN"):
        form.top(scores, 16, on)
    with pytest.raises(ValueError, match=r"per position of `on` \(32\). Got 31"):
        form.top(torch.ones(31), 16, on)
    with pytest.raises(ValueError, match=r"must be an integer in \[0, 32\]. Got -4"):
        form.top(torch.ones(32), -4, on)


def test_shapes_that_a_form_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`NM\(2, 4\)` needs inputs in multiples of 4. Got shape \(4, 6\)"):
        NM(2, 4).settle(3, (4, 6))
    with pytest.raises(ValueError, match=r"needs inputs in multiples"):
        NM(2, 4).settle(3, (8,))
    with pytest.raises(ValueError, match=r"`Block\(2, 2\)` needs outputs and inputs in multiples of its sides"):
        Block(2, 2).settle(3, (4, 5))
    with pytest.raises(ValueError, match=r"cannot choose that many: some group of `on` has too few positions"):
        NM(2, 4).top(torch.ones(4), 4, Topology.at((2, 4), [0, 1, 2, 4]))


@pytest.mark.parametrize("value", [0, -1, 1.0, True, math.nan, "2"])
def test_sides_of_forms_are_positive_integers(value: object) -> None:
    with pytest.raises(ValueError, match=r"`n` of `NM` must be an integer of at least 1"):
        NM(value, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`width` of `Block` must be an integer of at least 1"):
        Block(2, value)  # type: ignore[arg-type]


def test_more_than_all_of_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`n` of `NM` must be in \[1, m\]. Got 3 of 2"):
        NM(3, 2)
