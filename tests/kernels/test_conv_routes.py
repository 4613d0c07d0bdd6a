"""Convolutions with many connections: other routes to the same result."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from conv_problem import near, problem
from hypothesis import HealthCheck, assume, given, settings
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
from wirings.kernels.work import FILLED, FILLED_POINTWISE, ROUTES, Work, features, route
from wirings.models import build
from wirings.sparse import SparseConv2d, keep_planes, to_sparse

INFINITE = float("inf")
CASES = [("filled", 3, 1), ("filled", 3, 2), ("filled", 1, 1), ("filled", 1, 2), ("filled", 5, 2), ("winograd", 3, 1)]
"""Route, kernel, stride."""


@pytest.fixture
def by(monkeypatch):
    """Sends all convolutions by one route, where they can take it."""

    def tell(way):
        def told(nnz, shape, *, stride, **_):
            return way if way != "winograd" or (shape[2:] == (3, 3) and stride == 1) else "connections"

        monkeypatch.setattr("wirings.kernels.conv.route", told)

    return tell


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(
        [("winograd", (3, 3), 1)] * 3
        + [("filled", (h, w), stride) for h, w in [(1, 1), (3, 3), (5, 5), (2, 2), (1, 3)] for stride in (1, 2)]
    ),
    padding=st.integers(0, 3),
    channels=st.tuples(st.sampled_from([1, 2, 5, 6, 13, 33]), st.sampled_from([1, 3, 4, 7, 12, 17])),
    size=st.tuples(st.integers(1, 9), st.integers(1, 11)),
    batch=st.sampled_from([1, 13, 64, 129]),
    density=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_route_agrees_with_the_dense_convolution(
    build, by, case, padding, channels, size, batch, density, dtype, relu, seed
):
    way, kernel, stride = case
    assume(all(n + 2 * padding >= k for n, k in zip(size, kernel, strict=True)))
    shape, how = (*channels, *kernel), {"stride": stride, "padding": padding}
    index, values, x, bias, grad = problem(shape, batch, size, density=density, seed=seed, dtype=dtype, **how)
    by(way)
    weight, ex, eb = (t.double().requires_grad_() for t in (index.dense(values), x, bias))
    y = F.conv2d(ex, weight, eb, stride=stride, padding=padding)
    y = y.relu() if relu else y
    y.backward(grad.double())
    found = conv_forward(index, values, x, bias=bias, relu=relu)
    near(found, y.detach(), math.prod(shape[1:]))
    output = y.detach().to(dtype) if relu else None
    back = conv_backward(index, values, x, grad, output=output, need_bias=True)
    for one, exact in zip(back, (ex.grad, weight.grad.flatten()[index.flat()], eb.grad), strict=True):
        near(one, exact, max(math.prod(shape) // shape[1], grad[:, 0].numel()))


@pytest.mark.parametrize(("way", "kernel", "stride"), CASES)
def test_whatever_the_route_only_rounding_differs(build, by, way, kernel, stride):
    how = {"stride": stride, "padding": kernel // 2, "density": 0.75}
    index, values, x, bias, grad = problem((13, 9, kernel, kernel), 37, (10, 11), **how)
    halo, added = index.gradient_halo(10, 11), torch.randn_like(x)
    px, pg, onto = to_planes(x, halo=2), to_planes(grad, halo=halo), to_planes(added, halo=2).data
    results = []
    for each in (way, "connections"):
        by(each)
        y = conv_planes_forward(index, values, px, bias=bias)
        back = conv_planes_backward(index, values, px, pg, onto=onto)
        results.append((y.data, back.x.data, back.values))
    for other, sparse in zip(*results, strict=True):
        assert_close(other, sparse, rtol=1e-12, atol=1e-12)
    if way == "filled":
        assert torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize(("way", "kernel", "stride"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit_on_any_route(build, by, monkeypatch, way, kernel, stride, dtype):
    how = {"stride": stride, "padding": kernel // 2, "dtype": dtype}
    index, values, x, bias, grad = problem((14, 27, kernel, kernel), 37, (9, 10), **how)
    for evil in (None, math.nan):
        if evil is not None:
            x[3, 2, 4, 5] = evil
        results = []
        for count in (1, 2, 3):
            monkeypatch.setattr(native, "threads", lambda work, count=count: count)
            by(way)
            results.append([conv_forward(index, values, x, bias=bias), *conv_backward(index, values, x, grad)[:2]])
        for other in results[1:]:
            assert all(
                torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(results[0], other, strict=True)
            )


@pytest.mark.parametrize("evil", [math.nan, INFINITE, -INFINITE])
@pytest.mark.parametrize(("way", "kernel", "stride"), CASES)
def test_nothing_leaks_through_a_missing_connection(build, by, way, kernel, stride, evil):
    how = {"stride": stride, "padding": kernel // 2}
    index, values, x, bias, grad = problem((13, 9, kernel, kernel), 20, (8, 9), density=0.7, **how)
    x[17, 4, 2, 4], grad[17, 5, 2, 2] = evil, evil
    results = []
    for each in (way, "connections"):
        by(each)
        y = conv_forward(index, values, x, bias=bias, relu=True)
        back = conv_backward(index, values, x, grad)
        results.append((y, back.x, back.values))
    for other, sparse in zip(*results, strict=True):
        assert not sparse.isfinite().all()
        assert_close(other, sparse, rtol=1e-12, atol=1e-12, equal_nan=True)
    # and in truth: output channels without a connection to the channel it is in do not know of it
    unseen = (index.dense(torch.ones_like(values))[:, 4] == 0).all((1, 2))
    if kernel == 1:
        assert unseen.any()
    assert results[0][0][:, unseen].isfinite().all()


@pytest.mark.parametrize("way", ["connections", "winograd"])
def test_numbers_near_the_largest_one_do_not_overflow_on_the_way(build, by, way):
    index = ConvIndex((3, 1, 3, 3), torch.tensor([0, 4, 9 + 4, 18 + 5, 18 + 7, 18 + 8]), padding=1)
    values, x, grad = torch.ones(6), torch.randn(16, 1, 8, 8), torch.randn(16, 3, 8, 8)
    x.mul_(1e38 / x.abs().max())  # sums of three stay below float32's largest number
    by(way)
    wanted = F.conv2d(x.double(), index.dense(values).double(), padding=1)
    assert_close(conv_forward(index, values, x).double(), wanted, rtol=1e-5, atol=1e33)
    back = conv_backward(index, values, x, grad * 1e-3)
    assert all(g.isfinite().all() for g in back[:2])


def test_the_error_of_winograds_route_is_some_times_that_of_the_others(build, by):
    index, values, x, _, grad = problem((64, 64, 3, 3), 16, (16, 16), padding=1, density=0.5, dtype=torch.float32)
    by("connections")
    doubles = values.double(), x.double()
    exact = [conv_forward(index, *doubles), *conv_backward(index, *doubles, grad.double())[:2]]
    errors = {}
    for way in ("connections", "winograd"):
        by(way)
        found = [conv_forward(index, values, x), *conv_backward(index, values, x, grad)[:2]]
        errors[way] = [((f - e).norm() / e.norm()).item() for f, e in zip(found, exact, strict=True)]
    for direct, short in zip(errors["connections"], errors["winograd"], strict=True):
        assert direct < 1e-6
        assert short < 10 * direct
        assert short < 2e-6


def test_which_route_a_convolution_takes():
    image = {"output": (32, 32), "panels": 4}
    assert route(6, (10, 1, 1, 1), **image) == "filled"
    assert route(5, (10, 1, 1, 1), **image) == "connections"
    assert route(63, (10, 1, 3, 3), **image) == "filled"
    assert route(62, (10, 1, 3, 3), **image) == "connections"
    assert route(90, (10, 1, 3, 3), groups=10, **image) == "connections"
    assert (FILLED, FILLED_POINTWISE) == (0.7, 0.6)
    wide = (64, 64, 3, 3)
    assert [route(round(d * 36_864), wide, **image) for d in (0.1, 0.2)] == ["connections"] * 2
    assert [route(round(d * 36_864), wide, **image) for d in (0.3, 0.5, 1)] == ["winograd"] * 3
    assert route(36_864, wide, stride=2, **image) == "filled"
    assert route(36_864, wide, groups=2, **image) == "connections"
    assert route(102_400, (64, 64, 5, 5), **image) == "filled"
    # few channels, or few pixels of many channels, are not worth turning anything
    assert route(2304 // 2, (16, 16, 3, 3), **image) == "connections"
    assert route(2_359_296 // 3, (512, 512, 3, 3), output=(2, 2), panels=4) == "connections"


def test_the_route_is_told_and_costs_what_it_costs(monkeypatch, tmp_path):
    if not native.available():
        pytest.skip("no compiler: no kernels were built")
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path))  # no calibration of this machine
    image = {"batch": 16, "image": (8, 8), "padding": 1}
    most, limit = Work(shape=(10, 10, 3, 3), nnz=880, **image), Work(shape=(10, 10, 3, 3), nnz=630, **image)
    below = Work(shape=(10, 10, 3, 3), nnz=620, **image)
    assert features(most, "sparse") == features(limit, "sparse") != features(below, "sparse")
    said = "from density 0.7 on the sparse kernels of such a layer multiply missing connections too"
    assert said in choose.choose(most).why
    assert said not in choose.choose(below).why
    some, more = (Work(shape=(64, 64, 3, 3), nnz=nnz, **image) for nnz in (25_000, 36_000))
    assert features(some, "sparse") == features(more, "sparse")
    assert features(some, "sparse")[0] == "sparse conv winograd"
    assert "multiplied by Winograd's algorithm" in choose.choose(more).why


@pytest.mark.parametrize("way", ROUTES)
def test_a_residual_network_is_the_masked_one_in_float64_on_every_route(build, by, way):
    generator = torch.Generator().manual_seed(0)
    dense = build_small(generator)
    shapes = {name: tuple(weight.shape) for name, weight in dense.named_parameters() if weight.dim() == 4}
    wiring = Wiring(
        {name: Topology.full(s).sample(math.ceil(0.8 * math.prod(s)), generator) for name, s in shapes.items()}
    )
    sparse = keep_planes(to_sparse(copy.deepcopy(dense), wiring))
    with torch.no_grad():
        for name, weight in dense.named_parameters():
            if name in wiring:
                weight.mul_(wiring[name].mask)
    by(way)
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
