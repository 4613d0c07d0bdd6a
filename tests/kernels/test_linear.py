from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from wirings.kernels import (
    Interleaved,
    SparseIndex,
    linear_backward,
    linear_forward,
    native,
    pack,
    panel_width,
    panels_backward,
    panels_forward,
    reference,
    sddmm,
    unpack,
)
from wirings.kernels.interleaved import pays

TOLERANCE = {torch.float64: {"rtol": 1e-11, "atol": 1e-11}, torch.float32: {"rtol": 2e-5, "atol": 2e-4}}


def problem(rows, columns, batch, density, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, columns, generator=generator) < density
    if density == 0 and rows * columns:
        mask.view(-1)[int(torch.randint(rows * columns, (1,), generator=generator))] = True  # one connection
    index = SparseIndex((rows, columns), mask.flatten().nonzero().flatten())
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    return index, draw(index.nnz), draw(batch, columns), draw(rows), draw(batch, rows)


def oracle(index, values, x, bias, grad, relu):
    """Forward and gradients of the dense layer, in float64, by autograd."""
    values, x, bias, grad = (t.double() for t in (values, x, bias, grad))
    weight = torch.zeros(index.shape[0] * index.shape[1], dtype=torch.float64)
    weight[index.flat()] = values
    weight = weight.view(index.shape).requires_grad_()
    x, bias = x.clone().requires_grad_(), bias.clone().requires_grad_()
    y = x @ weight.T + bias
    y = y.relu() if relu else y
    y.backward(grad)
    return y.detach(), x.grad, weight.grad.flatten()[index.flat()], bias.grad


def in_panels(index, values, x, bias, grad, *, relu, width, output):
    """Packed panels, told as plain tensors: forward, gradients with one for the input, and gradients without."""
    batch, panels = len(x), pack(x, width)
    assert panels.dtype == x.dtype
    assert torch.equal(unpack(panels, batch), x)
    found = unpack(panels_forward(index, values, panels, bias=bias, relu=relu), batch)
    packed = {"output": pack(output, width) if relu else None, "need_bias": True}
    whole = panels_backward(index, values, panels, pack(grad, width), **packed)
    first = panels_backward(index, values, panels, pack(grad, width), need_x=False, **packed)
    assert first.x is None
    return found, whole._replace(x=unpack(whole.x, batch)), first


