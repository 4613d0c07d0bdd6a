"""Max pooling in planes, against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from wirings.kernels import Planes, Window, from_planes, native, pool_backward, pool_forward, to_planes, with_halo

sides = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    kernel=sides,
    stride=sides,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    batch=st.sampled_from([1, 13, 16, 33, 50]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    halos=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    evil=st.sampled_from([None, math.nan, -math.inf]),
    seed=st.integers(0, 99),
)
def test_pools_are_torchs(any_build, kernel, stride, padding, batch, size, halos, dtype, evil, seed):
    assume(all(2 * p <= k for k, p in zip(kernel, padding, strict=True)))
    assume(all(n + 2 * p >= k for n, k, p in zip(size, kernel, padding, strict=True)))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-4, 5, (batch, 3, *size), generator=generator).to(dtype)  # many are equal: the first counts
    if evil is not None:
        x[0, 1, 0, -1] = x[-1, 2] = evil
    window, leaf = Window(kernel, stride, padding), x.double().requires_grad_()
    exact = F.max_pool2d(leaf, kernel, stride, padding)
    grad = torch.randint(-3, 4, exact.shape, generator=generator).to(dtype)  # whose sums are exact in any dtype
    exact.backward(grad.double())
    planes = to_planes(x, halo=halos[0])
    found = pool_forward(planes, window, halo=halos[1])
    torch.testing.assert_close(from_planes(found).double(), exact.detach(), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(with_halo(with_halo(found, 0), halos[1]).data.nan_to_num(7), found.data.nan_to_num(7))
    back = pool_backward(planes, to_planes(grad, halo=halos[1]), window)
    torch.testing.assert_close(from_planes(back).double(), leaf.grad, rtol=0, atol=0)
    assert back.halo == halos[0]
    assert torch.equal(with_halo(with_halo(back, 0), halos[0]).data, back.data)
    assert not back.data[-1, ..., (batch - 1) % back.data.shape[4] + 1 :].any()


def test_the_number_of_threads_changes_no_bit(build, monkeypatch):
    x, grad = (to_planes(torch.randn(37, 7, *size), halo=1) for size in ((9, 8), (5, 4)))
    window, results = Window((3, 3), (2, 2), (1, 1)), []
    for count in (1, 2, 3):
        monkeypatch.setattr(native, "threads", lambda work, count=count: count)
        results.append((pool_forward(x, window, halo=1).data, pool_backward(x, grad, window).data))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_what_does_not_fit_is_refused(any_build):
    x = to_planes(torch.randn(3, 2, 4, 4))
    with pytest.raises(ValueError, match="images of 4 x 4 cannot be pooled by Window"):
        pool_forward(x, Window((5, 2), (1, 1)))
    with pytest.raises(ValueError, match="cannot be pooled by Window"):
        pool_forward(x, Window((2, 2), (2, 2), (2, 0)))
    with pytest.raises(ValueError, match=r"`grad` must be \(3, 2, 2, 2\) of torch.float32. Got \(3, 2, 4, 4\)"):
        pool_backward(x, x, Window((2, 2), (2, 2)))
    with pytest.raises(ValueError, match="must be contiguous"):
        Planes(x.data.transpose(2, 3), 3, 0)
