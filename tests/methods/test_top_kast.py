"""Top-KAST: two nested tops, and a penalty that makes exploration die."""

from __future__ import annotations

import pytest
import torch

from wirings.core.forms import NM
from wirings.core.schedules import Every
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.methods import Straight, TopKAST
from wirings.testing import FakeSite

RNG = torch.Generator()


def shown(support: Support) -> tuple[list[int], list[int]]:
    return support.forward.mask.int()[0].tolist(), support.backward.mask.int()[0].tolist()


def test_forward_is_the_top_and_backward_a_larger_top() -> None:
    site = FakeSite([[3.0, -1.0, 2.0, 0.5, -4.0, 0.1]])
    support = TopKAST(density=1 / 3, backward=2 / 3).start({"w": site}, RNG)["w"]
    assert shown(support) == ([1, 0, 0, 0, 1, 0], [1, 1, 1, 0, 1, 0])


def test_a_rim_weight_that_grows_is_used() -> None:
    site = FakeSite([[3.0, -5.0, 2.0, 9.0]], mask=[[1, 0, 0, 0]], backward=[[1, 1, 1, 0]])
    after = TopKAST(density=0.25, backward=0.75).update({"w": site}, 100, RNG)["w"]
    assert shown(after) == ([0, 1, 0, 0], [1, 1, 1, 0])


def test_what_is_remembered_outside_comes_back_once_the_rim_has_shrunk_below_it() -> None:
    values, mask, backward = [[3.0, 0.01, 2.0, 0.5]], [[1, 0, 0, 0]], [[1, 1, 1, 0]]
    remembering = FakeSite(values, mask=mask, backward=backward, remembered=True)
    paper = TopKAST(density=0.25, backward=0.75, remember=True)
    assert paper.remembers()
    assert shown(paper.update({"w": remembering}, 100, RNG)["w"]) == ([1, 0, 0, 0], [1, 0, 1, 1])


def test_without_memory_backward_never_changes() -> None:
    site = FakeSite([[3.0, 0.01, 2.0, 0.5]], mask=[[1, 0, 0, 0]], backward=[[1, 1, 1, 0]])
    after = TopKAST(density=0.25, backward=0.75).update({"w": site}, 100, RNG)["w"]
    assert after.backward == site.support.backward


def test_the_penalty_is_the_papers() -> None:
    # lambda (|w_A|^2 + |w_{B-A}|^2 / D) has the gradient 2 lambda w on A, 2 lambda w / D on the rim
    support = Support(Topology.at((1, 4), [0]), Topology.at((1, 4), [0, 1, 2]))
    weight = torch.tensor([[1.0, 2.0, -3.0, 7.0]], dtype=torch.float64, requires_grad=True)
    loss = 0.05 * (weight[0, 0] ** 2 + (weight[0, 1] ** 2 + weight[0, 2] ** 2) / 0.25)
    (wanted,) = torch.autograd.grad(loss, weight)
    penalty = TopKAST(density=0.25, decay=0.1, rim_decay=0.1).rule().penalty(weight.detach(), support)
    assert penalty is not None
    assert torch.allclose(penalty, wanted)


def test_without_strength_there_is_no_penalty() -> None:
    rule = TopKAST(decay=0.0, rim_decay=0.0).rule()
    assert rule == Straight()
    assert rule.penalty(torch.ones(1, 2), Support.both(Topology.full((1, 2)))) is None


def test_exploration_dies_when_only_the_penalty_acts() -> None:
    """With no loss, the rim shrinks faster than what is used, so the two sets stay what they are."""
    method = TopKAST(density=0.25, backward=0.5, decay=0.1, rim_decay=0.1, when=Every(1))
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    site = FakeSite(weight)
    site.install(method.start({"w": site}, RNG)["w"])
    first = site.support
    for step in range(1, 20):
        penalty = method.rule().penalty(site._weight, site.support)
        assert penalty is not None
        site._weight = site._weight - 0.1 * penalty
        site.install(method.update({"w": site}, step, RNG)["w"])
    assert site.support == first


def test_backward_contains_a_forward_that_has_a_form() -> None:
    site = FakeSite([[9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 0.3, 0.4]])
    support = TopKAST(density=0.5, backward=0.625, form=NM(2, 4)).start({"w": site}, RNG)["w"]
    assert shown(support) == ([1, 1, 0, 0, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0])


def test_it_never_hears_a_dense_gradient() -> None:
    assert not any(TopKAST().hears(step) for step in range(1, 500))


def test_a_backward_density_below_the_forward_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`backward` of `TopKAST` must be in \[0.5, 1\]. Got 0.2"):
        TopKAST(density=0.5, backward=0.2)
