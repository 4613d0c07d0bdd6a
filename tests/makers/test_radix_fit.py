"""RadiX-Nets found for a network: what is chosen fits, says how exactly, and is a maker like the others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wirings.analysis.paths import path_counts
from wirings.core.settings import from_plain, to_plain
from wirings.makers.radix_fit import RadixNet, radix_net_for

LENET = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
VGG = {f"conv{i}.weight": (o, n, 3, 3) for i, (o, n) in enumerate([(64, 3), (128, 64), (256, 128), (256, 256)], 1)}


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_networks_of_seed_one_are_found_again() -> None:
    plan = radix_net_for({"fc1": (300, 800), "fc2": (100, 300)}, 0.1)
    assert plan.chains[0].systems == ((10, 10),)
    assert plan.chains[0].widths == (8, 3, 1)
    assert plan.chains[0].symmetric
    assert plan.density == 0.1
    assert "fits exactly, equal path counts" in str(plan)


@pytest.mark.parametrize("density", [0.5, 0.2, 0.1, 0.05, 0.02])
@pytest.mark.parametrize("shapes", [LENET, VGG], ids=["lenet", "vgg"])
def test_the_achieved_density_is_near_the_asked_one_and_said(
    shapes: dict[str, tuple[int, ...]], density: float
) -> None:
    plan = radix_net_for(shapes, density)
    assert plan.density == pytest.approx(density, rel=0.25)
    assert plan.wiring().density == plan.density
    text = str(plan)
    assert f"asked: {density}" in text
    for name in shapes:
        assert name in text


def test_a_plan_without_trimming_keeps_its_promise_of_equal_paths() -> None:
    plan = radix_net_for({"a": (64, 64), "b": (64, 64), "c": (64, 64)}, 0.0625)
    [chain] = plan.chains
    assert chain.symmetric
    assert len(set(path_counts(chain.topologies()).flat)) == 1


def test_convolutions_are_wired_channel_by_channel() -> None:
    wiring = RadixNet(0.1)(VGG, rng())
    kernels = wiring["conv4.weight"].mask.flatten(2).sum(-1)
    assert set(kernels.flatten().tolist()) == {0, 9}
    assert wiring["conv1.weight"].is_full  # three channels are too few to be thinned out


def test_chains_break_where_units_do_not_match() -> None:
    plan = radix_net_for({"a": (64, 64), "b": (64, 64), "c": (64, 256)}, 0.1)
    assert [chain.names for chain in plan.chains] == [("a", "b"), ("c",)]


def test_a_model_is_read_by_its_prunable_weights() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    assert radix_net_for(model, 0.25).wiring().shapes == {"0.weight": (64, 64), "2.weight": (64, 64)}


def test_explicit_systems_are_taken_as_they_are_and_trimmed() -> None:
    maker = RadixNet(systems=((10, 10),), widths=(8, 3, 1), dense=("fc3",))
    wiring = maker(LENET, rng())
    assert wiring.counts == {"fc1.weight": 23_520, "fc2.weight": 3_000, "fc3.weight": 1_000}


def test_renaming_changes_positions_and_neither_counts_nor_paths() -> None:
    plain, renamed = RadixNet(0.1)(LENET, rng()), RadixNet(0.1, permuted=True)(LENET, rng())
    assert plain.counts == renamed.counts
    assert plain != renamed
    assert renamed == RadixNet(0.1, permuted=True)(LENET, rng())


def test_dense_weights_keep_everything_and_the_rest_meets_the_density() -> None:
    plan = radix_net_for(LENET, 0.15, dense=("fc2",))
    assert plan.dense == ("fc2.weight",) or "fc2.weight" in plan.dense
    assert plan.wiring()["fc2.weight"].is_full
    assert plan.density == pytest.approx(0.15, rel=0.25)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RadixNet(), "needs either `density` or `systems`"),
        (lambda: RadixNet(0.1, systems=((2, 2),), widths=(1, 1, 1)), "needs either `density` or `systems`"),
        (lambda: RadixNet(0.1, widths=(1, 1)), "belong to `systems`"),
        (lambda: RadixNet(systems=((2, 2),)), "needs `widths` beside it"),
        (lambda: RadixNet(systems=((2, 2),), widths=(1, 1)), "one more than its 2 layers"),
        (lambda: RadixNet(1.5), r"`density` of `RadixNet` must be in \(0, 1\]. Got 1.5"),
        (lambda: RadixNet(math.nan), r"must be in \(0, 1\]. Got nan"),
        (lambda: radix_net_for(LENET, 0.1, dense=("fc1",)), "leaves nothing beside the layers named by `dense`"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=text):
        make()


def test_explicit_systems_for_other_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must name 3 layers of units. Got 4"):
        RadixNet(systems=((10, 10),), widths=(8, 3, 1))(LENET, rng())


def test_settings_survive_plain_data() -> None:
    for maker in (RadixNet(0.1), RadixNet(systems=((10, 10),), widths=(8, 3, 1), permuted=True, dense=("fc3",))):
        assert from_plain("maker", to_plain(maker)) == maker
