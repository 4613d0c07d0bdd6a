from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from wirings.kernels import from_planes, native, norm_backward, norm_forward, to_planes, with_halo

TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: {"rtol": 2.0**-8, "atol": 1e-4},  # computed in float32, rounded once
}


@settings(max_examples=40, deadline=None)
@given(
    batch=st.sampled_from([2, 13, 16, 80]),
    channels=st.integers(1, 5),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    halo=st.integers(0, 2),
    relu=st.booleans(),
    residual=st.booleans(),
    training=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    wide=st.booleans(),
    seed=st.integers(0, 99),
)
def test_planes_agree_with_batch_norm(
    any_build, batch, channels, size, halo, relu, residual, training, dtype, wide, seed
):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    x, added, grad = (draw(batch, channels, *size) for _ in range(3))
    x = x * 3 + 5  # far from zero: padding or halo in the statistics would show
    weight, bias, mean, variance = draw(channels), draw(channels), draw(channels), draw(channels).abs() + 0.5
    if wide and dtype == torch.bfloat16:  # under autocast
        weight, bias, mean, variance = (t.float() for t in (weight, bias, mean, variance))
    leaves = [t.double().requires_grad_() for t in (x, weight, bias, added)]
    y = F.batch_norm(leaves[0], mean.double(), variance.double(), leaves[1], leaves[2], training=training)
    y = y + leaves[3] if residual else y
    y = y.relu() if relu else y
    y.backward(grad.double())

    planes = to_planes(x, halo=halo)
    planes.data[-1, ..., (batch - 1) % planes.data.shape[4] + 1 :] = (
        7.0  # whatever stands in padding lanes must not matter
    )
    planes = with_halo(with_halo(planes, 0), halo)
    given = {} if training else {"mean": mean, "variance": variance}
    more = {"residual": to_planes(added)} if residual else {}
    found = norm_forward(planes, weight=weight, bias=bias, relu=relu, **given, **more)
    close = TOLERANCE[dtype]
    assert_close(from_planes(found.y).double(), y.detach(), **close)
    assert torch.equal(with_halo(with_halo(found.y, 0), halo).data, found.y.data)
    if training:
        exact = torch.var_mean(x.double(), (0, 2, 3), correction=0)
        assert_close(found.variance.double(), exact[0], **close)
        assert_close(found.mean.double(), exact[1], **close)

    told = batch == 13 or residual  # where nothing was added, what ReLU saw can be computed again
    output = to_planes(y.detach().to(dtype), halo=1) if relu and told else None
    back = norm_backward(
        planes,
        to_planes(grad),
        found.mean,
        found.variance,
        weight=weight,
        bias=bias,
        relu=relu,
        output=output,
        constant=not training,
        residual=residual,
    )
    # terms that may cancel: those of a channel whose few numbers are nearly equal are large
    spread = (found.variance.detach().double() + 1e-5).sqrt()
    scale = max(1.0, float(grad.abs().max()) * float((weight.detach().double().abs() / spread).max()))
    assert_close(from_planes(back.x).double() / scale, leaves[0].grad / scale, **close)
    scale = max(1.0, float(leaves[1].grad.abs().max()))
    assert_close(back.weight.double() / scale, leaves[1].grad / scale, **close)
    assert_close(back.bias.double(), leaves[2].grad, **close)
    for planes in (back.x, back.residual):
        if planes is not None:
            assert not planes.data[-1, ..., (batch - 1) % planes.data.shape[4] + 1 :].any()
            assert torch.equal(with_halo(with_halo(planes, 0), halo).data, planes.data)
    assert (back.residual is not None) == residual
    if residual:
        assert_close(from_planes(back.residual).double(), leaves[3].grad, **close)


def test_the_number_of_threads_changes_no_bit(build, monkeypatch):
    x, grad = to_planes(torch.randn(37, 7, 5, 6), halo=1), to_planes(torch.randn(37, 7, 5, 6), halo=1)
    results = []
    for count in (1, 2):
        monkeypatch.setattr(native, "threads", lambda work, count=count: count)
        found = norm_forward(x, relu=True)
        back = norm_backward(x, grad, found.mean, found.variance, output=found.y)
        results.append([found.y.data, found.mean, found.variance, back.x.data, back.weight, back.bias])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_what_does_not_fit_is_refused(any_build):
    x = to_planes(torch.randn(3, 2, 4, 4))
    with pytest.raises(ValueError, match="`mean` and `variance` of `norm_forward` go together"):
        norm_forward(x, mean=torch.zeros(2))
    with pytest.raises(
        ValueError, match=r"a tensor with one number a channel must be \(2,\) of torch.float32. Got \(3,\)"
    ):
        norm_forward(x, weight=torch.zeros(3))
    with pytest.raises(ValueError, match=r"planes must match: \(3, 2, 4, 4\)"):
        norm_forward(x, residual=to_planes(torch.randn(3, 2, 4, 3)))
    with pytest.raises(ValueError, match="statistics need more than one value a channel"):
        norm_forward(to_planes(torch.randn(1, 2, 1, 1)))
    with pytest.raises(ValueError, match="`output` of `norm_backward` is needed where ReLU followed a residual"):
        norm_backward(x, x, torch.zeros(2), torch.ones(2), relu=True, residual=True)
