"""Random and magnitude at initialisation through the interface of SNIP and SynFlow."""

from __future__ import annotations

import torch
from tiny_networks import SmallVGG, built, same_afterwards

from wirings.core.budgets import erk
from wirings.core.select import top_mask
from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.makers.baselines import MagnitudeAtInit, RandomAtInit
from wirings.makers.prunable import prunable


def test_magnitude_keeps_the_largest_weights_of_all_layers() -> None:
    model = built(SmallVGG)
    with same_afterwards(model):
        wiring = MagnitudeAtInit(0.2).of_model(model, (1, 3, 8, 8), None, stream(0, "wiring"))
    flat = torch.cat([w.detach().abs().flatten() for w in prunable(model).values()])
    kept = torch.cat([t.mask.flatten() for t in wiring.values()])
    assert torch.equal(kept, top_mask(flat, round(0.2 * flat.numel())))


def test_random_spreads_evenly_and_repeats() -> None:
    model = built(SmallVGG)
    with same_afterwards(model):
        first = RandomAtInit(0.3).of_model(model, (1, 3, 8, 8), None, stream(0, "wiring"))
        assert first == RandomAtInit(0.3).of_model(model, (1, 3, 8, 8), None, stream(0, "wiring"))
        assert first != RandomAtInit(0.3).of_model(model, (1, 3, 8, 8), None, stream(1, "wiring"))
    assert first.nnz == round(0.3 * first.numel)
    assert abs(first["conv3.weight"].density - 0.3) < 5 * (0.3 * 0.7 / 2304) ** 0.5


def test_the_shared_settings_hold_here_too() -> None:
    model = built(SmallVGG)
    maker = RandomAtInit(0.3, scope="local", budget=erk, except_=("fc",))
    wiring = maker.of_model(model, (1, 3, 8, 8), None, stream(0, "wiring"))
    assert "fc.weight" not in wiring
    assert wiring.counts == erk(wiring.shapes, 0.3)
    for settings in (maker, MagnitudeAtInit(0.1, only=("conv*",))):
        assert from_plain("maker", to_plain(settings)) == settings
