from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from wirings.kernels import (
    ConvIndex,
    Planes,
    conv_backward,
    conv_forward,
    conv_planes_backward,
    conv_planes_forward,
    from_planes,
    native,
    to_planes,
    with_halo,
)

F64, F32, BF16 = torch.float64, torch.float32, torch.bfloat16
TOLERANCE = {
    F64: {"rtol": 1e-11, "atol": 1e-11},
    F32: {"rtol": 2e-5, "atol": 3e-4},
    BF16: {"rtol": 2.0**-8, "atol": 3e-4},  # float32 sums, rounded once
}


def problem(shape, batch, size, *, density=0.4, seed=0, dtype=torch.float64, **how):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=generator) < density
    if density == 0:
        mask.view(-1)[int(torch.randint(mask.numel(), (1,), generator=generator))] = True  # one connection
    index = ConvIndex(shape, mask.flatten().nonzero().flatten(), **how)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    values, x, bias = draw(index.nnz), draw(batch, index.in_channels, *size), draw(shape[0])
    return index, values, x, bias, draw(batch, shape[0], *index.output_size(*size))


def oracle(index, values, x, bias, grad, relu):
    """Forward and gradients of the dense convolution, in float64, by autograd."""
    values, x, bias, grad = (t.double() for t in (values, x, bias, grad))
    weight = index.dense(values).requires_grad_()
    x, bias = x.clone().requires_grad_(), bias.clone().requires_grad_()
    y = F.conv2d(x, weight, bias, stride=index.stride, padding=index.padding, groups=index.groups)
    y = y.relu() if relu else y
    y.backward(grad)
    return y.detach(), x.grad, weight.grad.flatten()[index.flat()], bias.grad


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (2, 2), (1, 3)]),
    stride=st.sampled_from([1, 2]),
    padding=st.integers(0, 3),
    grouping=st.sampled_from([(1, 3, 5), (2, 2, 3), (6, 1, 1), (4, 1, 2)]),  # groups, in and out channels of each
    size=st.tuples(st.integers(1, 13), st.integers(1, 18)),
    batch=st.sampled_from([1, 13, 16, 17, 33]),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    dtype=st.sampled_from([F32, F64, BF16]),
    wide=st.booleans(),
    relu=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_plain_tensors_agree_with_the_dense_convolution(
    any_build, kernel, stride, padding, grouping, size, batch, density, dtype, wide, relu, channels_last, seed
):
    assume(all(n + 2 * padding >= k for n, k in zip(size, kernel, strict=True)))
    groups, group_in, group_out = grouping
    shape = (groups * group_out, group_in, *kernel)
    how = {"stride": stride, "padding": padding, "groups": groups}
    index, values, x, bias, grad = problem(shape, batch, size, density=density, seed=seed, dtype=dtype, **how)
    y, gx, gv, gb = oracle(index, values, x, bias, grad, relu)
    close = TOLERANCE[dtype]
    if wide and dtype == BF16:  # kept in float32, as under autocast: rounded as they go in, their gradients are not
        values, bias = values.float() * (1 + 2.0**-11), bias.float()
    if channels_last:
        x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    assert_close(conv_forward(index, values, x, bias=bias, relu=relu).double(), y, **close)
    output = y.to(dtype) if relu else None
    back = conv_backward(index, values, x, grad, output=output, need_bias=True)
    for found, exact, like in zip(back, (gx, gv, gb), (x, values, bias), strict=True):
        assert found.dtype == like.dtype
        assert_close(found.double(), exact, **TOLERANCE[found.dtype])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("halo", [0, 1, 3])
def test_planes_agree_whatever_their_halo_and_keep_it_zero(any_build, stride, halo):
    index, values, x, bias, grad = problem((6, 4, 3, 3), 19, (9, 10), stride=stride, padding=1)
    y, gx, gv, gb = oracle(index, values, x, bias, grad, True)
    for out_halo in (0, 2):
        found = conv_planes_forward(index, values, to_planes(x, halo=halo), bias=bias, relu=True, halo=out_halo)
        assert found.shape == y.shape
        assert_close(from_planes(found), y, **TOLERANCE[torch.float64])
        assert torch.equal(with_halo(with_halo(found, 0), out_halo).data, found.data)
        output, planes = to_planes(y, halo=1), to_planes(grad, halo=out_halo)
        back = conv_planes_backward(index, values, to_planes(x, halo=halo), planes, output=output, need_bias=True)
        assert back.x.halo == halo
        assert_close(from_planes(back.x), gx, **TOLERANCE[torch.float64])
        assert torch.equal(with_halo(with_halo(back.x, 0), halo).data, back.x.data)
        more = conv_planes_backward(index, values, to_planes(x, halo=halo), planes, output=output, onto=back.x.data)
        assert_close(from_planes(more.x), 2 * gx, **TOLERANCE[torch.float64])
        assert torch.equal(with_halo(with_halo(more.x, 0), halo).data, more.x.data)
        assert_close(back.values, gv, **TOLERANCE[torch.float64])
        assert_close(back.bias, gb, **TOLERANCE[torch.float64])
    assert conv_planes_backward(index, values, to_planes(x), to_planes(grad), need_x=False).x is None


