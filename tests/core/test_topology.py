"""Topologies against Python sets, however they are told."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core import topology as topology_module
from wirings.core.topology import Topology

SHAPE = (3, 4)
positions = st.sets(st.integers(0, 11))
tellings = st.sampled_from(["mask", "index", "complement", "complement with mask", "twice complement"])


def told(chosen: set[int], how: str, shape: tuple[int, ...] = SHAPE) -> Topology:
    mask = torch.zeros(math.prod(shape), dtype=torch.bool)
    mask[list(chosen)] = True
    if how == "mask":
        return Topology.of(mask.view(shape))
    if how == "index":
        return Topology.at(shape, sorted(chosen))
    rest = Topology.at(shape, [i for i in range(math.prod(shape)) if i not in chosen])
    if how == "twice complement":
        return ~~Topology.at(shape, sorted(chosen))
    topology = ~rest
    if how == "complement with mask":
        assert topology.mask.shape == shape
    return topology


def members(topology: Topology) -> set[int]:
    return set(topology.index.tolist())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["small path", "big path"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "big path":
        monkeypatch.setattr(topology_module, "_ALGEBRA_BY_MASK_UP_TO", 0)


@pytest.mark.usefixtures("either_path")
class TestAlgebra:
    @given(positions, positions, tellings, tellings)
    @settings(max_examples=150, deadline=None)
    def test_the_algebra_is_that_of_sets(self, a: set[int], b: set[int], how_a: str, how_b: str) -> None:
        everything = set(range(12))
        x, y = told(a, how_a), told(b, how_b)
        for result, expected in [(x | y, a | b), (x & y, a & b), (x - y, a - b), (~x, everything - a)]:
            assert result.shape == SHAPE
            assert members(result) == expected
            assert result.nnz == len(expected)
            assert result.mask.view(-1).nonzero().flatten().tolist() == sorted(expected)
        assert (x <= y) == (a <= b)
        assert (x >= y) == (a >= b)
        assert (x == y) == (a == b)

    @given(positions, tellings, tellings)
    @settings(max_examples=100, deadline=None)
    def test_equal_sets_are_equal_whichever_way_they_are_told(self, a: set[int], one: str, other: str) -> None:
        x, y = told(a, one), told(a, other)
        assert x == y
        assert hash(x) == hash(y)
        assert x.fingerprint == y.fingerprint
        assert len({x, y}) == 1

    @given(positions, st.integers(0, 12), tellings, tellings)
    @settings(max_examples=100, deadline=None)
    def test_a_sample_depends_on_the_set_and_the_generator_alone(self, a: set[int], k: int, p: str, q: str) -> None:
        k = min(k, len(a))
        x, y = told(a, p).sample(k, generator(7)), told(a, q).sample(k, generator(7))
        assert x == y
        assert x.nnz == k
        assert members(x) <= a
        assert x.index.tolist() == sorted(x.index.tolist())

    @given(positions, tellings)
    @settings(max_examples=60, deadline=None)
    def test_degrees_count_rows_and_columns(self, a: set[int], how: str) -> None:
        x = told(a, how)
        matrix = np.zeros(SHAPE, dtype=int)
        matrix.flat[sorted(a)] = 1
        assert x.in_degrees.tolist() == matrix.sum(1).tolist()
        assert x.out_degrees.tolist() == matrix.sum(0).tolist()
        pointers, columns = x.csr()
        assert pointers.tolist() == [0, *np.cumsum(matrix.sum(1)).tolist()]
        assert columns.tolist() == np.nonzero(matrix)[1].tolist()


def test_different_sets_of_one_size_differ() -> None:
    assert Topology.at((4,), [0, 1]) != Topology.at((4,), [0, 2])
    assert Topology.at((4,), [0, 1]).fingerprint != Topology.at((4,), [0, 2]).fingerprint
    assert Topology.at((4,), [0]) != Topology.at((2, 2), [0])
    assert Topology.at((4,), [0]).fingerprint != Topology.at((2, 2), [0]).fingerprint
    assert Topology.empty((4,)).fingerprint != Topology.full((4,)).fingerprint
    assert Topology.at((4,), [0]) != {0}


def test_a_layer_of_a_million_by_a_million_costs_only_its_connections() -> None:
    shape = (10**6, 10**6)
    everything = Topology.full(shape)
    assert everything.nnz == 10**12
    drawn = everything.sample(1000, generator())
    assert drawn.nnz == 1000
    free = ~drawn
    grown = free.sample(1000, generator(1))
    assert (grown & drawn).nnz == 0
    both = drawn | grown
    assert both.nnz == 2000
    assert drawn <= both
    assert both <= everything
    assert (everything - both).nnz == 10**12 - 2000
    assert (free | drawn).is_full
    assert ~both == everything - both
    assert int(both.in_degrees.sum()) == int(both.out_degrees.sum()) == 2000
    assert (10**6 - free.in_degrees).sum() == 1000
    assert len(free.fingerprint) == 16
    assert pickle.loads(pickle.dumps(free)) == free  # noqa: S301 (our own bytes)
    with pytest.raises(ValueError, match=r"would take 931 GiB. Work with `sample`"):
        free.mask  # noqa: B018


def test_sampling_is_uniform_over_positions_and_pairs() -> None:
    from scipy.stats import chisquare

    rng = generator(3)
    for topology in (Topology.full((5,)), ~Topology.at((2, 4), [1, 4, 6])):
        pairs = [(a, b) for i, a in enumerate(topology.index.tolist()) for b in topology.index.tolist()[i + 1 :]]
        counts = dict.fromkeys(pairs, 0)
        for _ in range(2000):
            counts[tuple(topology.sample(2, rng).index.tolist())] += 1
        assert chisquare(list(counts.values())).pvalue > 1e-3


def test_sampling_few_of_many_is_uniform_too() -> None:
    from scipy.stats import chisquare

    rng, n = generator(5), 10_000  # the road of repeated draws: n > 4096 and n > 4 k
    drawn = torch.cat([Topology.full((n,)).sample(1000, rng).index for _ in range(50)])
    assert chisquare(torch.bincount(drawn // 500, minlength=20).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("k", [0, 1, 499, 500, 501, 4999, 5000, 9_999, 10_000])
def test_a_sample_has_exactly_k_different_connections(k: int) -> None:
    sample = Topology.full((100, 100)).sample(k, generator())
    assert sample.nnz == k == len(members(sample))


@pytest.mark.parametrize("k", [-1, 4, 2.0, float("nan"), True, "2"])
def test_a_sample_of_no_possible_size_is_refused(k: object) -> None:
    with pytest.raises(ValueError, match=r"`k` of `Topology.sample` must be an integer in \[0, 3\]"):
        Topology.full((3,)).sample(k, generator())  # type: ignore[arg-type]


def test_sampling_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    Topology.full((50, 50)).sample(20, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_degrees_of_a_convolution_count_kernel_elements() -> None:
    mask = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    mask[0, 0] = True
    mask[1, 2, 0, 1] = True
    topology = Topology.of(mask)
    assert topology.in_degrees.tolist() == [4, 1]
    assert topology.out_degrees.tolist() == [4, 0, 1]
    assert (~topology).in_degrees.tolist() == [8, 11]
    assert (~topology).out_degrees.tolist() == [4, 8, 7]


def test_a_vector_and_a_scalar_are_weights_too() -> None:
    vector = Topology.at((4,), [1, 3])
    assert vector.in_degrees.tolist() == [0, 1, 0, 1]
    assert vector.out_degrees.tolist() == [2]
    scalar = Topology.full(())
    assert (scalar.nnz, scalar.mask.shape, scalar.in_degrees.tolist()) == (1, (), [1])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_a_weight_without_positions_has_no_connections(shape: tuple[int, ...]) -> None:
    topology = Topology.full(shape)
    assert topology.nnz == 0
    assert topology.density == 0.0
    assert topology == Topology.empty(shape) == ~topology
    assert topology.in_degrees.tolist() == [0] * shape[0]


def test_a_channels_last_mask_tells_the_same_topology() -> None:
    mask = torch.rand(4, 3, 2, 2, generator=generator()) < 0.4
    there = mask.to(memory_format=torch.channels_last)
    assert not there.is_contiguous()
    assert Topology.of(there) == Topology.of(mask)
    assert Topology.of(there).index.tolist() == mask.flatten().nonzero().flatten().tolist()
    assert Topology.of(mask.transpose(0, 1)).index.tolist() == mask.transpose(0, 1).flatten().nonzero()[:, 0].tolist()


def test_what_happens_to_the_mask_later_does_not_reach_the_topology() -> None:
    mask = torch.tensor([True, False])
    topology = Topology.of(mask)
    mask[1] = True
    assert topology.index.tolist() == [0]
    assert Topology.of(mask, trusted=True).mask is mask  # given away


def test_what_happens_to_the_index_later_does_not_reach_the_topology() -> None:
    index = torch.tensor([0, 1])
    topology = Topology.at((3,), index)
    index[1] = 2
    assert topology.index.tolist() == [0, 1]


@pytest.mark.parametrize("how", ["mask", "index", "complement"])
def test_a_topology_survives_pickling_and_copies_are_itself(how: str) -> None:
    topology = told({1, 5}, how)
    again = pickle.loads(pickle.dumps(topology))  # noqa: S301 (our own bytes)
    assert again == topology
    assert again.fingerprint == topology.fingerprint
    assert copy.deepcopy(topology) is topology
    assert copy.copy(topology) is topology


def test_a_lazy_complement_stays_lazy_when_pickled() -> None:
    assert len(pickle.dumps(~Topology.empty((10**5, 10**5)))) < 2000


def test_index_may_come_in_any_order_and_as_any_integers() -> None:
    expected = Topology.at((2, 3), [0, 4])
    for index in ([4, 0], (0, 4), np.array([4, 0]), torch.tensor([4, 0], dtype=torch.int32), {0, 4}):
        assert Topology.at((2, 3), list(index) if isinstance(index, set) else index) == expected
    assert Topology.at((2, 3), []) == Topology.empty((2, 3))


def test_impossible_indices_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 6\). Got 6"):
        Topology.at((2, 3), [0, 6])
    with pytest.raises(ValueError, match=r"must be in \[0, 6\). Got -1"):
        Topology.at((2, 3), [-1])
    with pytest.raises(ValueError, match=r"must name each position once"):
        Topology.at((2, 3), [1, 1])
    for index in ([0.5], [float("nan")], [True], torch.tensor([True, False])):
        with pytest.raises(TypeError, match=r"must hold integers"):
            Topology.at((2, 3), index)
    with pytest.raises(ValueError, match=r"at most 2\^62 positions"):
        Topology.full((10**10, 10**10))
    with pytest.raises(ValueError, match=r"sizes of at least 0"):
        Topology.at((-1, 3), [])


def test_a_mask_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match=r"must be a tensor. Got list"):
        Topology.of([True])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must not hold NaN"):
        Topology.of(torch.tensor([0.0, float("nan")]))


def test_topologies_of_different_weights_do_not_combine() -> None:
    a, b = Topology.full((2, 3)), Topology.full((3, 2))
    for operate in (lambda: a | b, lambda: a & b, lambda: a - b, lambda: a <= b):
        with pytest.raises(ValueError, match=r"must have one shape. Got \(2, 3\) and \(3, 2\)"):
            operate()
    with pytest.raises(TypeError, match=r"A topology combines with topologies. Got Tensor"):
        a & torch.ones(2, 3)


def test_it_says_what_it_is_on_one_line() -> None:
    assert repr(Topology.at((2, 3), [0, 4])) == "Topology(2x3, 2 of 6 connections, density 0.3333)"


def test_the_example_of_its_docstring() -> None:
    t = Topology.at((2, 3), [0, 4])
    assert t.mask.int().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert ((~t).nnz, t.density == 1 / 3, t <= Topology.full((2, 3))) == (4, True, True)
