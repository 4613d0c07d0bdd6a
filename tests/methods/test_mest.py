"""MEST: what has neither weight nor gradient mutates, less and less of it."""

from __future__ import annotations

import pytest
import torch

from wirings.core.forms import Block
from wirings.core.select import top
from wirings.core.settings import resolved
from wirings.methods import MEST
from wirings.testing import FakeSite


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_small_weight_with_a_large_gradient_stays() -> None:
    site = FakeSite([[3.0, 0.5, 1.0, 0.0]], mask=[[1, 1, 1, 0]], gradient=[[0.0, 9.0, 0.0, 0.0]])
    plain = MEST(density=0.75, mutation=0.4, halve_at=90, stop_at=120)
    elastic = MEST(density=0.75, mutation=0.4, slope=1.0, halve_at=90, stop_at=120)
    kept = lambda method: method.update({"w": site}, 5, generator(1))["w"].forward
    assert {0, 2} <= set(kept(plain).index.tolist())
    assert {0, 1} <= set(kept(elastic).index.tolist())


def test_mutants_are_halved_and_then_stop() -> None:
    method = resolved(MEST(density=0.5, mutation=0.4), 160)
    weight = torch.arange(1, 41, dtype=torch.float64).view(2, 20)
    moved = {}
    for step in (5, 85, 90, 115, 120, 160):
        site = FakeSite(weight, mask=weight > 20)
        after = method.update({"w": site}, step, generator(step))["w"].forward
        assert after.nnz == 20
        # the strongest 12 (of 20, 8 mutate), 16 or 20 stay for sure
        moved[step] = int((weight.reshape(-1)[after.index] > 20).sum())
        assert set(range(40 - {5: 12, 85: 12, 90: 16, 115: 16}.get(step, 20), 40)) <= set(after.index.tolist())
    assert moved[120] == moved[160] == 20
    assert moved[5] < 20


def test_soft_mutants_come_on_top_and_the_weakest_go_at_the_next_update() -> None:
    method = MEST(density=0.25, mutation=1.0, halve_at=50, stop_at=80, soft=True)
    site = FakeSite(torch.arange(1, 41, dtype=torch.float64).view(2, 20))
    site.install(method.start({"w": site}, generator())["w"])
    counts = [site.support.forward.nnz]
    for step in (5, 50, 75, 80, 85):
        now = site.support.forward
        strongest = top(site.weight(now).abs(), 10, now)
        site.install(method.update({"w": site}, step, generator(step))["w"])
        counts.append(site.support.forward.nnz)
        assert strongest <= site.support.forward
    assert counts == [20, 20, 15, 15, 10, 10]


def test_soft_mutants_never_overflow_a_weight() -> None:
    method = MEST(density=0.9, mutation=1.0, halve_at=50, stop_at=80, soft=True)
    site = FakeSite(torch.randn(5, 8, generator=generator()))
    assert method.start({"w": site}, generator())["w"].forward.is_full


def test_blocks_mutate_whole() -> None:
    method = MEST(density=0.5, mutation=0.5, form=Block(2, 2), halve_at=90, stop_at=120)
    site = FakeSite(torch.randn(8, 8, generator=generator()))
    site.install(method.start({"w": site}, generator())["w"])
    after = method.update({"w": site}, 5, generator(1))["w"].forward
    assert after.nnz == 32
    assert Block(2, 2).holds(after)
    assert after != site.support.forward


def test_no_gradient_outside_the_wiring_is_asked_for() -> None:
    assert not any(MEST().hears(step) for step in range(1, 300))


def test_a_negative_slope_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`slope` of `MEST` must be in"):
        MEST(slope=-1.0)