shapes = {
    "rows": st.integers(1, 70),
    "columns": st.integers(1, 70),
    "batch": st.sampled_from([1, 2, 3, 13, 16, 17, 33, 129]),
    "density": st.sampled_from([0.0, 0.03, 0.3, 1.0]),
    "seed": st.integers(0, 99),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
    "relu": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(**shapes)
def test_plain_tensors_agree_with_the_dense_layer(any_build, rows, columns, batch, density, seed, dtype, relu):
    index, values, x, bias, grad = problem(rows, columns, batch, density, seed, dtype)
    y, gx, gv, gb = oracle(index, values, x, bias, grad, relu)
    close = TOLERANCE[dtype]
    found = linear_forward(index, values, x, bias=bias, relu=relu)
    assert_close(found.double(), y, **close)
    # the exact output decides ReLU's mask, so that a unit within rounding of zero cannot flip
    output = y.to(dtype) if relu else None
    for need_x in (True, False):
        back = linear_backward(index, values, x, grad, output=output, need_x=need_x, need_bias=True)
        assert_close(back.values.double(), gv, **close)
        assert_close(back.bias.double(), gb, **close)
        assert (back.x is not None) == need_x
        if need_x:
            assert_close(back.x.double(), gx, **close)


@settings(max_examples=40, deadline=None)
@given(width=st.sampled_from([16, 32, 64, 128]), **shapes)
def test_panels_agree_with_the_dense_layer(any_build, rows, columns, batch, density, seed, dtype, relu, width):
    index, values, x, bias, grad = problem(rows, columns, batch, density, seed, dtype)
    y, gx, gv, gb = oracle(index, values, x, bias, grad, relu)
    close = TOLERANCE[dtype]
    found, whole, first = in_panels(index, values, x, bias, grad, relu=relu, width=width, output=y.to(dtype))
    assert_close(found.double(), y, **close)
    assert_close(whole.x.double(), gx, **close)
    for back in (whole, first):
        assert_close(back.values.double(), gv, **close)
        assert_close(back.bias.double(), gb, **close)


def test_layers_with_more_than_65536_features(build):
    index, values, x, bias, grad = problem(3, 70_000, 17, 0.001, dtype=torch.float32)
    y, gx, gv, gb = oracle(index, values, x, bias, grad, False)
    assert index.column.dtype == torch.int32
    assert_close(linear_forward(index, values, x, bias=bias).double(), y, **TOLERANCE[torch.float32])
    back = linear_backward(index, values, x, grad, need_bias=True)
    for found, exact in zip(back, (gx, gv, gb), strict=True):
        assert_close(found.double(), exact, **TOLERANCE[torch.float32])
    turned, values, x, _, grad = problem(70_000, 3, 5, 0.001, dtype=torch.float32)
    y, gx, gv, _ = oracle(turned, values, x, torch.zeros(70_000), grad, False)
    assert turned.transposed.row.dtype == torch.int32
    assert_close(linear_forward(turned, values, x).double(), y, **TOLERANCE[torch.float32])
    assert_close(linear_backward(turned, values, x, grad).x.double(), gx, **TOLERANCE[torch.float32])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    batch=st.integers(1, 4),
    density=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_interleaved_rows_agree_with_the_dense_layer(any_build, rows, columns, batch, density):
    for dtype in (torch.float32, torch.float64):
        index, values, x, bias, grad = problem(rows, columns, batch, density, dtype=dtype)
        y = oracle(index, values, x, bias, grad, True)[0]
        beside = Interleaved(index, torch.zeros_like(values))
        beside.refresh(values)
        assert_close(beside.forward(x, bias=bias, relu=True).double(), y, **TOLERANCE[dtype])


@pytest.mark.parametrize("columns", [65536, 65537])
def test_the_last_feature_is_gathered_whatever_holds_its_number(any_build, columns):
    # 41 connections a row: whole vectors, halves, and single ones at the end
    last = torch.arange(columns - 41, columns)
    index = SparseIndex((19, columns), (torch.arange(19).view(-1, 1) * columns + last).flatten())
    for dtype in (torch.float32, torch.float64):
        values, x = torch.ones(index.nnz, dtype=dtype), torch.arange(2 * columns, dtype=dtype).view(2, columns)
        wanted = x[:, -41:].double().sum(1, keepdim=True).expand(2, 19)
        for batch in (1, 2):
            for y in (linear_forward(index, values, x[:batch]), Interleaved(index, values).forward(x[:batch])):
                assert_close(y.double(), wanted[:batch], rtol=1e-6, atol=0)


def test_rows_side_by_side_pay_where_a_row_has_few_bytes_of_values(build):
    index = SparseIndex((2, 300), torch.arange(400))  # 200 connections a row
    assert pays(index, 1)
    assert not pays(index, 1, itemsize=8)
    assert not pays(index, 3)
    assert not pays(SparseIndex((2, 300), torch.arange(600)), 1)


def test_sampled_products_agree_with_the_dense_product(any_build):
    index, _, b, _, a = problem(20, 30, 13, 0.2)
    assert_close(sddmm(index, a, b), (a.T @ b).flatten()[index.flat()], **TOLERANCE[torch.float64])


def test_packing_pads_with_zeros(any_build):
    panels = pack(torch.ones(5, 3), 16)
    assert panels.shape == (1, 3, 16)
    assert panels[0, 0].tolist() == [1.0] * 5 + [0.0] * 11


def test_the_number_of_threads_changes_no_bit(build, monkeypatch):
    index, values, x, bias, grad = problem(61, 83, 139, 0.2, dtype=torch.float32)
    results = []
    for count in (1, 2, 3):
        monkeypatch.setattr(native, "threads", lambda work, count=count: count)
        y = linear_forward(index, values, x, bias=bias, relu=True)
        back = linear_backward(index, values, x, grad, output=y, need_bias=True)
        panels = panels_forward(index, values, pack(x, 32), bias=bias)
        again = panels_backward(index, values, pack(x, 32), pack(grad, 32), output=panels, need_bias=True)
        first_layer = linear_backward(index, values, x, grad, need_x=False).values
        results.append([y, *back, panels, *again, first_layer])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_an_expanded_gradient_is_read_as_it_is_meant(any_build):
    index, values, x, _, _ = problem(7, 9, 13, 0.5)
    y = linear_forward(index, values, x)
    expanded = torch.ones((), dtype=torch.float64).expand_as(y)
    wanted = linear_backward(index, values, x, torch.ones_like(y))
    found = linear_backward(index, values, x, expanded)
    assert torch.equal(found.x, wanted.x)
    assert torch.equal(found.values, wanted.values)
    assert_close(linear_forward(index, values, x.T.contiguous().T), y)
    assert_close(linear_forward(index, values.repeat_interleave(2)[::2], x), y)


def test_infinities_stay_with_their_connections(any_build):
    # 1 .     feature 1 is infinite, and only row 1 sees it
    # . 1
    index = SparseIndex((2, 2), torch.tensor([0, 3]))
    for batch in (1, 3):
        x = torch.tensor([[1.0, float("inf")]]).repeat(batch, 1)
        assert linear_forward(index, torch.ones(2), x).tolist() == [[1.0, float("inf")]] * batch
        assert Interleaved(index, torch.ones(2)).forward(x).tolist() == [[1.0, float("inf")]] * batch
    x = torch.full((3, 2), float("nan"))
    assert linear_forward(index, torch.ones(2), x, relu=True).isnan().all()


def test_nothing_in_nothing_out(any_build):
    index, values, x, bias, grad = problem(4, 5, 0, 0.5)
    assert linear_forward(index, values, x).shape == (0, 4)
    back = linear_backward(index, values, x, grad, need_bias=True)
    assert back.x.shape == (0, 5)
    assert back.values.tolist() == [0.0] * index.nnz
    assert back.bias.tolist() == [0.0] * 4
    empty = SparseIndex((4, 5), torch.empty(0, dtype=torch.int64))
    none = torch.empty(0, dtype=torch.float64)
    assert torch.equal(
        linear_forward(empty, none, torch.ones(17, 5, dtype=torch.float64), bias=bias), bias.expand(17, 4)
    )
    x, grad = torch.ones(3, 5, dtype=torch.float64), torch.ones(3, 4, dtype=torch.float64)
    assert not linear_backward(empty, none, x, grad).x.any()


def test_what_does_not_fit_is_refused(any_build):
    index, values, x, bias, grad = problem(4, 5, 3, 0.5)
    with pytest.raises(ValueError, match=r"`x` must have shape \(batch, 5\). Got \(3, 4\)"):
        linear_forward(index, values, x[:, :4])
    with pytest.raises(ValueError, match=r"`values` must have shape \(\d+,\)"):
        linear_forward(index, values[1:], x)
    with pytest.raises(TypeError, match=r"`values` must be torch.float64 on cpu, as its input is. Got torch.float32"):
        linear_forward(index, values.float(), x)
    with pytest.raises(ValueError, match=r"`bias` must have shape \(4,\)"):
        linear_forward(index, values, x, bias=bias[:3])
    with pytest.raises(ValueError, match=r"`grad` must have shape \(3, 4\)"):
        linear_backward(index, values, x, grad[:2])
    with pytest.raises(TypeError, match="`x` must be floating point"):
        linear_forward(index, values, x.long())
    with pytest.raises(ValueError, match=r"the width of a panel must be 16, 32, 64 or 128\. Got 8"):
        pack(x, 8)
    with pytest.raises(ValueError, match=r"`batch` of `unpack` must fill 1 panels of 16\. Got 17"):
        unpack(pack(x, 16), 17)


def test_float16_runs_on_the_reference():
    index, values, x, _, _ = problem(4, 5, 3, 0.5, dtype=torch.float16)
    found = linear_forward(index, values, x)
    assert found.dtype == torch.float16
    assert_close(found.double(), linear_forward(index, values.double(), x.double()), rtol=3e-3, atol=3e-3)


def test_the_reference_works_in_pieces(monkeypatch):
    index, values, x, _, _ = problem(20, 30, 13, 0.4)
    whole = reference.spmm(index.row, index.column.long(), values, x, 20)
    monkeypatch.setattr(reference, "_PIECE", 40)
    assert_close(reference.spmm(index.row, index.column.long(), values, x, 20), whole)


def test_panels_fit_the_cache_and_waste_few_lanes(monkeypatch):
    from wirings.kernels import linear

    monkeypatch.setattr(linear, "second_level_cache", lambda: 2**20)
    assert [panel_width(n, 4, 128) for n in (100, 1024, 2048, 4096, 8192, 10**6)] == [128, 128, 64, 64, 32, 32]
    assert [panel_width(100, 4, batch) for batch in (1, 13, 17, 40, 100, 129, 130)] == [16, 16, 32, 64, 128, 64, 64]
    assert panel_width(1024, 8) == 64
