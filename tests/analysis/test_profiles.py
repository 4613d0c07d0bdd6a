"""Profiles of weights and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from wirings.analysis.profiles import gradient_profiles, magnitude_profiles, profile
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring


def test_a_profile_is_of_magnitudes() -> None:
    p = profile(torch.tensor([-3.0, 0.0, 1.0]), at=(0.5, 1.0))
    assert (p.n, p.zeros, p.quantiles) == (3, 1, {0.5: 1.0, 1.0: 3.0})
    assert p.mean == pytest.approx(4 / 3)
    assert p.sd == pytest.approx(np.std([3, 0, 1]))


def test_a_profile_may_look_at_connections_only() -> None:
    values = torch.arange(6.0).view(2, 3)
    assert profile(values, Topology.at((2, 3), [1, 5]), at=[1.0]).quantiles == {1.0: 5.0}
    channels_last = torch.arange(16.0).view(2, 2, 2, 2).to(memory_format=torch.channels_last)
    assert profile(channels_last, Topology.at((2, 2, 2, 2), [3]), at=[0.0]).quantiles == {0.0: 3.0}
    assert profile(values, Topology.empty((2, 3)), at=[0.5]) == profile(torch.tensor([]), at=[0.5])
    assert profile(torch.tensor([]), at=[0.5]).quantiles == {0.5: 0.0}


def test_half_precision_does_not_overflow() -> None:
    assert profile(torch.full((10,), 60_000.0, dtype=torch.float16)).mean == 60_000.0
    assert profile(torch.full((10,), 2.0, dtype=torch.bfloat16)).sd == 0.0


def test_profiles_go_by_weight() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).double()
    wiring = Wiring({"0.weight": Topology.at((2, 3), [0, 4])})
    found = magnitude_profiles(model, wiring)
    assert [(name, p.n) for name, p in found.items()] == [("0.weight", 2), ("1.weight", 2)]
    assert found["0.weight"].quantiles[1.0] == model[0].weight.detach().flatten()[[0, 4]].abs().max().item()
    assert gradient_profiles(model) == {}
    model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    assert gradient_profiles(model, wiring)["0.weight"].n == 2
    assert gradient_profiles(model)["1.weight"] == profile(model[1].weight.grad)


def test_impossible_quantiles_are_refused() -> None:
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"`at` of `profile` must be quantiles in \[0, 1\]"):
            profile(torch.ones(2), at=[q])
