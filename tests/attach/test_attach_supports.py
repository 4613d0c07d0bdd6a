"""Supports that grow and shrink: what is lent, what is remembered, what ends."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from attach_nets import METHODS, check_zero_outside, memories, net, sgd, trained
from torch import Generator, Tensor, nn

import wirings as wr
from wirings.methods.method import Method, Sites, Supports
from wirings.methods.rule import Rule, Straight


def at(*index: int) -> wr.Topology:
    return wr.Topology.at((1, 6), index)


@dataclass(frozen=True, kw_only=True)
class Script(Method):
    """The supports of a weight of shape (1, 6), step by step, from step 0 on."""

    acts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    keeps: bool = False
    decay: float = 0.0

    def rule(self) -> Rule:
        return Straight(decay=self.decay)

    def remembers(self) -> bool:
        return self.keeps

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return self.update(sites, 0, rng)

    def due(self, step: int) -> bool:
        return step < len(self.acts)

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        forward, backward = self.acts[step]
        support = wr.Support.both(at(*forward)) if forward == backward else wr.Support(at(*forward), at(*backward))
        return {name: support for name in sites}


class Row(nn.Module):
    """Six weights, each with the gradient 1 where it is used and heard."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], dtype=torch.float64))

    def step(self, optimizer: torch.optim.Optimizer, slope: float = 1.0) -> list[float]:
        optimizer.zero_grad()
        (slope * self.weight).sum().backward()
        optimizer.step()
        return [round(v, 6) for v in self.weight.detach().flatten().tolist()]


def attached(method: Method, lr: float = 0.1, **options: float) -> tuple[Row, torch.optim.SGD, wr.Sparsifier]:
    model = Row()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **options)
    return model, optimizer, wr.attach(model, optimizer, method, where=["weight"])


def shown(model: Row) -> list[float]:
    return model.weight.detach().flatten().tolist()


def test_plain_then_wide_then_plain() -> None:
    acts = (
        ((0, 1), (0, 1)),  # step 0: two connections
        ((0, 1), (0, 1, 2, 3)),  # 2 and 3 begin to train, at zero
        ((1, 2), (0, 1, 2, 3)),  # 2 comes into use with the value it trained to; 0 trains on unused
        ((1, 3), (1, 3)),  # 0 and 2 end
        ((0, 1), (0, 1)),  # 0 begins anew
    )
    model, optimizer, sparse = attached(Script(acts=acts), momentum=0.5)
    assert shown(model) == [1, 2, 0, 0, 0, 0]
    assert model.step(optimizer) == [0.9, 1.9, 0, 0, 0, 0]
    assert sparse.supports["weight"].backward == at(0, 1, 2, 3)
    assert model.step(optimizer) == [0, 1.75, -0.1, 0, 0, 0]
    assert sparse.sites["weight"].aside is not None
    assert model.step(optimizer) == [0, 1.575, 0, -0.25, 0, 0]
    assert sparse.sites["weight"].aside is None
    memory = memories(optimizer, model.weight)["momentum_buffer"].flatten().tolist()
    assert memory == [0, 1.75, 0, 1.5, 0, 0]
    assert model.step(optimizer) == [0, 1.3875, 0, 0, 0, 0]
    assert model.step(optimizer) == [-0.1, 1.19375, 0, 0, 0, 0]


def test_what_is_remembered_comes_back_untouched_and_without_memory() -> None:
    acts = (((0, 1), (0, 1, 2)), ((1, 2), (1, 2)), ((0, 3), (0, 3)), ((1, 5), (1, 5)))
    model, optimizer, _ = attached(Script(acts=acts, keeps=True), momentum=0.5, weight_decay=0.1)
    assert shown(model) == [1, 2, 0, 0, 0, 0]
    found = model.step(optimizer)  # 0, 1 and 2 train: w - 0.1 (1 + 0.1 w)
    assert found == pytest.approx([0, 1.88, 2.87, 0, 0, 0])
    found = model.step(optimizer)
    assert found == pytest.approx([0.89, 0, 0, 4, 0, 0])  # as it was left, and as it was drawn
    found = model.step(optimizer)
    assert found == pytest.approx([0, 1.88 - 0.1 * (0.5 * 1.2 + 1 + 0.188), 0, 0, 0, 6])
    memory = memories(optimizer, model.weight)["momentum_buffer"].flatten().tolist()
    assert memory == [0] * 6


def test_a_penalty_reaches_the_optimizer_and_not_the_users_gradient() -> None:
    model, optimizer, _ = attached(Script(acts=(((0, 1), (0, 1)),), decay=0.5))
    found = model.step(optimizer, slope=0.0)
    assert found == [0.95, 1.9, 0, 0, 0, 0]
    assert not model.weight.grad.any()
    optimizer.step()  # once more with the same gradient: the penalty does not add up
    assert torch.allclose(model.weight, torch.tensor([[0.9025, 1.805, 0, 0, 0, 0]], dtype=torch.float64))


def test_dnw_ends_its_dense_gradients_when_it_freezes() -> None:
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, wr.DNW(density=0.3, freeze_at=3))
    twin = net()
    other = sgd(twin)
    wr.attach(twin, other, wr.DNW(density=0.3))
    trained(model, optimizer, 2)
    trained(twin, other, 3)
    momentum = optimizer.state[model.fc1.weight]["momentum_buffer"]
    assert sparse.sites["fc1.weight"].aside is not None
    assert momentum[~sparse.wiring["fc1.weight"].mask].any()
    trained(model, optimizer, range(3, 4))
    wiring = sparse.wiring
    mask = wiring["fc1.weight"].mask
    assert sparse.sites["fc1.weight"].aside is None
    assert not momentum[~mask].any()
    unfrozen = other.state[twin.fc1.weight]["momentum_buffer"]
    assert torch.equal(momentum[mask], unfrozen[mask]), "survivors keep their momentum"
    assert torch.equal(model.fc1.weight, twin.fc1.weight)
    trained(model, optimizer, range(4, 8))
    assert sparse.wiring == wiring
    assert not model.fc1.weight.grad[~mask].any()
    check_zero_outside(sparse)


def test_scores_stay_in_their_bounds_while_the_weights_stay_frozen() -> None:
    from wirings.methods.gem_miner import GemMiner

    model = net()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = sgd(model, lr=5.0)
    sparse = wr.attach(model, optimizer, GemMiner(density=0.4), steps=8)
    for step in range(1, 7):
        trained(model, optimizer, range(step, step + 1))
        for name, site in sparse.sites.items():
            scores: Tensor = site.aside
            assert scores.min() >= 0
            assert scores.max() <= 1
            mask = sparse.wiring[name].mask
            assert torch.equal(site.param[mask], before[name][mask])
    check_zero_outside(sparse)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"edge-popup"}))  # which trains scores, not weights
def test_a_method_reads_at_the_update_what_trained(method: str) -> None:
    """What the site answers when asked between steps is the trained tensor: what is used, where it is used."""
    model = net()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    trained(model, optimizer, 3)
    for site in sparse.sites.values():
        forward = site.support.forward
        assert torch.equal(site.weight(on=forward), site.param.detach()[forward.mask])
        whole = wr.Topology.full(site.shape)
        everything = site.weight(on=whole).view(site.shape)
        assert torch.equal(everything[forward.mask], site.param.detach()[forward.mask])
        if not METHODS[method]().remembers():
            assert not everything[~site.support.backward.mask].any()
