"""SNFS: connections move between layers, and none is lost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.schedules import Constant, Every
from wirings.makers.random import ErdosRenyi
from wirings.methods import SNFS
from wirings.methods.snfs import shared_out
from wirings.testing import FakeSite


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_freed_connections_go_where_the_mean_momentum_is_larger() -> None:
    quiet = FakeSite([[4.0, 3.0, 2.0, 1.0, 0, 0]], mask=[[1, 1, 1, 1, 0, 0]], momentum=[[1.0, 1.0, 1.0, 1.0, 0.0, 9.0]])
    loud = FakeSite(
        [[4.0, 3.0, 2.0, 1.0, 0, 0, 0, 0]],
        mask=[[1, 1, 1, 1, 0, 0, 0, 0]],
        momentum=[[3.0, -3.0, 3.0, 3.0, 0.1, -0.4, 0.3, 0.2]],
    )
    after = SNFS(fraction=Constant(0.5)).update({"quiet": quiet, "loud": loud}, 100, generator())
    # 2 + 2 freed; pulls 1 and 3: one back to the first, where |momentum| is 9, three to the second: 3, 3 (just
    # dropped, both may return) and 0.4
    assert after["quiet"].forward.mask.int().tolist() == [[1, 1, 0, 0, 0, 1]]
    assert after["loud"].forward.mask.int().tolist() == [[1, 1, 1, 1, 0, 1, 0, 0]]


def test_a_layer_that_would_overflow_gets_what_fits() -> None:
    assert shared_out(10, {"a": 3.0, "b": 1.0}, {"a": 4, "b": 20}) == {"a": 4, "b": 6}
    assert shared_out(10, {"a": 5.0, "b": 1.0, "c": 1.0}, {"a": 2, "b": 3, "c": 20}) == {"a": 2, "b": 3, "c": 5}


def test_without_any_pull_the_room_decides() -> None:
    assert shared_out(6, {"a": 0.0, "b": 0.0}, {"a": 4, "b": 8}) == {"a": 2, "b": 4}
    assert shared_out(6, {"a": 1.0, "b": 0.0}, {"a": 4, "b": 8}) == {"a": 4, "b": 2}


def test_nothing_to_share_is_nothing() -> None:
    assert shared_out(0, {"a": 1.0, "b": 1.0}, {"a": 0, "b": 3}) == {"a": 0, "b": 0}


@given(data=st.data(), n=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_shares_add_up_and_fit(data: st.DataObject, n: int) -> None:
    names = [f"w{i}" for i in range(n)]
    room = {name: data.draw(st.integers(0, 1000)) for name in names}
    pull = {name: data.draw(st.floats(0, 1e6) | st.floats(0, 1e-12)) for name in names}
    total = data.draw(st.integers(0, sum(room.values())))
    counts = shared_out(total, pull, room)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= room[name] for name in names)


@given(share=st.floats(0, 1), density=st.floats(0.05, 1.0), seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_total_never_changes(share: float, density: float, seed: int) -> None:
    rng = generator(seed)
    method = SNFS(begin=ErdosRenyi(density), fraction=Constant(share))
    shapes = {"a": (8, 6), "b": (4, 8), "c": (3, 4)}
    draw = lambda shape: torch.randn(shape, generator=rng, dtype=torch.float64)
    sites = {name: FakeSite(draw(shape), momentum=draw(shape)) for name, shape in shapes.items()}
    for name, support in method.start(sites, rng).items():
        sites[name].install(support)
    before = sum(site.support.forward.nnz for site in sites.values())
    after = method.update(sites, 100, rng)
    assert sum(s.forward.nnz for s in after.values()) == before


def test_it_hears_every_step_while_it_still_changes_something() -> None:
    method = SNFS(when=Every(100, until=300))
    assert method.keeps_momentum
    assert method.hears(1)
    assert method.hears(300)
    assert not method.hears(301)
    assert not method.replaces_step()


def test_a_momentum_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`momentum` of `SNFS` must be in \[0, 1\). Got 1.0"):
        SNFS(momentum=1.0)
