"""SET, RigL and ITOP, as pictures: mask before, scores, mask after."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.forms import Block, ConstantFanIn, Unstructured
from wirings.core.schedules import Constant, Cosine, Every
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.makers.random import ErdosRenyi
from wirings.methods import SET, RigL, exchange, itop
from wirings.methods.drop_grow import at_random, by_gradient
from wirings.testing import FakeSite


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(support: Support) -> list[int]:
    return support.forward.mask.int().reshape(-1).tolist()


def test_rigl_drops_the_weakest_and_grows_the_strongest_gradient() -> None:
    site = FakeSite(
        [[5.0, -1.0, 0.0, 3.0, 0.0, -4.0]],
        mask=[[1, 1, 0, 1, 0, 1]],
        gradient=[[0.0, 0.1, -0.7, 9.0, 0.2, 0.0]],
    )
    after = RigL(fraction=Constant(0.25)).update({"w": site}, 100, generator())["w"]
    assert shown(after) == [1, 0, 1, 1, 0, 1]
    assert after.is_plain


def test_rigl_regrows_what_it_just_dropped() -> None:
    site = FakeSite([[5.0, -1.0, 0.0, 3.0]], mask=[[1, 1, 0, 1]], gradient=[[0.0, 2.0, 1.0, 0.0]])
    after = RigL(fraction=Constant(0.34)).update({"w": site}, 100, generator())["w"]
    assert shown(after) == [1, 1, 0, 1]
    site.install(after)
    assert site.weight(after.forward).tolist() == [5.0, -1.0, 3.0]  # with the value that it had


def test_a_kept_connection_never_counts_as_growth_however_strong_its_gradient() -> None:
    site = FakeSite([[5.0, 1.0, 0.0, 0.0]], mask=[[1, 1, 0, 0]], gradient=[[99.0, 0.0, 0.5, 0.4]])
    after = RigL(fraction=Constant(0.5)).update({"w": site}, 100, generator())["w"]
    assert shown(after) == [1, 0, 1, 0]


def test_equal_gradients_grow_at_the_lower_index() -> None:
    site = FakeSite([[5.0, 1.0, 0.0, 0.0, 0.0]], mask=[[1, 1, 0, 0, 0]], gradient=[[0.0, 0.0, 1.0, 1.0, 1.0]])
    after = RigL(fraction=Constant(0.5)).update({"w": site}, 100, generator())["w"]
    assert shown(after) == [1, 0, 1, 0, 0]


def test_equal_weights_drop_the_higher_index() -> None:
    site = FakeSite([[1.0, 1.0, 1.0, 0.0]], mask=[[1, 1, 1, 0]], gradient=[[0.0, 0.0, 0.0, 1.0]])
    after = RigL(fraction=Constant(0.34)).update({"w": site}, 100, generator())["w"]
    assert shown(after) == [1, 1, 0, 1]


def test_rigl_replaces_the_weight_update_and_set_does_not() -> None:
    rigl, plain = RigL(when=Every(100, until=300)), SET(when=Every(100))
    assert rigl.replaces_step()
    assert not plain.replaces_step()
    assert [t for t in (0, 50, 100, 300, 400) if rigl.hears(t)] == [100, 300]
    assert not any(plain.hears(t) for t in range(1, 400))


def test_rigls_share_is_the_papers_cosine() -> None:
    share = Cosine(0.3, over=75_000)
    assert RigL().fraction == Cosine(0.3, over=0.75)
    assert [round(share(t), 3) for t in (0, 25_000, 37_500, 50_000, 75_000)] == [0.3, 0.225, 0.15, 0.075, 0.0]


def test_after_its_end_rigl_changes_nothing() -> None:
    method = RigL(when=Every(100, until=300))
    assert not method.due(400)
    site = FakeSite([[5.0, 1.0, 0.0]], mask=[[1, 1, 0]], gradient=[[0.0, 0.0, 1.0]])
    end = RigL(fraction=Cosine(0.3, over=300))
    assert end.update({"w": site}, 300, generator())["w"] is site.support


@pytest.mark.parametrize("method", [SET(fraction=Constant(0.0)), RigL(fraction=Constant(0.0))])
def test_a_share_of_zero_changes_nothing(method: SET | RigL) -> None:
    site = FakeSite([[5.0, 1.0, 0.0]], mask=[[1, 1, 0]], gradient=[[0.0, 0.0, 1.0]])
    assert method.update({"w": site}, 100, generator())["w"] is site.support


def test_set_grows_every_free_position_equally_often() -> None:
    site = FakeSite([[9.0, 8.0, 0.1, 0.0, 0.0, 0.0]], mask=[[1, 1, 1, 0, 0, 0]])
    rng, seen = generator(), torch.zeros(6)
    for _ in range(2000):
        after = SET(fraction=Constant(0.34)).update({"w": site}, 100, rng)["w"]
        seen += after.forward.mask[0]
    assert seen[:2].tolist() == [2000, 2000]
    assert (seen[2:] - 500).abs().max() < 80  # 4 standard deviations


@given(
    density=st.floats(0.05, 1.0),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
    form=st.sampled_from([Unstructured(), Block(2, 2), ConstantFanIn()]),
    gradient=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_an_exchange_keeps_the_count_the_form_and_the_strongest(
    density: float, share: float, seed: int, form: Unstructured | Block | ConstantFanIn, gradient: bool
) -> None:
    rng = generator(seed)
    weight, slope = (torch.randn(8, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    begun = ErdosRenyi(density, form=form)({"w": (8, 6)}, rng)["w"]
    site = FakeSite(weight, mask=begun.mask, gradient=slope)
    after = exchange(site, share, form, by_gradient(form) if gradient else at_random(form, rng)).forward
    dropped = form.settle(int(share * begun.nnz), (8, 6))
    keep = form.top(weight.abs().reshape(-1)[begun.index], begun.nnz - dropped, begun)
    assert after.nnz == begun.nnz
    assert form.holds(after)
    assert keep <= after
    assert (after - keep).nnz == dropped  # grown and kept are disjoint


def test_an_exchange_can_shrink_and_grow_to_a_count() -> None:
    site = FakeSite([[4.0, 3.0, 2.0, 1.0, 0.0, 0.0]], mask=[[1, 1, 1, 1, 0, 0]], gradient=[[0.0, 0, 0, 0, 1.0, 2.0]])
    fewer = exchange(site, 0.5, Unstructured(), by_gradient(Unstructured()), count=2)
    more = exchange(site, 0.0, Unstructured(), by_gradient(Unstructured()), count=5)
    assert shown(fewer) == [1, 0, 0, 0, 0, 1]
    assert shown(more) == [1, 1, 1, 1, 0, 1]


def test_itop_is_a_long_interval_and_a_large_share_until_the_end() -> None:
    gradient, random = itop(), itop(grow="random", begin=ErdosRenyi(0.2))
    assert gradient == RigL(fraction=Cosine(0.5), when=Every(4000))
    assert random == SET(begin=ErdosRenyi(0.2), fraction=Cosine(0.5), when=Every(1500))


def test_exploration_begins_at_the_density_and_never_falls() -> None:
    rng = generator()
    method = SET(begin=ErdosRenyi(0.25), fraction=Constant(0.5))
    site = FakeSite(torch.randn(10, 10, generator=rng, dtype=torch.float64))
    site.install(method.start({"w": site}, rng)["w"])
    seen, explored = Topology.empty((10, 10)), []
    for step in range(1, 30):
        seen = seen | site.support.forward
        explored.append(seen.density)
        site.install(method.update({"w": site}, step, rng)["w"])
    assert explored[0] == 0.25
    assert explored == sorted(explored)
    assert 0.9 < explored[-1] <= 1


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    for cls in (SET, RigL):
        with pytest.raises(ValueError, match=rf"`fraction` of `{cls.__name__}` must be in \[0, 1\]. Got {share}"):
            cls(fraction=Constant(share))


def test_a_share_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        Constant(float("nan"))
