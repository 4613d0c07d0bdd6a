from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.kernels import ConvIndex, SparseIndex, native


def test_rows_are_compressed_and_columns_ascend(any_build):
    # 1 . 1
    # . . .
    # . 1 .
    index = SparseIndex((3, 3), torch.tensor([0, 2, 7]))
    assert index.pointer.tolist() == [0, 2, 2, 3]
    assert index.column.tolist() == [0, 2, 1]
    assert index.row.tolist() == [0, 0, 2]
    assert index.flat().tolist() == [0, 2, 7]
    assert repr(index) == "SparseIndex(shape=(3, 3), nnz=3)"


def test_the_transpose_says_where_each_connection_was(any_build):
    # 1 . 1
    # 1 1 .
    turned = SparseIndex((2, 3), torch.tensor([0, 2, 3, 4])).transposed
    assert turned.pointer.tolist() == [0, 2, 3, 4]
    assert turned.row.tolist() == [0, 1, 1, 0]
    assert turned.place.tolist() == [0, 2, 3, 1]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 40),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_every_build_makes_the_same_index(rows, columns, density, seed):
    generator = torch.Generator().manual_seed(seed)
    flat = (torch.rand(rows * columns, generator=generator) < density).nonzero().flatten()
    made = []
    for name in [*native.installed(), "torch"]:
        with native.using(name):
            index = SparseIndex((rows, columns), flat)
            made.append((index.pointer, index.column, *index.transposed, index.flat()))
    for other in made[:-1]:
        for ours, plain in zip(other, made[-1], strict=True):
            assert ours.dtype == plain.dtype
            assert ours.tolist() == plain.tolist()
    assert made[-1][-1].tolist() == flat.tolist()


def test_numbers_are_as_narrow_as_they_can_be(any_build):
    flat = torch.tensor([65_536])
    assert SparseIndex((2, 65_536), flat).column.dtype == torch.uint16
    wide = SparseIndex((1, 65_537), flat)
    assert wide.column.dtype == torch.int32
    assert wide.column.tolist() == [65_536]
    assert SparseIndex((65_537, 1), flat).transposed.row.tolist() == [65_536]


def test_a_million_by_a_million_is_nothing_special(any_build):
    n = 10**6
    flat = torch.tensor([0, n - 1, n * n // 2, n * n - 1])
    index = SparseIndex((n, n), flat)
    assert index.flat().tolist() == flat.tolist()
    assert index.transposed.row[-2:].tolist() == [0, n - 1]


@pytest.mark.parametrize(
    "flat, sentence",
    [
        ([0, 6], r"entry 1 of the index is 6, outside a weight of shape \(2, 3\)"),
        ([-1, 2], r"entry 0 of the index is -1, outside"),
        ([3, 1], r"out of order: entry 1 is 1 after 3"),
        ([2, 2], r"connection 2 is twice in the index"),
        ([0, 2**62], r"entry 1 of the index is 4611686018427387904, outside"),
    ],
)
def test_a_crafted_index_is_refused(any_build, flat, sentence):
    with pytest.raises(ValueError, match=sentence):
        SparseIndex((2, 3), torch.tensor(flat))


def test_an_index_into_nothing_is_refused(any_build):
    for shape in ((0, 3), (3, 0)):
        assert SparseIndex(shape, torch.empty(0, dtype=torch.int64)).nnz == 0
        with pytest.raises(ValueError, match="entry 0 of the index is 0, outside"):
            SparseIndex(shape, torch.tensor([0]))


@pytest.mark.parametrize("flat", [torch.tensor([0.0]), torch.tensor([[0]]), torch.tensor([0], dtype=torch.int32), [0]])
def test_an_index_of_another_kind_is_refused(flat):
    with pytest.raises(TypeError, match=r"`flat` of `SparseIndex` must be a 1-D int64 tensor"):
        SparseIndex((2, 3), flat)


def test_impossible_shapes_are_refused():
    nothing = torch.empty(0, dtype=torch.int64)
    for shape in ((-1, 3), (2**31, 1), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"`shape` of `SparseIndex` must be two numbers in \[0, 2147483647\]"):
            SparseIndex(shape, nothing)
    with pytest.raises(ValueError, match=r"`stride` of `ConvIndex` must be 1 or 2\. Got 3"):
        ConvIndex((1, 1, 1, 1), nothing, stride=3)
    with pytest.raises(ValueError, match="no convolution has a weight"):
        ConvIndex((3, 1, 1, 1), nothing, groups=2)


def test_an_index_survives_copying_and_pickling(any_build):
    plain = SparseIndex((2, 3), torch.tensor([0, 2, 5]))
    folded = ConvIndex((2, 2, 3, 3), torch.tensor([0, 9, 35]), stride=2, padding=1)
    for index in (plain, folded):
        for other in (copy.deepcopy(index), pickle.loads(pickle.dumps(index)), index.to("cpu")):  # noqa: S301
            assert type(other) is type(index)
            assert other.shape == index.shape
            assert other.flat().tolist() == index.flat().tolist()
            assert other.transposed.place.tolist() == index.transposed.place.tolist()
    assert copy.deepcopy(folded).weight_shape == (2, 2, 3, 3)
    assert folded.to("cpu").output_size(5, 5) == (3, 3)


def test_a_strided_index_is_read_as_it_is_meant(any_build):
    flat = torch.tensor([0, 9, 4, 9, 5, 9])[::2]
    assert SparseIndex((2, 3), flat).flat().tolist() == [0, 4, 5]
