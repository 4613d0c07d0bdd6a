"""bfloat16 in, float32 sums, one rounding: against float64 on the same rounded operands."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_linear import in_panels, oracle, problem

from wirings.kernels import (
    Interleaved,
    SparseIndex,
    linear_backward,
    linear_forward,
    native,
    pack,
    panels_backward,
    panels_forward,
    reference,
    sddmm,
)

BF16 = torch.bfloat16
HALF_ULP = 2.0**-8  # of a number rounded to bfloat16, at most, as a share of it


def assert_rounded_once(found, exact, size, terms, rounding=HALF_ULP):
    """As exact as one rounding of a float32 sum of so many terms, ``size`` the sum of their magnitudes, can be."""
    allowed = rounding * exact.abs() + (terms + 2) * 2.0**-23 * size
    assert found.shape == exact.shape
    assert bool(((found.double() - exact).abs() <= allowed).all())


shapes = {
    "rows": st.integers(1, 70),
    "columns": st.integers(1, 70),
    "batch": st.sampled_from([1, 2, 3, 13, 16, 17, 33, 129]),
    "density": st.sampled_from([0.0, 0.03, 0.3, 1.0]),
    "seed": st.integers(0, 99),
    "relu": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(wide=st.booleans(), **shapes)
def test_plain_tensors_are_rounded_once(any_build, rows, columns, batch, density, seed, relu, wide):
    index, values, x, bias, grad = problem(rows, columns, batch, density, seed, BF16)
    exact = oracle(index, values, x, bias, grad, relu)
    sizes = oracle(index, values.abs(), x.abs(), bias.abs(), grad.abs(), False)
    if wide:  # values kept in float32, as under autocast: rounded as they go in, their gradients are not
        values, bias = values.float() * (1 + 2.0**-11), bias.float()
    found = linear_forward(index, values, x, bias=bias, relu=relu)
    assert found.dtype == BF16
    assert_rounded_once(found, exact[0], sizes[0], columns + 1)
    output = exact[0].to(BF16) if relu else None
    for need_x in (True, False):
        back = linear_backward(index, values, x, grad, output=output, need_x=need_x, need_bias=True)
        assert back.values.dtype == back.bias.dtype == values.dtype
        rounding = 0.0 if wide else HALF_ULP
        assert_rounded_once(back.values, exact[2], sizes[2], batch, rounding)
        assert_rounded_once(back.bias, exact[3], sizes[3], batch, rounding)
        if need_x:
            assert back.x.dtype == BF16
            assert_rounded_once(back.x, exact[1], sizes[1], rows)


@settings(max_examples=40, deadline=None)
@given(width=st.sampled_from([16, 32, 64, 128]), **shapes)
def test_panels_are_rounded_once(any_build, rows, columns, batch, density, seed, relu, width):
    index, values, x, bias, grad = problem(rows, columns, batch, density, seed, BF16)
    exact = oracle(index, values, x, bias, grad, relu)
    sizes = oracle(index, values.abs(), x.abs(), bias.abs(), grad.abs(), False)
    found, whole, first = in_panels(index, values, x, bias, grad, relu=relu, width=width, output=exact[0].to(BF16))
    assert_rounded_once(found, exact[0], sizes[0], columns + 1)
    assert_rounded_once(whole.x, exact[1], sizes[1], rows)
    for back in (whole, first):
        assert_rounded_once(back.values, exact[2], sizes[2], batch)
        assert_rounded_once(back.bias, exact[3], sizes[3], batch)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    batch=st.integers(1, 3),
    density=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_interleaved_rows_are_rounded_once(any_build, rows, columns, batch, density):
    index, values, x, bias, grad = problem(rows, columns, batch, density, dtype=BF16)
    exact = oracle(index, values, x, bias, grad, True)[0]
    size = oracle(index, values.abs(), x.abs(), bias.abs(), grad, False)[0]
    found = Interleaved(index, values).forward(x, bias=bias, relu=True)
    assert found.dtype == BF16
    assert_rounded_once(found, exact, size, columns + 1)


def test_single_products_are_rounded_to_even(build):
    # bfloat16 has eight bits, their products sixteen: every second one of these lies half-way between two neighbours
    few = torch.arange(0x3F80, 0x4000, dtype=torch.int16).view(BF16)
    index = SparseIndex((128, 128), torch.arange(128) * 129)
    for batch in (1, 3, 20, 40):
        x = few.roll(5).repeat(batch, 1)
        wanted = (few.double() * x.double()).to(torch.float32).to(BF16)
        assert torch.equal(linear_forward(index, few, x), wanted)
        assert torch.equal(linear_forward(index, -few, x), -wanted)
        assert torch.equal(linear_backward(index, few, x, x).x, wanted)


def test_sums_over_many_samples_are_not_rounded_on_the_way(build):
    # 1 + 2^-9 + 2^-9 + ... : in bfloat16 nothing would ever be added to the 1
    index = SparseIndex((1, 1), torch.tensor([0]))
    grad = torch.full((513, 1), 2.0**-9, dtype=BF16)
    grad[0] = 1.0
    back = linear_backward(index, torch.ones(1, dtype=BF16), torch.ones(513, 1, dtype=BF16), grad, need_bias=True)
    assert back.values.tolist() == back.bias.tolist() == [2.0]


def test_infinities_and_nans_stay_with_their_connections(any_build):
    index = SparseIndex((2, 2), torch.tensor([0, 3]))
    ones = torch.ones(2, dtype=BF16)
    for batch in (1, 3, 40):
        x = torch.tensor([[1.0, float("inf")]], dtype=BF16).repeat(batch, 1)
        assert linear_forward(index, ones, x).tolist() == [[1.0, float("inf")]] * batch
        assert linear_backward(index, ones, x, x).x.tolist() == [[1.0, float("inf")]] * batch
        x[:, 0] = float("nan")
        found = linear_forward(index, ones, x, relu=True)
        assert found[:, 0].isnan().all()
        assert found[:, 1].isposinf().all()
    large = torch.full((3, 2), 3e38, dtype=BF16)
    assert linear_forward(index, 2 * ones, large).isposinf().all()


def test_the_number_of_threads_changes_no_bit(build, monkeypatch):
    index, values, x, bias, grad = problem(61, 83, 139, 0.2, dtype=BF16)
    results = []
    for count in (1, 2, 3):
        monkeypatch.setattr(native, "threads", lambda work, count=count: count)
        y = linear_forward(index, values, x, bias=bias, relu=True)
        back = linear_backward(index, values, x, grad, output=y, need_bias=True)
        panels = panels_forward(index, values, pack(x, 32), bias=bias)
        again = panels_backward(index, values, pack(x, 32), pack(grad, 32), output=panels, need_bias=True)
        first_layer = linear_backward(index, values, x, grad, need_x=False).values
        few = linear_forward(index, values, x[:2], bias=bias)
        results.append([y, *back, panels, *again, first_layer, few])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_strided_tensors_are_read_as_they_are_meant(any_build):
    index, values, x, _, grad = problem(7, 9, 13, 0.5, dtype=BF16)
    y = linear_forward(index, values, x)
    assert torch.equal(linear_forward(index, values.repeat_interleave(2)[::2], x.T.contiguous().T), y)
    expanded = torch.ones((), dtype=BF16).expand_as(y)
    wanted, found = (linear_backward(index, values, x, g) for g in (torch.ones_like(y), expanded))
    assert torch.equal(found.x, wanted.x)
    assert torch.equal(found.values, wanted.values)
    sampled = sddmm(index, grad, x)
    assert sampled.dtype == torch.float32  # what is to be ranked is not rounded
    exact = (grad.double().T @ x.double()).flatten()[index.flat()]
    torch.testing.assert_close(sampled.double(), exact, rtol=1e-5, atol=1e-5)


def test_nothing_in_nothing_out(any_build):
    index, values, x, _, grad = problem(4, 5, 0, 0.5, dtype=BF16)
    assert linear_forward(index, values, x).shape == (0, 4)
    back = linear_backward(index, values, x, grad, need_bias=True)
    assert [t.dtype for t in back] == [BF16] * 3
    assert not back.values.any()
    empty = SparseIndex((4, 5), torch.empty(0, dtype=torch.int64))
    none, bias = torch.empty(0, dtype=BF16), torch.arange(4).to(BF16)
    for batch in (1, 17):
        assert torch.equal(
            linear_forward(empty, none, torch.ones(batch, 5, dtype=BF16), bias=bias), bias.expand(batch, 4)
        )


def test_compiled_kernels_do_the_work(build, monkeypatch):
    def refuse(*_):
        raise AssertionError("the reference was asked")

    for name in ("spmm", "sddmm", "linear", "pack", "unpack"):
        monkeypatch.setattr(reference, name, refuse)
    index, values, x, bias, grad = problem(7, 9, 13, 0.5, dtype=BF16)
    linear_forward(index, values, x, bias=bias)
    linear_backward(index, values, x, grad)
    panels_backward(index, values, pack(x, 16), pack(grad, 16))


def test_other_mixtures_are_refused(any_build):
    index, values, x, _, _ = problem(4, 5, 3, 0.5, dtype=BF16)
    with pytest.raises(TypeError, match=r"`values` must be torch.bfloat16 on cpu, as its input is. Got torch.float16"):
        linear_forward(index, values.half(), x)
    with pytest.raises(TypeError, match=r"`values` must be torch.float32 on cpu, as its input is. Got torch.bfloat16"):
        linear_forward(index, values, x.float())
    with pytest.raises(TypeError, match=r"`grad` must be torch.bfloat16 on cpu"):
        linear_backward(index, values, x, torch.ones(3, 4))
