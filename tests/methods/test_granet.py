"""GraNet: the total follows the schedule exactly, and more is exchanged than that."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.budgets import uniform
from wirings.core.schedules import Constant, Cosine, Cubic, Every
from wirings.methods import GraNet
from wirings.testing import FakeSite

RNG = torch.Generator()


def test_it_prunes_over_the_network_then_exchanges_within_each_weight() -> None:
    method = GraNet(density=Constant(0.5), fraction=Constant(0.5))
    a = FakeSite([[9.0, 8.0, 7.0, 0.2]], mask=[[1, 1, 1, 1]], gradient=[[0.0, 0.0, 0.1, 5.0]])
    b = FakeSite([[6.0, 0.3, 0.0, 0.0]], mask=[[1, 1, 0, 0]], gradient=[[0.0, 0.0, 1.0, 2.0]])
    after = method.update({"a": a, "b": b}, 1000, RNG)
    # of six, the four largest stay: three in a, one in b. Of a's three the weakest goes, and one grows by gradient.
    assert after["a"].forward.mask.int().tolist() == [[1, 1, 0, 1]]
    assert after["b"].forward.mask.int().tolist() == [[1, 0, 0, 0]]


@given(
    share=st.floats(0, 1),
    final=st.floats(0.05, 0.4),
    seed=st.integers(0, 3),
    scope=st.sampled_from(["global", "local"]),
)
@settings(max_examples=40, deadline=None)
def test_the_total_follows_the_schedule_exactly(share: float, final: float, seed: int, scope: str) -> None:
    rng = torch.Generator().manual_seed(seed)
    schedule = Cubic(initial=0.5, final=final, until=40)
    method = GraNet(density=schedule, fraction=Constant(share), when=Every(10), budget=uniform, scope=scope)  # type: ignore[arg-type]
    shapes = {"a": (8, 6), "b": (4, 8), "c": (3, 4)}
    draw = lambda shape: torch.randn(shape, generator=rng, dtype=torch.float64)
    sites = {name: FakeSite(draw(shape), gradient=draw(shape)) for name, shape in shapes.items()}
    supports = method.start(sites, rng)
    assert sum(s.forward.nnz for s in supports.values()) == 46
    for step in (10, 20, 30, 40, 50):
        for name, support in supports.items():
            sites[name].install(support)
        supports = method.update(sites, step, rng)
        assert sum(s.forward.nnz for s in supports.values()) == round(schedule(step) * 92)


def test_it_hears_its_updates_and_lets_the_weights_move() -> None:
    method = GraNet(when=Every(1000))
    assert method.hears(1000)
    assert not method.hears(1001)
    assert not method.replaces_step()


def test_the_defaults_are_the_authors() -> None:
    method = GraNet()
    assert method.density == Cubic(initial=0.5, final=0.1, until=110 / 160)
    assert method.fraction == Cosine(0.5, final=0.005)


def test_a_density_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`density` of `GraNet` must be in \(0, 1\]. Got 0.0"):
        GraNet(density=Cubic(initial=0.5, final=0.0))
