"""Critical compression: by bisection and exactly, against a brute-force search."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wirings.analysis.compression import (
    collapsed,
    critical_compression,
    critical_of_scores,
    maximal_compression,
)
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.baselines import magnitude_scores
from wirings.makers.prunable import prunable
from wirings.makers.scoring import prune
from wirings.makers.synflow import synflow


def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 30), nn.ReLU(), nn.Linear(30, 5))


def test_the_maximal_compression_of_vgg_16_is_the_published_one() -> None:
    assert 10 ** maximal_compression({f"l{i}": (14_761_664 // 14,) for i in range(14)}) == pytest.approx(
        1_054_405, rel=1e-6
    )
    assert maximal_compression({"a": (10, 10), "b": (10, 10)}) == 2


def test_a_known_threshold_is_bracketed_by_the_tolerance() -> None:
    shapes = {"a": (100, 100), "b": (100, 100)}
    calls = []

    def wire(density: float) -> Wiring:
        calls.append(density)
        dies = density < 10**-1.6
        return Wiring(
            {"a": Topology.full((100, 100)), "b": Topology.empty((100, 100)) if dies else Topology.full((100, 100))}
        )

    found = critical_compression(wire, shapes)
    assert (found.exponent, found.beyond, found.collapsed) == (1.5, 1.75, ("b",))
    assert found.tried[1.5] == 0
    assert found.tried[1.75] == 1
    assert len(calls) == len(set(calls)) <= 6
    fine = critical_compression(wire, shapes, tolerance=0.125, low=1.0)
    assert (fine.exponent, fine.beyond) == (1.5, 1.625)


def test_what_never_collapses_reaches_the_maximum() -> None:
    shapes = {"a": (100, 100), "b": (100, 100)}
    found = critical_compression(lambda _: Wiring.full(shapes), shapes)
    assert (found.exponent, found.beyond, found.collapsed) == (4.0, None, ())


def test_synflow_goes_further_than_magnitude_and_reaches_the_maximum() -> None:
    net = model()
    weights = prunable(net)
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    scores = magnitude_scores(weights)
    by_size = critical_compression(lambda d: prune(lambda _: scores, shapes, d, owner="magnitude"), shapes)
    exact, first = critical_of_scores(scores)
    assert by_size.exponent <= exact < by_size.exponent + 0.25
    assert by_size.collapsed[0] == first
    by_flow = critical_compression(lambda d: synflow(net, (1, 20), d), shapes)
    assert by_flow.exponent > by_size.exponent
    assert maximal_compression(shapes) - by_flow.exponent < 0.5


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_the_exact_critical_compression_is_where_a_layer_dies(rows: list[list[int]]) -> None:
    scores = {f"l{i}": torch.tensor([row], dtype=torch.float64) + 1 for i, row in enumerate(rows)}
    shapes = {name: tuple(s.shape) for name, s in scores.items()}
    total = sum(s.numel() for s in scores.values())
    exponent, first = critical_of_scores(scores)
    needed = round(total / 10**exponent)
    alive = prune(lambda _: scores, shapes, needed / total, owner="x")
    assert collapsed(alive) == []
    if needed > 1:
        with pytest.warns(UserWarning, match=f"left no connection in `{first}`"):
            assert collapsed(prune(lambda _: scores, shapes, (needed - 1) / total, owner="x")) == [first]


def test_arguments_that_cannot_be_are_refused() -> None:
    shapes = {"a": (10, 10)}
    with pytest.raises(ValueError, match="`tolerance` of `critical_compression` must be positive"):
        critical_compression(lambda _: Wiring.full(shapes), shapes, tolerance=math.nan)
    empty = Wiring({"a": Topology.empty((10, 10))})
    with pytest.raises(ValueError, match=r"must be below collapse. `a` is empty at 0.5"):
        critical_compression(lambda _: empty, shapes, low=0.5)


@pytest.mark.long
def test_magnitude_collapses_vgg_16_at_the_published_exponent() -> None:
    from wirings.models import build

    weights = prunable(build("vgg-16", image_shape=(3, 32, 32), classes=100))
    exponent, first = critical_of_scores(magnitude_scores(weights))
    assert abs(exponent - 2.75) <= 0.25
    assert first.startswith("conv1")  # one of conv10 to conv13, the widest
