"""Chains in panels: the numbers of the same layers one by one."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import wirings as wr
from wirings import models
from wirings.kernels import native
from wirings.sparse import SparseSequential, sequential, to_dense, to_sparse


def chain(widths: tuple[int, ...] = (9, 17, 33, 5), *, bias: bool = True, last_relu: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for ins, outs in pairwise(widths):
        layers += [nn.Linear(ins, outs, bias=bias), nn.ReLU()]
    model = nn.Sequential(*(layers if last_relu else layers[:-1])).double()
    rng = torch.Generator().manual_seed(1)
    shapes = {name: tuple(p.shape) for name, p in wr.prunable(model).items()}
    full = {name: wr.Topology.full(shape) for name, shape in shapes.items()}
    return to_sparse(model, {name: t.sample(round(0.4 * t.numel), rng) for name, t in full.items()})


def one_by_one(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*copy.deepcopy(model))


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("batch", [1, 2, 3, 13, 16, 129])
@pytest.mark.parametrize("last_relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_chain_computes_what_its_layers_do_one_by_one(batch: int, last_relu: bool, bias: bool) -> None:
    model = chain(bias=bias, last_relu=last_relu)
    assert type(model) is SparseSequential
    x = torch.randn(batch, 9, dtype=torch.float64)
    for ours, theirs in zip(gradients(model, x), gradients(one_by_one(model), x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_single_samples_do_not_wait_for_a_chain_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = chain(), torch.randn(2, 9, dtype=torch.float64)
    wanted = one_by_one(model)(x)
    monkeypatch.setattr(sequential, "_chain", None)  # calling it would raise
    assert torch.equal(model(x), wanted)
    assert torch.equal(model(x[0]), one_by_one(model)(x[0]))


@pytest.mark.parametrize("light", [0, 4096])
@pytest.mark.parametrize("full", ["0.weight", "2.weight", "4.weight", "6.weight"])
def test_a_layer_that_lost_nothing_leaves_the_others_their_chain(
    full: str, light: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    widths = (9, 17, 12, 15, 5)
    layers = [part for ins, outs in pairwise(widths) for part in (nn.Linear(ins, outs), nn.ReLU())][:-1]
    dense, rng = nn.Sequential(*layers).double(), torch.Generator().manual_seed(1)
    whole = {name: wr.Topology.full(tuple(p.shape)) for name, p in wr.prunable(dense).items()}
    model = to_sparse(dense, {n: t if n == full else t.sample(t.numel // 3, rng) for n, t in whole.items()})
    runs: list[int] = []
    run = sequential._run
    monkeypatch.setattr(sequential, "LIGHT", light)
    monkeypatch.setattr(sequential, "_run", lambda chain, x: runs.append(len(chain)) or run(chain, x))
    x = torch.randn(13, 9, dtype=torch.float64)
    for ours, theirs in zip(gradients(model, x), gradients(one_by_one(model), x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    if native.available():
        place = int(full[0]) // 2
        apart = [n for n in (place, 3 - place) if n > 1]  # a single layer is no chain
        assert runs == ([4 - (place == 0)] if light or place == 0 else apart)


def test_more_batch_dimensions_and_inputs_without_gradient() -> None:
    model = chain()
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    torch.testing.assert_close(model(x), one_by_one(model)(x))
    with torch.no_grad():
        torch.testing.assert_close(model(x), one_by_one(model)(x))


def test_other_modules_and_hooks_break_a_chain_and_nothing_else() -> None:
    inner = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4), nn.ReLU()
    )
    dense = nn.Sequential(inner, nn.Linear(4, 4), nn.Linear(4, 3)).double()
    whole = {name: wr.Topology.full(tuple(p.shape)) for name, p in wr.prunable(dense).items()}
    model = to_sparse(dense, {n: t.sample(t.nnz // 2, torch.Generator().manual_seed(0)) for n, t in whole.items()})
    assert [type(model), type(model[0])] == [SparseSequential, SparseSequential]
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    y = model(x)
    seen: list[Tensor] = []
    handle = model[0][1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    relu = model[0][2].register_forward_hook(lambda _m, _i, out: seen.append(out))
    torch.testing.assert_close(model(x), y)
    assert [s.shape for s in seen] == [(5, 6), (5, 6)]
    handle.remove()
    relu.remove()
    torch.testing.assert_close(one_by_one(model)(x), y)
    keys = list(model.state_dict())
    assert "0.1.values" in keys
    back = to_dense(model)
    assert [type(back), type(back[0])] == [nn.Sequential, nn.Sequential]
    torch.testing.assert_close(back(x), y)


def test_chains_hear_what_single_layers_hear() -> None:
    method = wr.RigL(begin=wr.ErdosRenyi(0.4), when=wr.Every(2, until=None), fraction=wr.Constant(0.4))
    found = []
    for model in (chain((9, 16, 16, 4)), one_by_one(chain((9, 16, 16, 4)))):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        sparse = wr.attach(model, optimizer, method)
        losses = []
        rng = torch.Generator().manual_seed(0)
        for _ in range(12):
            x, y = torch.randn(13, 9, generator=rng, dtype=torch.float64), torch.randint(4, (13,), generator=rng)
            optimizer.zero_grad()
            for part in range(2):
                loss = nn.functional.cross_entropy(model(x[part::2]), y[part::2]) / 2
                loss.backward()
                losses.append(loss.item())
            optimizer.step()
        found.append((losses, sparse.wiring))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    assert found[0][1] == found[1][1]


def test_second_derivatives_of_a_chain_are_refused() -> None:
    x = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    with pytest.raises(wr.WiringError, match="cannot be differentiated twice"):
        torch.autograd.grad(chain()(x).sum(), x, create_graph=True)


def test_a_value_changed_between_forward_and_backward_is_noticed() -> None:
    model = chain()
    loss = model(torch.randn(4, 9, dtype=torch.float64)).sum()
    with torch.no_grad():
        model[0].values.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_fully_connected_networks_of_the_literature_are_chains() -> None:
    model = models.build("lenet-300-100").double()
    x = torch.randn(13, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    dense = model(x)
    assert type(to_sparse(model)) is SparseSequential
    links, after = sequential._chain(list(model), 1)
    assert [link.relu for link in links] == [True, True, False]
    assert after == len(model)
    torch.testing.assert_close(model(x), dense, rtol=1e-12, atol=1e-12)
