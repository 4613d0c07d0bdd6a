"""Convolutions of a few images: pixels side by side, the same numbers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from conv_problem import near, problem
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.kernels import ConvIndex, conv_forward, conv_planes_forward, from_planes, native, to_planes
from wirings.kernels.work import FEW_IMAGES, Work, features, few_images
from wirings.models import build as build_model
from wirings.sparse import keep_planes, to_sparse
from wirings.sparse.planes import PlaneImages
from wirings.sparse.planes import convolved as real_convolved


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.sampled_from([(3, 3), (1, 1), (5, 5), (7, 7), (2, 2), (1, 3)]),
    stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 3),
    channels=st.tuples(st.sampled_from([1, 2, 5, 13]), st.sampled_from([1, 3, 7])),
    groups=st.sampled_from([1, 1, 2, 3]),
    size=st.tuples(st.integers(1, 19), st.integers(1, 35)),
    batch=st.integers(0, FEW_IMAGES),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    last=st.booleans(),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_few_images_are_convolved_as_many_are(
    build, kernel, stride, padding, channels, groups, size, batch, density, dtype, last, relu, seed
):
    assume(all(n + 2 * padding >= k for n, k in zip(size, kernel, strict=True)))
    shape, how = (channels[0] * groups, channels[1], *kernel), {"stride": stride, "padding": padding, "groups": groups}
    index, values, x, bias, _ = problem(shape, batch, size, density=density, seed=seed, dtype=dtype, **how)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    exact = F.conv2d(x.double(), index.dense(values).double(), bias.double(), **how)
    exact = exact.relu() if relu else exact
    y = conv_forward(index, values, x, bias=bias, relu=relu)
    near(y, exact, math.prod(shape[1:]))
    if last and batch and not x.is_contiguous():
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_planes_give_the_same(build):
    index, values, x, bias, _ = problem((9, 7, 3, 3), 3, (11, 13), density=0.5, padding=1)
    inside = from_planes(conv_planes_forward(index, values, to_planes(x, halo=1), bias=bias))
    assert_close(conv_forward(index, values, x, bias=bias), inside, rtol=1e-13, atol=1e-13)


def test_a_network_with_resting_values_answers_one_image_without_planes(build, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    dense = build_model("resnet-20", image_shape=(3, 12, 12)).double().eval()
    shapes = {name: tuple(w.shape) for name, w in dense.named_parameters() if w.dim() == 4}
    wiring = Wiring({name: Topology.full(s).sample(math.prod(s) // 4, generator) for name, s in shapes.items()})
    sparse = keep_planes(to_sparse(copy.deepcopy(dense), wiring))
    with torch.no_grad():
        for name, weight in dense.named_parameters():
            if name in wiring:
                weight.mul_(wiring[name].mask)
    seen = []

    def convolved(layer, x):
        seen.append(real_convolved(layer, x))
        return seen[-1]

    monkeypatch.setattr("wirings.sparse.conv.convolved", convolved)
    for batch in (1, FEW_IMAGES, FEW_IMAGES + 1):
        x = torch.randn(batch, 3, 12, 12, generator=generator, dtype=torch.float64)
        seen.clear()
        with torch.no_grad():
            assert_close(sparse(x), dense(x), rtol=1e-10, atol=1e-10)
        assert len(seen) > 15
        assert all(isinstance(made, PlaneImages) is not few_images(batch) for made in seen)
    seen.clear()
    sparse(x[:1]).sum().backward()  # what trains stays in planes
    assert all(isinstance(made, PlaneImages) for made in seen)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_number_of_threads_changes_no_bit_and_missing_connections_let_nothing_through(build, monkeypatch, stride):
    index, values, x, bias, _ = problem((13, 5, 3, 3), 2, (9, 10), density=0.1, padding=1, stride=stride)
    x[1, 2, 4, 5] = math.inf
    results = []
    for count in (1, 2, 3):
        monkeypatch.setattr(native, "threads", lambda work, count=count: count)
        results.append(conv_forward(index, values, x, bias=bias))
    assert torch.equal(results[0].nan_to_num(7.0), results[1].nan_to_num(7.0))
    assert torch.equal(results[0].nan_to_num(7.0), results[2].nan_to_num(7.0))
    seen = (index.dense(torch.ones_like(values))[:, 2] != 0).any(2).any(1)
    assert results[0][0].isfinite().all()
    assert results[0][1, ~seen].isfinite().all()
    assert not results[0][1, seen].isfinite().all()


def test_images_that_are_too_large_are_refused(build):
    index = ConvIndex((1, 1, 1, 1), torch.tensor([0]))
    huge = torch.zeros(1).expand(1, 1, 2**16, 2**16)
    with pytest.raises(ValueError, match="too large for the kernels; run this layer masked"):
        conv_forward(index, torch.ones(1), huge)


def test_a_few_images_are_work_of_their_own():
    one, four, five = (Work(shape=(8, 8, 3, 3), nnz=100, batch=b, image=(6, 6), padding=1) for b in (1, 4, 5))
    assert features(one, "sparse") == ("sparse conv few", [1.0, 3600.0, 57_600.0, 576.0, 100])
    assert features(four, "sparse")[0] == "sparse conv few"
    assert features(five, "sparse")[0] == "sparse conv"
