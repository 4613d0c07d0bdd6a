"""Gradual magnitude pruning, sticky and recomputed, and the one-time jump."""

from __future__ import annotations

import pytest
import torch

from wirings.core.forms import NM
from wirings.core.schedules import Constant, Cubic, Every
from wirings.core.settings import resolved
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.methods import GradualMagnitude, one_time, thresholds
from wirings.testing import FakeSite

RNG = torch.Generator()


def test_it_begins_dense_and_follows_the_papers_cubic() -> None:
    method = GradualMagnitude(density=Cubic(final=0.01, begin=0, until=100), when=Every(10))
    site = FakeSite(torch.randn(100, 100, generator=torch.Generator().manual_seed(0)))
    site.install(method.start({"w": site}, RNG)["w"])
    assert site.support.forward.is_full
    for step, sparsity in ((10, 0.2683), (50, 0.8663), (100, 0.99), (200, 0.99)):
        site.install(method.update({"w": site}, step, RNG)["w"])
        assert abs(1 - site.support.forward.density - sparsity) < 1.01e-4


def test_what_is_gone_stays_gone() -> None:
    site = FakeSite([[9.0, 5.0, 1.0, 7.0]], mask=[[1, 1, 1, 0]], remembered=True)
    after = GradualMagnitude(density=Constant(0.5)).update({"w": site}, 100, RNG)["w"]
    assert after.forward.mask.int().tolist() == [[1, 1, 0, 0]]


def test_recomputed_a_masked_weight_comes_back_once_others_have_shrunk() -> None:
    method = GradualMagnitude(density=Constant(0.5), sticky=False)
    site = FakeSite([[9.0, 5.0, 1.0, 7.0]], mask=[[1, 1, 1, 0]], remembered=True)
    after = method.update({"w": site}, 100, RNG)["w"]
    assert after.forward.mask.int().tolist() == [[1, 0, 0, 1]]
    assert after.is_plain  # no gradient reaches what is masked
    assert method.remembers()
    assert not GradualMagnitude().remembers()


def test_each_weight_has_its_own_threshold_unless_the_network_ranks() -> None:
    sites = {"a": FakeSite([[9.0, 8.0, 7.0, 6.0]]), "b": FakeSite([[1.0, 2.0, 3.0, 6.5]])}
    apart = GradualMagnitude(density=Constant(0.5)).update(sites, 100, RNG)
    together = GradualMagnitude(density=Constant(0.5), scope="global").update(sites, 100, RNG)
    assert {n: s.forward.nnz for n, s in apart.items()} == {"a": 2, "b": 2}
    assert {n: s.forward.mask.int().tolist() for n, s in together.items()} == {"a": [[1, 1, 1, 0]], "b": [[0, 0, 0, 1]]}


def test_thresholds_are_the_smallest_weights_in_use() -> None:
    weights = {"a": torch.tensor([[9.0, -8.0, 7.0]]), "b": torch.tensor([[1.0, -2.0, 3.0]])}
    wiring = Wiring({"a": Topology.at((1, 3), [0, 1]), "b": Topology.at((1, 3), [1, 2])})
    assert thresholds(weights, wiring) == {"a": 8.0, "b": 2.0}
    assert thresholds(weights, Wiring({"a": Topology.empty((1, 3)), "b": wiring["b"]})) == {"b": 2.0}


@pytest.mark.parametrize(("at", "steps"), [(50, None), (0.5, 100)])
def test_one_time_pruning_is_due_once(at: int | float, steps: int | None) -> None:
    method = resolved(one_time(0.25, at), steps)
    assert [t for t in range(1, 200) if method.due(t)] == [50]
    site = FakeSite([[4.0, -3.0, 2.0, 1.0]])
    after = method.update({"w": site}, 50, RNG)["w"]
    assert after.forward.mask.int().tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("density", [0.0, 1.5, -1.0])
def test_a_density_outside_0_and_1_is_refused_before_training(density: float) -> None:
    with pytest.raises(ValueError, match=r"`density` of `GradualMagnitude` must be in \(0, 1\]. Got"):
        GradualMagnitude(density=Cubic(final=density))
    with pytest.raises(ValueError, match=r"`density` of `GradualMagnitude` must be in \(0, 1\]. Got"):
        one_time(density, 0.5)


def test_the_network_ranks_single_connections_only() -> None:
    with pytest.raises(ValueError, match=r"must be Unstructured\(\) with scope=\"global\". Got NM\(n=2, m=4\)"):
        GradualMagnitude(form=NM(2, 4), scope="global")
