"""Convolutions with few connections missing: multiplied as if none were, to the same result."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.kernels import (
    ConvIndex,
    choose,
    conv_backward,
    conv_forward,
    conv_planes_backward,
    conv_planes_forward,
    native,
    to_planes,
)
from wirings.kernels.work import FILLED, FILLED_POINTWISE, Work, features, fills
from wirings.models import build
from wirings.sparse import SparseConv2d, keep_planes, to_sparse

TOLERANCE = {torch.float64: {"rtol": 1e-11, "atol": 1e-11}, torch.float32: {"rtol": 2e-5, "atol": 3e-4}}
INFINITE = float("inf")


@pytest.fixture
def from_density(monkeypatch):
    """Tells from which density on convolutions are filled; 2 for never."""

    def tell(density):
        monkeypatch.setattr("wirings.kernels.work.FILLED", density)
        monkeypatch.setattr("wirings.kernels.work.FILLED_POINTWISE", density)

    return tell


def problem(shape, batch, size, *, density=0.8, seed=0, dtype=torch.float64, **how):
    generator = torch.Generator().manual_seed(seed)
    numel = math.prod(shape)
    some = torch.randperm(numel, generator=generator)[: math.ceil(density * numel)]
    index = ConvIndex(shape, some.sort().values, **how)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    x, grad = draw(batch, index.in_channels, *size), draw(batch, shape[0], *index.output_size(*size))
    return index, draw(index.nnz), x, draw(shape[0]), grad


@settings(max_examples=80, deadline=None)
@given(
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (2, 2), (1, 3)]),
    stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 3),
    channels=st.tuples(st.sampled_from([1, 2, 5, 6, 13]), st.sampled_from([1, 3, 4, 7, 12])),
    size=st.tuples(st.integers(1, 9), st.integers(1, 11)),
    batch=st.sampled_from([1, 13, 64, 129]),
    density=st.sampled_from([0.7, 0.85, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_filled_convolutions_agree_with_the_dense_one(
    build, kernel, stride, padding, channels, size, batch, density, dtype, relu, seed
):
    assume(all(n + 2 * padding >= k for n, k in zip(size, kernel, strict=True)))
    shape, how = (*channels, *kernel), {"stride": stride, "padding": padding}
    index, values, x, bias, grad = problem(shape, batch, size, density=density, seed=seed, dtype=dtype, **how)
    assert fills(index.nnz, shape)
    weight, ex, eb = (t.double().requires_grad_() for t in (index.dense(values), x, bias))
    y = F.conv2d(ex, weight, eb, stride=stride, padding=padding)
    y = y.relu() if relu else y
    y.backward(grad.double())
    found = conv_forward(index, values, x, bias=bias, relu=relu)
    assert_close(found.double(), y.detach(), **TOLERANCE[dtype])
    output = y.detach().to(dtype) if relu else None
    back = conv_backward(index, values, x, grad, output=output, need_bias=True)
    for one, exact in zip(back, (ex.grad, weight.grad.flatten()[index.flat()], eb.grad), strict=True):
        assert_close(one.double(), exact, **TOLERANCE[dtype])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2), (5, 2)])
def test_filled_or_not_only_rounding_differs(build, from_density, kernel, stride):
    how = {"stride": stride, "padding": kernel // 2, "density": 0.75}
    index, values, x, bias, grad = problem((13, 9, kernel, kernel), 37, (10, 11), **how)
    halo, added = index.gradient_halo(10, 11), torch.randn_like(x)
    px, pg, onto = to_planes(x, halo=2), to_planes(grad, halo=halo), to_planes(added, halo=2).data
    results = []
    for density in (0.7, 2):
        from_density(density)
        y = conv_planes_forward(index, values, px, bias=bias)
        back = conv_planes_backward(index, values, px, pg, onto=onto)
        results.append((y.data, back.x.data, back.values))
    for filled, sparse in zip(*results, strict=True):
        assert_close(filled, sparse, rtol=1e-13, atol=1e-13)
    assert torch.equal(results[0][0], results[1][0])


def test_the_number_of_threads_changes_no_bit_of_a_filled_convolution(build, monkeypatch):
    for kernel, stride in ((3, 1), (3, 2), (1, 2)):
        how = {"stride": stride, "padding": kernel // 2, "dtype": torch.float32}
        index, values, x, bias, grad = problem((14, 7, kernel, kernel), 37, (9, 10), **how)
        x[3, 2, 4, 5] = math.nan
        results = []
        for count in (1, 2, 3):
            monkeypatch.setattr(native, "threads", lambda work, count=count: count)
            results.append([conv_forward(index, values, x, bias=bias), *conv_backward(index, values, x, grad)[:2]])
        for other in results[1:]:
            assert all(
                torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(results[0], other, strict=True)
            )


@pytest.mark.parametrize("evil", [math.nan, INFINITE, -INFINITE])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_nothing_leaks_through_a_missing_connection(build, from_density, kernel, stride, evil):
    how = {"stride": stride, "padding": kernel // 2}
    index, values, x, bias, grad = problem((13, 9, kernel, kernel), 20, (8, 9), density=0.7, **how)
    x[17, 4, 2, 4], grad[17, 5, 2, 2] = evil, evil
    results = []
    for density in (0.7, 2):
        from_density(density)
        y = conv_forward(index, values, x, bias=bias, relu=True)
        back = conv_backward(index, values, x, grad)
        results.append((y, back.x, back.values))
    for filled, sparse in zip(*results, strict=True):
        assert not sparse.isfinite().all()
        assert_close(filled, sparse, rtol=1e-12, atol=1e-12, equal_nan=True)
    # and in truth: output channels without a connection to the channel it is in do not know of it
    unseen = (index.dense(torch.ones_like(values))[:, 4] == 0).all((1, 2))
    if kernel == 1:
        assert unseen.any()
    assert results[0][0][:, unseen].isfinite().all()


def test_which_convolutions_are_filled():
    assert fills(7, (10, 1, 1, 1))
    assert fills(6, (10, 1, 1, 1))
    assert not fills(5, (10, 1, 1, 1))
    assert fills(63, (10, 1, 3, 3))
    assert not fills(62, (10, 1, 3, 3))
    assert not fills(90, (10, 1, 3, 3), groups=10)
    assert (FILLED, FILLED_POINTWISE) == (0.7, 0.6)


def test_filled_layers_are_told_and_cost_what_the_limit_costs():
    if not native.available():
        pytest.skip("no compiler: no kernels were built")
    image = {"batch": 16, "image": (8, 8), "padding": 1}
    most, limit = Work(shape=(10, 10, 3, 3), nnz=880, **image), Work(shape=(10, 10, 3, 3), nnz=630, **image)
    below = Work(shape=(10, 10, 3, 3), nnz=620, **image)
    assert features(most, "sparse") == features(limit, "sparse") != features(below, "sparse")
    said = "from density 0.7 on the sparse kernels of such a layer multiply missing connections too"
    assert said in choose.choose(most).why
    assert said not in choose.choose(below).why


def test_a_residual_network_with_filled_layers_is_the_masked_one_in_float64(build):
    generator = torch.Generator().manual_seed(0)
    dense = build_small(generator)
    shapes = {name: tuple(weight.shape) for name, weight in dense.named_parameters() if weight.dim() == 4}
    wiring = Wiring(
        {name: Topology.full(s).sample(math.ceil(0.8 * math.prod(s)), generator) for name, s in shapes.items()}
    )
    sparse = keep_planes(to_sparse(copy.deepcopy(dense), wiring))
    layers = [m for m in sparse.modules() if isinstance(m, SparseConv2d)]
    assert sum(fills(m.values.numel(), m.weight_shape) for m in layers) > 5
    with torch.no_grad():
        for name, weight in dense.named_parameters():
            if name in wiring:
                weight.mul_(wiring[name].mask)
    x = torch.randn(5, 3, 12, 12, generator=generator, dtype=torch.float64)
    outputs = []
    for net in (dense, sparse):
        y = net(x)
        y.square().sum().backward()
        outputs.append(y.detach())
    assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-9)
    wanted = {name: p.grad for name, p in dense.named_parameters()}
    for path, layer in sparse.named_modules():
        if isinstance(layer, SparseConv2d):
            gradient = wanted[f"{path}.weight"].flatten()[layer.index.flat()]
            assert_close(layer.values.grad, gradient, rtol=1e-8, atol=1e-8)


def build_small(generator: torch.Generator) -> nn.Module:
    net = build("resnet-20", image_shape=(3, 12, 12)).double()
    with torch.no_grad():
        for weight in net.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.2)
    return net
