"""Magnitude wirings: global, by layer, and LAMP."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wirings.core.budgets import Uniform, erk
from wirings.core.errors import WiringError
from wirings.core.forms import NM
from wirings.core.scores import lamp as lamp_scores
from wirings.makers.magnitude import LAMP, Magnitude, lamp, magnitude
from wirings.makers.maker import WeightMaker
from wirings.methods.method import planned
from wirings.methods.static import Static

WEIGHTS = {"a": torch.tensor([[3.0, -1.0, 0.5], [-4.0, 2.0, 0.1]]), "b": torch.tensor([[0.9], [-0.2]])}


def kept(wiring: object) -> dict[str, list[int]]:
    return {name: t.index.tolist() for name, t in wiring.items()}  # type: ignore[attr-defined]


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 2)
    return nn.Sequential(*layers).double()


def test_a_global_ranking_lets_layers_differ() -> None:
    assert kept(magnitude(WEIGHTS, 0.5)) == {"a": [0, 1, 3, 4], "b": []}


def test_a_ranking_by_layer_gives_each_its_share() -> None:
    assert kept(magnitude(WEIGHTS, 0.5, scope="local")) == {"a": [0, 3, 4], "b": [0]}
    counts = magnitude(WEIGHTS, 0.5, scope="local", budget=Uniform(dense=("b",))).counts
    assert counts == {"a": 3, "b": 2}


def test_lamp_settles_the_layers_by_itself() -> None:
    # a: squares 9 1 .25 16 4 .01 -> 16/16, 9/25, 4/29, ...; b: .81/.81, .04/.85
    assert kept(lamp(WEIGHTS, 0.25)) == {"a": [3], "b": [0]}
    assert kept(lamp(WEIGHTS, 3 / 8)) == {"a": [0, 3], "b": [0]}
    weights = {name: p.detach() for name, p in model().named_parameters() if p.ndim > 1}
    wiring = lamp(weights, 0.1)
    floor = min(lamp_scores(weights[name])[t.mask].min() for name, t in wiring.items())
    assert all((lamp_scores(weights[name])[~t.mask] <= floor).all() for name, t in wiring.items())
    assert all(t.nnz for t in wiring.values())  # the largest of a layer scores 1: none is emptied first


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 1.0])
def test_counts_are_exact_and_the_model_is_left_alone(density: float) -> None:
    net = model()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    state = torch.get_rng_state()
    for wiring in (magnitude(net, density), magnitude(net, density, scope="local", budget=erk), lamp(net, density)):
        assert list(wiring) == ["0.weight", "3.weight", "4.weight"]
        assert wiring.nnz == round(density * wiring.numel)
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_excepted_is_left_out() -> None:
    assert list(magnitude(model(), 0.5, except_=("0",))) == ["3.weight", "4.weight"]
    assert list(lamp(WEIGHTS, 0.5, except_=["a"])) == ["b"]
    for weights in (WEIGHTS, model()):
        with pytest.raises(WiringError, match=r"`except_` must name (prunable )?weights. 'fc' fits none of"):
            magnitude(weights, 0.5, except_=("fc",))
        with pytest.raises(TypeError, match=r"must be a sequence of patterns. Got the string 'a'"):
            lamp(weights, 0.5, except_="a")


def test_channels_last_weights_are_ranked_alike() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    there = weight.to(memory_format=torch.channels_last)
    for make in (magnitude, lamp):
        assert make({"w": there}, 0.3) == make({"w": weight}, 0.3)


def test_a_form_is_kept_by_layer() -> None:
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    wiring = magnitude({"w": weight}, 0.5, scope="local", form=NM(2, 4))
    assert NM(2, 4).holds(wiring["w"])
    assert wiring.density == 0.5


def test_a_method_can_begin_with_either() -> None:
    class Fixed:
        def __init__(self, weight: torch.Tensor) -> None:
            self.trained, self.shape = weight, tuple(weight.shape)

        def weight(self, on: object) -> torch.Tensor:
            return self.trained.flatten()

    sites = {name: Fixed(weight) for name, weight in WEIGHTS.items()}
    for maker, wiring in ((Magnitude(0.5), magnitude(WEIGHTS, 0.5)), (LAMP(0.5), lamp(WEIGHTS, 0.5))):
        assert isinstance(maker, WeightMaker)
        method = Static(begin=maker)
        supports = planned(method.begin, sites, torch.Generator(), method.form)  # type: ignore[arg-type]
        assert {name: s.forward for name, s in supports.items()} == dict(wiring)
        assert all(s.is_plain for s in supports.values())


def test_contradictions_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"`scope` of `Magnitude` must be 'global' or 'local'. Got 'row'"):
        magnitude(WEIGHTS, 0.5, scope="row")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`budget` of `Magnitude` needs scope='local'"):
        magnitude(WEIGHTS, 0.5, budget=erk)
    with pytest.raises(ValueError, match=r"`form` of `Magnitude` needs scope='local'"):
        Magnitude(0.5, form=NM(2, 4))
    with pytest.raises(ValueError, match=r"cannot rank NaN"):
        magnitude({"a": torch.tensor([1.0, math.nan])}, 0.5)
    for value in (0, 1.5, math.nan, True, "0.5"):
        for make, owner in ((magnitude, "Magnitude"), (lamp, "LAMP")):
            with pytest.raises(ValueError, match=rf"`density` of `{owner}` must be in \(0, 1\]"):
                make(WEIGHTS, value)  # type: ignore[arg-type]
