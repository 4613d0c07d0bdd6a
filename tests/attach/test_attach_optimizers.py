"""Whatever the optimizer: zero outside the forward support, and memory follows the connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from attach_nets import DEVICES, METHODS, backward, check_zero_outside, memories, net, rigl, static, train, trained
from torch import nn
from torch.optim import Optimizer

import wirings as wr

o = torch.optim
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": lambda p: o.SGD(p, lr=0.1),
    "momentum": lambda p: o.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "maximize": lambda p: o.SGD(p, lr=0.01, momentum=0.9, maximize=True),
    "adam": lambda p: o.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: o.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw-tensor-lr": lambda p: o.AdamW(p, lr=torch.tensor(0.01), foreach=False),
    "adam-capturable": lambda p: o.Adam(p, lr=0.01, capturable=torch.cuda.is_available()),
    "nadam": lambda p: o.NAdam(p, lr=0.01),
    "radam": lambda p: o.RAdam(p, lr=0.01),
    "rmsprop": lambda p: o.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: o.Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    "adadelta": lambda p: o.Adadelta(p, lr=1.0),
    "adamax": lambda p: o.Adamax(p, lr=0.01),
    "asgd": lambda p: o.ASGD(p, lr=0.05, t0=2),
    "rprop": lambda p: o.Rprop(p, lr=0.01),
}
for _name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD", "Rprop"):
    OPTIMIZERS[f"{_name}-foreach"] = lambda p, make=getattr(o, _name): make(p, lr=0.01, foreach=True)
for _name in ("SGD", "Adam", "AdamW", "Adagrad"):
    OPTIMIZERS[f"{_name}-fused"] = lambda p, make=getattr(o, _name): make(p, lr=0.01, fused=True)


def start_of(optimizer: Optimizer, key: str) -> float:
    if key == "sum":
        return float(optimizer.defaults["initial_accumulator_value"])
    return 0.01 if key == "step_size" else 0.0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_memory_ends_where_a_connection_ends_and_begins_anew_where_one_begins(name: str, device: str) -> None:
    model = net(device=device)
    optimizer = OPTIMIZERS[name](model.parameters())
    sparse = wr.attach(model, optimizer, rigl(every=3))
    before = sparse.wiring
    for step in range(1, 8):
        backward(model, optimizer, step)
        held = {n: {k: t.clone() for k, t in memories(optimizer, s.param).items()} for n, s in sparse.sites.items()}
        optimizer.step()
        check_zero_outside(sparse)
        for key, site in sparse.sites.items():
            old, now = before[key].mask.to(device), sparse.wiring[key].mask.to(device)
            for kind, memory in memories(optimizer, site.param).items():
                start = start_of(optimizer, kind)
                assert torch.all((memory[now & ~old] - start).abs() == 0), f"{kind} of a newcomer"
                assert torch.all((memory[~now] - start).abs() <= 1e-8), f"{kind} outside"  # Adamax keeps its epsilon
                if step % 3 == 0:
                    assert torch.equal(memory[old & now], held[key][kind][old & now]), f"{kind} of a kept connection"
            if step % 3 == 0:
                assert bool((now & ~old).any())
        before = sparse.wiring


@pytest.mark.parametrize("optimizer_name", ["momentum", "adamw", "AdamW-fused", "rmsprop", "rprop"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_zero_outside_its_wiring_after_every_step(method: str, optimizer_name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    check_zero_outside(sparse)
    for _ in train(model, optimizer, 8):
        check_zero_outside(sparse)
        for site in sparse.sites.values():
            outside = ~site.support.backward.mask
            for kind, memory in memories(optimizer, site.param).items():
                assert torch.all(memory[outside] == start_of(optimizer, kind)), kind
    assert sparse.step == 8


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n not in ("sgd", "asgd", "ASGD-foreach")])
def test_a_static_wiring_trains_as_the_same_zeros_held_by_hand(name: str) -> None:
    model, twin = net(), net()
    optimizer, other = OPTIMIZERS[name](model.parameters()), OPTIMIZERS[name](twin.parameters())
    sparse = wr.attach(model, optimizer, static())
    masks = {n: t.mask for n, t in sparse.wiring.items()}
    held = {n: p for n, p in twin.named_parameters() if n in masks}
    for step in range(1, 5):
        for n, p in held.items():
            p.data.mul_(masks[n])
        backward(twin, other, step)
        for n, p in held.items():
            p.grad.mul_(masks[n])
        other.step()
        backward(model, optimizer, step)
        optimizer.step()
    for n, p in held.items():
        p.data.mul_(masks[n])
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_that_replaces_the_step_moves_nothing_and_gives_the_gradients_back(name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)
    sparse = wr.attach(model, optimizer, rigl(every=3))
    for _ in train(model, optimizer, 2):
        scheduler.step()
    lr = float(optimizer.param_groups[0]["lr"])
    backward(model, optimizer, 3)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    grads = {n: p.grad for n, p in model.named_parameters()}
    wiring = sparse.wiring
    optimizer.step()
    scheduler.step()
    assert sparse.wiring != wiring
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.9 * lr)
    for n, p in model.named_parameters():
        assert p.grad is grads[n], "the user's gradient tensors are hers again"
        if n in wiring:
            kept = (wiring[n] & sparse.wiring[n]).mask
            assert torch.equal(p[kept], before[n][kept])
            assert not p.grad[~sparse.wiring[n].mask].any()
        else:
            assert torch.equal(p, before[n]), f"{n} must not move"


def test_lbfgs_sees_the_sparse_network_at_every_closure() -> None:
    for line_search in (None, "strong_wolfe"):
        for method in ("static", "dnw", "rigl", "top-kast", "snfs"):
            model = net()
            optimizer = torch.optim.LBFGS(model.parameters(), lr=0.2, max_iter=4, line_search_fn=line_search)
            sparse = wr.attach(model, optimizer, METHODS[method](), steps=6)
            asked = 0

            def closure() -> torch.Tensor:
                nonlocal asked
                asked += 1
                check_zero_outside(sparse)  # noqa: B023
                return backward(model, optimizer)  # noqa: B023

            losses = [optimizer.step(closure).item() for _ in range(5)]
            check_zero_outside(sparse)
            assert sparse.step == 5
            assert asked > 5
            assert min(losses[1:]) < losses[0]


def test_the_running_mean_counts_a_step_once_however_often_a_closure_is_called() -> None:
    model, twin = net(), net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1e-9, max_iter=5)
    other = torch.optim.SGD(twin.parameters(), lr=1e-9)
    sparse, beside = wr.attach(model, optimizer, METHODS["snfs"]()), wr.attach(twin, other, METHODS["snfs"]())
    for step in (1, 2):
        optimizer.step(lambda: backward(model, optimizer, step))  # noqa: B023
        backward(twin, other, step)
        other.step()
    for name, site in sparse.sites.items():
        assert torch.allclose(site.averaged, beside.sites[name].averaged, atol=1e-6)


@pytest.mark.parametrize("name", ["Muon", "Adafactor"])
def test_optimizers_that_read_the_matrix_run_masked(name: str) -> None:
    if not hasattr(torch.optim, name):
        pytest.skip(f"this torch has no {name}")
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False)).double()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    sparse = wr.attach(model, optimizer, rigl())
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0)).double()
    for _ in range(5):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        check_zero_outside(sparse)


def test_memory_that_was_there_before_attach_ends_outside_the_wiring() -> None:
    model = net()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    trained(model, optimizer, 3)
    backward(model, optimizer, 4)
    sparse = wr.attach(model, optimizer, static())  # between backward and step
    optimizer.step()
    for name, site in sparse.sites.items():
        for memory in memories(optimizer, site.param).values():
            assert not memory[~sparse.wiring[name].mask].any()
            assert memory[sparse.wiring[name].mask].any()
