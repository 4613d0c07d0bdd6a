"""Loops of every kind: closures, accumulation, skipped batches, clipping, mixed precision, compiled models, mishaps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from attach_nets import (
    DEVICES,
    METHODS,
    assert_same,
    backward,
    batch,
    check_zero_outside,
    memories,
    net,
    rigl,
    set_,
    sgd,
    static,
    train,
    trained,
)
from torch import Generator, nn
from torch.nn.functional import cross_entropy

import wirings as wr
from wirings.core.errors import WiringError
from wirings.methods.method import Method, Sites, Supports

ALL = sorted(METHODS)


# ---------------------------------------------------------------------- what RigL's update does


def test_rigl_regrows_what_it_just_dropped_with_value_and_memory() -> None:
    model = nn.Linear(4, 1, bias=False).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparse = wr.attach(model, optimizer, rigl(every=2, density=0.5, share=0.5))
    wired = sparse.wiring["weight"].index.tolist()
    model.weight.data[0, wired] = torch.tensor([0.1, 5.0], dtype=torch.float64)
    weakest = wired[0]

    def step(slope: float) -> None:  # the gradient is strongest at the weakest connection
        optimizer.zero_grad()
        (model.weight * torch.tensor([[slope if i == weakest else 0.01 for i in range(4)]])).sum().backward()
        optimizer.step()

    step(0.5)
    value, memory = model.weight.detach().clone(), optimizer.state[model.weight]["momentum_buffer"].clone()
    assert memory[0, weakest] == 0.5
    step(7.0)
    assert sparse.wiring["weight"].index.tolist() == wired
    assert torch.equal(model.weight, value)
    assert torch.equal(optimizer.state[model.weight]["momentum_buffer"], memory)


def test_rigl_grows_at_the_strongest_gradient_from_zero() -> None:
    model = nn.Linear(4, 1, bias=False).double()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, rigl(every=1, density=0.5, share=0.5))
    wired = sparse.wiring["weight"].index.tolist()
    model.weight.data[0, wired] = torch.tensor([0.1, 5.0], dtype=torch.float64)
    free = [i for i in range(4) if i not in wired]
    slopes = torch.zeros(1, 4).double()
    slopes[0, free] = torch.tensor([1.0, -2.0], dtype=torch.float64)
    (model.weight * slopes).sum().backward()
    optimizer.step()
    assert sparse.wiring["weight"].index.tolist() == sorted([wired[1], free[1]])
    assert model.weight[0, wired[1]] == 5.0
    assert model.weight[0, free[1]] == 0.0


# ---------------------------------------------------------------------- closures, accumulation, skipped batches


@pytest.mark.parametrize("method", ALL)
def test_a_closure_trains_as_the_plain_loop(method: str) -> None:
    model, twin = net(), net()
    optimizer, other = sgd(model), sgd(twin)
    sparse, beside = (wr.attach(m, o, METHODS[method](), steps=10) for m, o in ((model, optimizer), (twin, other)))
    for step in train(twin, other, 7):
        if step % 2:
            optimizer.step(lambda: backward(model, optimizer, step))  # noqa: B023
        else:
            optimizer.step(closure=lambda: backward(model, optimizer, step))  # noqa: B023
    assert_same(model, twin)
    assert sparse.wiring == beside.wiring
    assert sparse.step == 7


@pytest.mark.parametrize("method", ALL)
def test_accumulated_halves_are_one_batch(method: str) -> None:
    model, twin = net(), net()
    for m in (model, twin):
        m.norm.eval()
    optimizer, other = sgd(model), sgd(twin)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    beside = wr.attach(twin, other, METHODS[method](), steps=10)
    for step in train(twin, other, 7):
        x, y = batch(step)
        optimizer.zero_grad()
        for half in (slice(0, 3), slice(3, 6)):
            (cross_entropy(model(x[half]), y[half]) / 2).backward()
        optimizer.step()
    assert sparse.wiring == beside.wiring
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("method", ["rigl", "snfs", "dnw", "top-kast"])
def test_a_batch_that_is_skipped_leaves_no_trace(method: str, to_none: bool) -> None:
    model, twin = net(), net()
    for m in (model, twin):
        m.norm.eval()
    optimizer, other = sgd(model), sgd(twin)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    wr.attach(twin, other, METHODS[method](), steps=10)
    for step in train(twin, other, 6):
        backward(model, optimizer, 50 + step)
        optimizer.zero_grad(set_to_none=to_none)
        x, y = batch(step)
        cross_entropy(model(x), y).backward()
        optimizer.step()
    assert sparse.step == 6
    assert_same(model, twin)


def test_gradients_that_the_user_never_clears_stay_within_the_wiring() -> None:
    model = net()
    optimizer = sgd(model, lr=0.01)
    sparse = wr.attach(model, optimizer, set_(every=1))
    for step in range(1, 6):
        x, y = batch(step)
        cross_entropy(model(x), y).backward()
        optimizer.step()
        check_zero_outside(sparse)
        for name, site in sparse.sites.items():
            assert not site.param.grad[~sparse.wiring[name].mask].any()
            assert not memories(optimizer, site.param)["momentum_buffer"][~sparse.wiring[name].mask].any()


def test_a_weight_without_a_gradient_is_left_alone() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, rigl(every=2))
    before = model.fc2.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model.fc1(model.norm(model.conv(batch()[0])).flatten(1)).sum().backward()
        optimizer.step()
    check_zero_outside(sparse)
    kept = sparse.wiring["fc2.weight"].mask & (before != 0)
    assert torch.equal(model.fc2.weight[kept], before[kept])


# ---------------------------------------------------------------------- gradients that a user can see


def test_clipping_sees_what_the_optimizer_uses() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, rigl(every=3))
    for step in range(1, 7):
        backward(model, optimizer, step)
        whole = step % 3 == 0  # an update ranks whole gradients and moves nothing, so clipping changes nothing
        outside = [site.param.grad[~site.support.backward.mask] for site in sparse.sites.values()]
        assert any(bool(g.any()) for g in outside) == whole
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        seen = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        assert norm > 0.01
        assert seen == pytest.approx(0.01, rel=1e-4)
        optimizer.step()
        for site in sparse.sites.values():
            assert not site.param.grad[~site.support.backward.mask].any()


def test_a_gradient_that_is_differentiated_again_stays_differentiable() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, static())
    x, y = batch()
    weight = model.fc1.weight
    (grad,) = torch.autograd.grad(cross_entropy(model(x), y), [weight], create_graph=True)
    assert not grad[~sparse.wiring["fc1.weight"].mask].any()
    (second,) = torch.autograd.grad(grad.square().sum(), [weight])
    assert second.any()
    assert not second[~sparse.wiring["fc1.weight"].mask].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_gradient_outside_the_wiring_never_reaches_the_weights(bad: float) -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, static())
    weight, mask = model.fc1.weight, sparse.wiring["fc1.weight"].mask
    for _ in range(3):
        optimizer.zero_grad()
        (weight * torch.where(mask, 1.0, bad)).sum().backward()
        optimizer.step()
    check_zero_outside(sparse)
    assert weight.isfinite().all()
    assert optimizer.state[weight]["momentum_buffer"].isfinite().all()


# ---------------------------------------------------------------------- mixed precision


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("method", ["static", "rigl", "snfs", "dnw", "top-kast"])
def test_a_scaled_loss_trains_as_an_unscaled_one(method: str, fused: bool, device: str) -> None:
    model, twin = net(device=device, dtype=torch.float32), net(device=device, dtype=torch.float32)
    optimizer, other = (torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, fused=fused) for m in (model, twin))
    sparse, beside = (wr.attach(m, o, METHODS[method](), steps=10) for m, o in ((model, optimizer), (twin, other)))
    scaler = torch.amp.GradScaler(device, init_scale=1024.0)  # a power of two: scaling is exact
    for step in train(twin, other, 7):
        optimizer.zero_grad()
        x, y = batch(step, device=device, dtype=torch.float32)
        scaler.scale(cross_entropy(model(x), y)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert sparse.wiring == beside.wiring
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("method", ["static", "rigl", "snfs", "dnw", "top-kast", "edge-popup"])
def test_a_step_that_finds_inf_changes_and_counts_nothing(method: str, fused: bool, unscale: bool, device: str) -> None:
    model = net(device=device, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    trained(model, optimizer, 3)
    scaler = torch.amp.GradScaler(device, init_scale=1024.0)
    before, wiring = copy.deepcopy(model), sparse.wiring
    memory = {n: {k: t.clone() for k, t in memories(optimizer, s.param).items()} for n, s in sparse.sites.items()}
    for round_ in range(2):
        optimizer.zero_grad()
        x, y = batch(4, device=device, dtype=torch.float32)
        scaler.scale(cross_entropy(model(x), y)).backward()
        if round_ == 0:
            model.fc1.bias.grad[0] = float("inf")
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if round_ == 0:
            assert sparse.step == 3
            for p, q in zip(model.parameters(), before.parameters(), strict=True):
                assert torch.equal(p, q)
            assert sparse.wiring == wiring
            for name, site in sparse.sites.items():
                for key, tensor in memories(optimizer, site.param).items():
                    assert torch.equal(tensor, memory[name][key])
    assert sparse.step == 4
    check_zero_outside(sparse)
    assert (sparse.wiring != wiring) == (method != "static")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_weights(dtype: torch.dtype, device: str) -> None:
    model = net(device=device, dtype=torch.float32)
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, rigl())
    for step in range(1, 5):
        optimizer.zero_grad()
        x, y = batch(step, device=device, dtype=torch.float32)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        check_zero_outside(sparse)
    half = nn.Linear(6, 5, device=device, dtype=dtype)
    optimizer = sgd(half)
    sparse = wr.attach(half, optimizer, rigl())
    for _ in range(4):
        optimizer.zero_grad()
        half(torch.ones(3, 6, device=device, dtype=dtype)).square().mean().backward()
        optimizer.step()
        check_zero_outside(sparse)
    assert sparse.wiring.nnz == 9


# ---------------------------------------------------------------------- compiled models


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("method", ["rigl", "dnw"])
def test_a_compiled_model_trains_as_the_plain_one_without_compiling_again(method: str, backend: str) -> None:
    _compiled(method, backend, atol=0.0)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own modules
def test_a_model_compiled_by_inductor_trains_as_the_plain_one() -> None:
    _compiled("rigl", "inductor", atol=1e-9)


def _compiled(method: str, backend: str, atol: float) -> None:
    torch._dynamo.reset()
    model, twin = net(), net()
    optimizer, other = sgd(model), sgd(twin)
    fast = torch.compile(model, backend=backend)
    sparse = wr.attach(fast, optimizer, METHODS[method](), steps=10)
    beside = wr.attach(twin, other, METHODS[method](), steps=10)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in train(twin, other, range(1, 8)):
            backward(fast, optimizer, sparse.step + 1)
            optimizer.step()
    assert list(sparse.wiring) == ["conv.weight", "fc1.weight", "fc2.weight"]
    assert sparse.wiring == beside.wiring
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=atol)


# ---------------------------------------------------------------------- mishaps


@dataclass(frozen=True, kw_only=True)
class Scripted(Method):
    """Answers what a test tells it to."""

    answer: Any = None

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return static().start(sites, rng)

    def due(self, step: int) -> bool:
        return step == 2

    def hears(self, step: int) -> bool:
        return step == 2

    def replaces_step(self) -> bool:
        return True

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        return self.answer(sites)


def _raises(_: Sites) -> Supports:
    raise ArithmeticError("on purpose")


def _without_one(sites: Sites) -> Supports:
    return {name: site.support for name, site in list(sites.items())[1:]}


def _of_another_shape(sites: Sites) -> Supports:
    other = wr.Support.both(wr.Topology.full((2, 2)))
    return {name: other if name == "fc2.weight" else site.support for name, site in sites.items()}


def _of_another_kind(sites: Sites) -> Mapping[str, Any]:
    return {name: site.support.forward for name, site in sites.items()}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (_raises, "on purpose"),
        (_without_one, "must answer with a support for each of conv.weight, fc1.weight, fc2.weight and no other"),
        (_of_another_shape, r"answered shape \(2, 2\) for `fc2.weight`, which has \(3, 8\)"),
        (_of_another_kind, "must answer with a Support. Got Topology"),
    ],
)
def test_an_update_that_fails_leaves_the_sparse_network_and_the_gradients(answer: Any, sentence: str) -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, Scripted(answer=answer))
    trained(model, optimizer, 1)
    wiring = sparse.wiring
    backward(model, optimizer, 2)
    grads = [p.grad for p in model.parameters()]
    with pytest.raises((ArithmeticError, WiringError), match=sentence):
        optimizer.step()
    assert sparse.wiring == wiring
    check_zero_outside(sparse)
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    trained(model, optimizer, range(3, 5))
    assert sparse.step == 4
    check_zero_outside(sparse)


@pytest.mark.parametrize("method", ["static", "dnw", "edge-popup", "rigl"])
@pytest.mark.parametrize("kind", ["sgd", "lbfgs"])
def test_a_closure_that_fails_leaves_the_sparse_network_and_counts_nothing(method: str, kind: str) -> None:
    model = net()
    optimizer = sgd(model) if kind == "sgd" else torch.optim.LBFGS(model.parameters(), lr=0.1)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    calls = 0

    def closure(patience: int) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > patience:
            raise ArithmeticError("on purpose")
        return backward(model, optimizer, sparse.step + 1)

    with pytest.raises(ArithmeticError):
        optimizer.step(lambda: closure(0 if kind == "sgd" else 2))
    assert sparse.step == 0
    check_zero_outside(sparse)
    calls = 0
    optimizer.state.clear()  # LBFGS itself cannot go on from half a step
    optimizer.step(lambda: closure(1000))
    assert sparse.step == 1
    check_zero_outside(sparse)


@pytest.mark.parametrize("method", ["rigl", "dnw", "edge-popup", "top-kast"])
def test_a_step_that_failed_inside_the_optimizer_is_undone_at_the_next(method: str) -> None:
    model, twin = net(), net()
    for m in (model, twin):
        m.norm.eval()
    optimizer, other = sgd(model), sgd(twin)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    beside = wr.attach(twin, other, METHODS[method](), steps=10)
    fails = True

    def breaks(*_: object) -> None:
        if fails:
            raise MemoryError("on purpose")

    optimizer.register_step_pre_hook(breaks)  # after ours, before anything moves
    for step in range(1, 7):
        fails = True
        backward(model, optimizer, step)
        grads = [p.grad for p in model.parameters()]
        with pytest.raises(MemoryError):
            optimizer.step()
        fails = False
        if method == "rigl":  # what it hears it hears anew
            backward(model, optimizer, step)
            grads = [p.grad for p in model.parameters()]
        optimizer.step()
        assert sparse.step == step
        assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
        backward(twin, other, step)
        other.step()
    assert_same(model, twin)
    assert sparse.wiring == beside.wiring


def test_nan_weights_are_refused_at_the_update_in_one_sentence() -> None:
    model = net()
    optimizer = sgd(model)
    wr.attach(model, optimizer, wr.DNW(density=0.3))
    with torch.no_grad():
        model.fc1.weight.fill_(float("nan"))
    backward(model, optimizer, 1)
    with pytest.raises(ValueError, match="cannot rank NaN"):
        optimizer.step()