@pytest.mark.parametrize(
    ("stride", "size", "kernel"), [(1, (9, 19), 3), (2, (9, 19), 3), (1, (4, 5), 3), (1, (6, 9), 1)]
)
@pytest.mark.parametrize("dtype", [F64, BF16])
def test_channels_too_many_for_the_first_cache_are_taken_in_blocks(any_build, stride, size, kernel, dtype):
    shape = (21, 70 if kernel == 3 else 150, kernel, kernel)
    how = {"stride": stride, "padding": kernel // 2}
    index, values, x, bias, grad = problem(shape, 17, size, density=0.6, dtype=dtype, **how)
    inner = (
        torch.arange(index.nnz) % 7 > 0
    )  # what is left out: whole rows at both ends, and a block of channels in some
    flat, columns = index.flat(), index.shape[1]
    inner &= (flat // columns > 0) & (flat // columns < 20)
    inner &= (flat // columns % 3 > 0) | (flat % columns > columns // 2)
    index, values, close = ConvIndex(shape, flat[inner], **how), values[inner], TOLERANCE[dtype]
    y, gx, gv, gb = oracle(index, values, x, bias, grad, True)
    assert_close(conv_forward(index, values, x, bias=bias, relu=True).double(), y, **close)
    back = conv_backward(index, values, x, grad, output=y.to(dtype), need_bias=True)
    for found, exact in zip(back, (gx, gv, gb), strict=True):
        assert_close(found.double(), exact, **close)
    added = torch.randn_like(x)
    more = conv_planes_backward(index, values, to_planes(x), to_planes(grad * (y > 0)), onto=to_planes(added).data)
    assert_close(from_planes(more.x).double(), gx + added, **close)


@pytest.mark.parametrize("size", [2**11, 2**13, 2**15, 2**20])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [F64, BF16])
def test_the_size_of_the_first_cache_changes_rounding_only(build, monkeypatch, size, stride, dtype):
    monkeypatch.setattr("wirings.kernels.conv.first_level_cache", lambda: size)
    how = {"stride": stride, "padding": 1, "dtype": dtype}
    for density in (0.1, 0.4, 0.65):
        index, values, x, bias, grad = problem((13, 20, 3, 3), 17, (7, 9), density=density, **how)
        y, gx, gv, gb = oracle(index, values, x, bias, grad, False)
        results = []
        for count in (1, 3):
            monkeypatch.setattr(native, "threads", lambda work, count=count: count)
            back = conv_backward(index, values, x, grad, need_bias=True)
            results.append([conv_forward(index, values, x, bias=bias), *back])
        for found, again, exact in zip(*results, (y, gx, gv, gb), strict=True):
            assert torch.equal(found, again)
            assert_close(found.double(), exact, **TOLERANCE[dtype])


@pytest.mark.parametrize("size", [2**12, 2**15, 2**20])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [F64, BF16])
def test_few_connections_are_taken_in_blocks_of_the_second_cache(build, monkeypatch, size, stride, dtype):
    monkeypatch.setattr("wirings.kernels.conv.first_level_cache", lambda: 2**9)
    monkeypatch.setattr("wirings.kernels.conv.second_level_cache", lambda: size)
    how = {"stride": stride, "padding": 1, "dtype": dtype}
    for density in (0.0, 0.01, 0.1):
        index, values, x, bias, grad = problem((13, 20, 3, 3), 17, (7, 9), density=density, **how)
        exact = oracle(index, values, x, bias, grad, False)[2]
        results = []
        for count in (1, 3):
            monkeypatch.setattr(native, "threads", lambda work, count=count: count)
            results.append(conv_backward(index, values, x, grad, need_x=False).values)
        assert torch.equal(*results)
        assert_close(results[0].double(), exact, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_layouts_convert_there_and_back(any_build, dtype):
    for batch, channels, size in ((1, 1, (1, 1)), (13, 3, (5, 7)), (33, 18, (4, 16)), (50, 33, (2, 17))):
        x = torch.randn(batch, channels, *size).to(dtype)
        for image in (
            x,
            x.contiguous(memory_format=torch.channels_last),
            x.transpose(2, 3).contiguous().transpose(2, 3),
        ):
            planes = to_planes(image, halo=2)
            assert planes.shape == x.shape
            assert torch.equal(from_planes(planes), x)
            assert torch.equal(from_planes(planes, channels_last=True), x)
            lanes = planes.data[-1, ..., (batch - 1) % planes.data.shape[4] + 1 :]
            assert lanes.numel() == 0 or not lanes.any()


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_the_number_of_threads_changes_no_bit(build, monkeypatch, dtype):
    for how in ({"stride": 1, "padding": 1}, {"stride": 2, "padding": 1}, {"stride": 1, "padding": 1, "groups": 2}):
        index, values, x, bias, grad = problem((6, 4, 3, 3), 37, (9, 10), dtype=dtype, **how)
        results = []
        for count in (1, 2, 3):
            monkeypatch.setattr(native, "threads", lambda work, count=count: count)
            y = conv_forward(index, values, x, bias=bias, relu=True)
            results.append([y, *conv_backward(index, values, x, grad, output=y, need_bias=True)])
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_an_expanded_gradient_is_read_as_it_is_meant(any_build):
    index, values, x, _, grad = problem((4, 3, 3, 3), 5, (6, 6), padding=1)
    found = conv_backward(index, values, x, torch.ones((), dtype=x.dtype).expand_as(grad))
    wanted = conv_backward(index, values, x, torch.ones_like(grad))
    assert torch.equal(found.x, wanted.x)
    assert torch.equal(found.values, wanted.values)


def test_an_empty_convolution_gives_its_bias(any_build):
    index = ConvIndex((2, 3, 3, 3), torch.empty(0, dtype=torch.int64), padding=1)
    none, x = torch.empty(0), torch.randn(3, 3, 4, 4)
    y = conv_forward(index, none, x, bias=torch.tensor([1.0, -1.0]))
    assert torch.equal(y, torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(3, 2, 4, 4))
    assert not conv_backward(index, none, x, y).x.any()
    assert conv_forward(index, none, x[:0]).shape == (0, 2, 4, 4)


def test_what_does_not_fit_is_refused(any_build):
    index, values, x, bias, grad = problem((4, 3, 3, 3), 5, (6, 6))
    with pytest.raises(ValueError, match=r"`x` must have shape \(batch, 3, height, width\). Got \(5, 2, 6, 6\)"):
        conv_forward(index, values, x[:, :2])
    with pytest.raises(ValueError, match="images of 2 x 6 are too small for a kernel of"):
        conv_forward(index, values, x[:, :, :2])
    with pytest.raises(ValueError, match=r"`grad` must have shape \(5, 4, 4, 4\)"):
        conv_backward(index, values, x, grad[:, :, 1:])
    with pytest.raises(ValueError, match="`values` must have shape"):
        conv_forward(index, values[1:], x)
    with pytest.raises(ValueError, match="`onto` must have shape"):
        conv_planes_backward(index, values, to_planes(x), to_planes(grad), onto=to_planes(x, halo=1).data)
    with pytest.raises(TypeError, match=r"`bias` must be torch.float64 on cpu"):
        conv_forward(index, values, x, bias=bias.float())
    with pytest.raises(ValueError, match=r"5 samples need 1 panels of 16\. Got 2"):
        Planes(torch.zeros(2, 3, 4, 4, 16), 5, 0)
    with pytest.raises(ValueError, match="`data` of `Planes` must be contiguous"):
        Planes(torch.zeros(1, 3, 4, 4, 8), 5, 0)


def test_the_halo_a_gradient_needs():
    nothing = torch.empty(0, dtype=torch.int64)
    need = lambda kernel, **how: ConvIndex((1, 1, kernel, kernel), nothing, **how).gradient_halo(8, 8)
    assert need(1) == 0
    assert need(3, padding=1) == 1
    assert need(3) == 2
    assert need(7, padding=3) == 3
    assert need(1, stride=2) == 0
    assert need(3, stride=2, padding=1) == 1
