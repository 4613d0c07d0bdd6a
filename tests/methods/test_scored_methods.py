"""Edge-popup, Gem-Miner and learned supermasks: weights stay, scores train."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import nn

import wirings as wr
from wirings.core.forms import Block
from wirings.core.schedules import Every
from wirings.core.settings import resolved
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.methods import EdgePopup, GemMiner, Scored, Supermask
from wirings.testing import FakeSite


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(support: Support) -> list[int]:
    return support.forward.mask.int()[0].tolist()


def test_edge_popup_keeps_the_largest_scores_by_absolute_value() -> None:
    site = FakeSite([[0.1, -0.4, 0.3, 0.2]])
    support = EdgePopup(density=0.5).start({"w": site}, generator())["w"]
    assert shown(support) == [0, 1, 1, 0]
    assert support.backward.is_full


def test_every_score_gets_the_gradient_times_its_weight() -> None:
    frozen = torch.tensor([[2.0, -3.0, 0.5, 1.0]])
    gradient = torch.tensor([[1.0, 1.0, -2.0, 0.0]])
    support = Support(Topology.at((1, 4), [0]), Topology.full((1, 4)))
    scores = torch.tensor([[0.1, 0.2, -0.3, 0.4]])
    assert Scored().pullback(gradient, scores, frozen, support).tolist() == [[2.0, -3.0, 1.0, 0.0]]
    assert Scored().effective(gradient, frozen, support).tolist() == [[2.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("read", "reading"),
    [("magnitude", torch.abs), ("value", torch.clone), ("chance", torch.sigmoid)],
)
def test_the_slope_is_that_of_how_a_score_is_read(
    read: Literal["magnitude", "value", "chance"], reading: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """As if the loss were ``gradient . (weight * reading(score))``: the selection is passed straight through."""
    rng = generator()
    scores, weight, gradient = (torch.randn(3, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    scores.requires_grad_(True)
    (wanted,) = torch.autograd.grad((gradient * weight * reading(scores)).sum(), scores)
    support = Support(Topology.at((3, 4), [0, 5]), Topology.full((3, 4)))
    assert torch.allclose(Scored(read=read).pullback(gradient, scores.detach(), weight, support), wanted)


def test_a_pruned_score_gets_neither_gradient_nor_decay() -> None:
    ones = torch.ones(1, 3)
    support = Support.both(Topology.at((1, 3), [1]))
    assert Scored().pullback(ones, ones, ones, support).tolist() == [[0.0, 1.0, 0.0]]
    penalty = Scored(decay=0.5).penalty(ones, support)
    assert penalty is not None
    assert penalty.tolist() == [[0.0, 0.5, 0.0]]
    assert Scored().penalty(ones, support) is None


def test_edge_popups_first_scores_are_kaiming_uniform() -> None:
    scores = Scored().begin(torch.zeros(200, 50, 3, 3, dtype=torch.float64), generator())
    bound = 1 / math.sqrt(450)
    assert scores.abs().max() <= bound
    assert abs(scores.std() - bound / math.sqrt(3)) < 1e-2 * bound
    assert abs(scores.mean()) < 1e-2 * bound


def test_gem_miners_scores_begin_uniform_and_stay_in_the_unit_interval() -> None:
    rule = GemMiner().rule()
    scores = rule.begin(torch.zeros(200, 50), generator())
    assert 0 <= scores.min() < scores.max() <= 1
    assert abs(scores.mean() - 0.5) < 0.01
    assert rule.project(torch.tensor([-0.2, 0.4, 1.7])).tolist() == pytest.approx([0.0, 0.4, 1.0])
    free = torch.tensor([-0.2, 1.7])
    assert EdgePopup().rule().project(free) is free


def test_over_the_network_the_larger_scores_win_wherever_they_are() -> None:
    sites = {"a": FakeSite([[0.9, 0.8, 0.7]]), "b": FakeSite([[0.1, 0.2, 0.85]])}
    supports = EdgePopup(density=0.5, scope="global").start(sites, generator())
    assert {name: shown(support) for name, support in supports.items()} == {"a": [1, 1, 0], "b": [0, 0, 1]}


def test_a_falling_density_begins_dense_and_ends_where_asked() -> None:
    method = EdgePopup(density=0.01, sparser_until=100)
    site = FakeSite(torch.rand(100, 10, generator=generator()))
    found = [method.update({"w": site}, step, generator())["w"].forward.nnz for step in (0, 10, 50, 100, 150)]
    assert found == [1000, 631, 100, 10, 10]


def test_gem_miner_uses_the_survivors_above_one_half() -> None:
    site = FakeSite([[0.9, 0.4, 0.6, 0.5, 0.7]], mask=[[0, 0, 1, 1, 0]], backward=[[0, 1, 1, 1, 1]])
    after = GemMiner(density=0.2, when=Every(10), until=90, finish=100).update({"w": site}, 7, generator())["w"]
    assert shown(after) == [0, 0, 1, 0, 1]  # 0.9 was pruned, and one half is not above one half
    assert after.backward == site.support.backward


def test_gem_miner_prunes_the_lowest_scores_of_the_network_for_good() -> None:
    method = GemMiner(density=0.25, when=Every(10), until=20, finish=100)
    sites = {"a": FakeSite([[0.9, 0.8, 0.3, 0.7]]), "b": FakeSite([[0.1, 0.2, 0.95, 0.05]])}
    for step, left in ((10, {"a": [0, 1, 3], "b": [2]}), (20, {"a": [0], "b": [2]}), (30, {"a": [0], "b": [2]})):
        for name, support in method.update(sites, step, generator()).items():
            sites[name].install(support)
            assert support.backward.index.tolist() == left[name]


def test_gem_miners_rounds_are_the_papers() -> None:
    """E = 150, T = 5: 29 rounds; each removes 1 - exp(ln(target) / 29) of what is left."""
    method = resolved(GemMiner(density=0.0144), 150)
    assert [step for step in range(1, 151) if method.when(step) and step <= method.until] == list(range(5, 146, 5))
    site = FakeSite(torch.rand(1000, 100, generator=generator()))
    counts = []
    for step in (5, 10, 145):
        site.install(method.update({"w": site}, step, generator())["w"])
        counts.append(site.support.backward.nnz)
    rate = 1 - math.exp(math.log(0.0144) / 29)
    assert abs(rate - 0.1360) < 5e-5
    assert counts == [round(100_000 * (1 - rate)), round(100_000 * (1 - rate) ** 2), 1440]


def test_at_the_finish_every_survivor_is_used() -> None:
    method = GemMiner(density=0.4, when=Every(10), until=90, finish=100)
    site = FakeSite([[0.9, 0.1, 0.2, 0.05, 0.01]])
    after = method.update({"w": site}, 100, generator())["w"]
    assert after.is_plain
    assert shown(after) == [1, 0, 1, 0, 0]
    assert method.due(100)
    assert not method.due(101)


def test_a_supermask_is_drawn_with_the_scores_chances() -> None:
    scores = torch.tensor([[-2.0, 0.0, 2.0, 40.0, -40.0]])
    rng, seen = generator(), torch.zeros(5)
    for step in range(2000):
        support = Supermask().update({"w": FakeSite(scores)}, step, rng)["w"]
        assert support.backward.is_full
        seen += support.forward.mask[0]
    chance = scores[0].sigmoid()
    assert ((seen / 2000 - chance).abs() < 4 * (chance * (1 - chance) / 2000).sqrt() + 1e-6).all()


def test_a_settled_supermask_is_the_likelier_half() -> None:
    site = FakeSite([[-2.0, 0.1, 2.0, -0.1]])
    method = Supermask(settle_at=100)
    assert shown(method.update({"w": site}, 100, generator())["w"]) == [0, 1, 1, 0]
    draws = [shown(Supermask().update({"w": site}, 100, generator(seed))["w"]) for seed in range(20)]
    assert len(set(map(tuple, draws))) > 1


def test_the_network_ranks_single_scores_only() -> None:
    with pytest.raises(ValueError, match=r"`form` of `EdgePopup` must be Unstructured\(\) with scope=\"global\""):
        EdgePopup(scope="global", form=Block(2, 2))


def test_a_rescaled_weight_is_multiplied_by_positions_over_connections() -> None:
    frozen = torch.tensor([[2.0, -3.0, 0.5, 1.0, 4.0]])
    support = Support(Topology.at((1, 5), [0, 3]), Topology.full((1, 5)))
    rule = Scored(rescale=True)
    assert rule.factor(support) == 2.5
    assert rule.effective(frozen, frozen, support).tolist() == [[5.0, 0.0, 0.0, 2.5, 0.0]]
    ones = torch.ones(1, 5)
    assert rule.pullback(ones, ones, frozen, support).tolist() == [[5.0, -7.5, 1.25, 2.5, 10.0]]
    assert frozen.tolist() == [[2.0, -3.0, 0.5, 1.0, 4.0]]
    nothing = Support(Topology.at((1, 5), []), Topology.full((1, 5)))
    assert rule.effective(frozen, frozen, nothing).count_nonzero() == 0


def test_a_supermask_rescales_at_every_draw_and_its_frozen_weights_stay_exactly_what_they_were() -> None:
    model = nn.Sequential(nn.Linear(20, 9, bias=False), nn.ReLU(), nn.Linear(9, 3, bias=False)).double()
    drawn = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=50.0)
    sparse = wr.attach(model, optimizer, Supermask(), steps=30)
    rng, seen = generator(), set()
    for _ in range(30):
        optimizer.zero_grad()
        images, labels = torch.randn(8, 20, generator=rng, dtype=torch.float64), torch.randint(3, (8,), generator=rng)
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        for name, p in model.named_parameters():
            topology = sparse.wiring[name]
            seen.add(topology.nnz)
            expected = drawn[name] * (p.numel() / topology.nnz)
            assert torch.equal(p.detach(), expected.masked_fill(~topology.mask, 0))
    assert len(seen) > 5


def test_a_rescaled_weight_that_the_user_edits_is_what_trains_from_then_on() -> None:
    model = nn.Sequential(nn.Linear(6, 4, bias=False)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    sparse = wr.attach(model, optimizer, Supermask(settle_at=0), steps=10)
    where = int(sparse.wiring["0.weight"].index[0])
    model[0].weight.data.view(-1)[where] = 3.0
    model(torch.ones(1, 6, dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert model[0].weight.data.view(-1)[where] == pytest.approx(3.0)


def test_without_rescaling_a_supermask_uses_the_weights_as_they_were_drawn() -> None:
    assert Supermask(rescale=False).rule() == Scored(read="chance")
    assert Supermask().rule() == Scored(read="chance", rescale=True)


def test_gem_miner_tells_scores_at_a_bound_apart_by_a_draw_and_not_by_their_place() -> None:
    """Many scores stand at exactly 1. Ties by place would keep the first weight's and empty the last ones."""
    sites = {name: FakeSite(torch.ones(10, 100)) for name in "abc"}
    method = GemMiner(density=0.1, when=Every(10), until=10, finish=100)
    found = method.update(sites, 10, generator())
    kept = {name: support.backward.nnz for name, support in found.items()}
    assert sum(kept.values()) == 300
    assert all(70 <= k <= 130 for k in kept.values())
    assert found == method.update(sites, 10, generator())


def test_gem_miner_never_draws_between_different_scores() -> None:
    site = FakeSite([[1.0, 0.999999999, 0.0, 1e-12, 1.0, 0.0]])
    method = GemMiner(density=4 / 6, when=Every(1), until=1, finish=100)
    assert method.update({"w": site}, 1, generator())["w"].backward.index.tolist() == [0, 1, 3, 4]
