"""Masks by criteria on weights before and after training, and what becomes of their values (Zhou et al. 2019)."""

from __future__ import annotations

import pytest
import torch

from wirings.core.budgets import Explicit
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.supermask import CRITERIA, supermask, treated

BEFORE = {"w": torch.tensor([[1.0, -2.0, 3.0, -0.1, 0.5]], dtype=torch.float64)}
AFTER = {"w": torch.tensor([[1.3, 2.5, -0.2, -0.3, 4.0]], dtype=torch.float64)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("criterion", "kept"),
    [
        ("large_final", [1, 4]),
        ("small_final", [2, 3]),
        ("large_init", [1, 2]),
        ("small_init", [3, 4]),
        ("large_init_large_final", [0, 1]),
        ("small_init_small_final", [0, 3]),
        ("magnitude_increase", [1, 4]),
        ("movement", [1, 4]),
        ("large_final_same_sign", [0, 4]),
        ("movement_same_sign", [0, 4]),
    ],
)
def test_a_criterion_keeps_the_highest(criterion: str, kept: list[int]) -> None:
    wiring = supermask(BEFORE, AFTER, 0.4, criterion=criterion, rng=generator())
    assert wiring["w"].index.tolist() == kept


def test_random_masks_differ_by_seed_alone() -> None:
    masks = [supermask(BEFORE, AFTER, 0.4, criterion="random", rng=generator(seed)) for seed in (0, 0, 1, 2, 3)]
    assert masks[0] == masks[1]
    assert len({mask.fingerprint for mask in masks}) > 1


def test_ties_are_broken_at_random() -> None:
    equal = {"w": torch.ones(1, 20)}
    masks = {supermask(equal, equal, 0.5, rng=generator(seed)).fingerprint for seed in range(5)}
    assert len(masks) == 5


def test_each_weight_has_its_own_share() -> None:
    before = {"fc1": torch.randn(10, 10, generator=generator()), "out": torch.randn(2, 10, generator=generator(1))}
    wiring = supermask(before, before, 0.2, budget=Explicit(densities={"out": 0.5}), rng=generator())
    assert wiring.counts == {"fc1": 20, "out": 10}


WIRING = Wiring({"w": Topology.at((1, 5), [0, 1])})


@pytest.mark.parametrize(
    ("cut", "outside"), [("zero", [0.0, 0.0, 0.0]), ("freeze", [3.0, -0.1, 0.5]), ("zero_if_shrunk", [0.0, -0.1, 0.5])]
)
def test_what_is_cut_is_zero_or_frozen(cut: str, outside: list[float]) -> None:
    values = treated(WIRING, BEFORE, AFTER, cut=cut, rng=generator())["w"]  # type: ignore[arg-type]
    assert values[0].tolist() == [1.0, -2.0, *outside]


def test_what_is_kept_is_rewound_trained_or_drawn_anew() -> None:
    fresh = {"w": torch.tensor([[-7.0, 8.0, 9.0, 9.0, 9.0]], dtype=torch.float64)}
    take = lambda **how: treated(WIRING, BEFORE, AFTER, rng=generator(), fresh=fresh, **how)["w"][0, :2].tolist()
    assert take() == [1.0, -2.0]
    assert take(kept="final") == [1.3, 2.5]
    assert take(kept="reinit") == [7.0, -8.0]  # with the signs that they had
    assert take(kept="reinit", keep_sign=False) == [-7.0, 8.0]


def test_reshuffling_keeps_the_kept_values() -> None:
    before = {"w": torch.randn(10, 10, generator=generator(), dtype=torch.float64)}
    wiring = supermask(before, before, 0.5, rng=generator())
    mask = wiring["w"].mask
    plain = treated(wiring, before, before, kept="reshuffle", keep_sign=False, rng=generator(1))["w"]
    signed = treated(wiring, before, before, kept="reshuffle", rng=generator(1))["w"]
    assert not torch.equal(plain, before["w"] * mask)
    assert torch.equal(plain[mask].sort().values, before["w"][mask].sort().values)
    assert torch.equal(signed[mask].sign(), before["w"][mask].sign())
    assert torch.equal(signed.abs(), plain.abs())


def test_constants_have_the_layers_spread_and_its_signs() -> None:
    before = {"w": torch.randn(10, 10, generator=generator(), dtype=torch.float64)}
    wiring = supermask(before, before, 0.5, rng=generator())
    mask, spread = wiring["w"].mask, before["w"].std()
    signed = treated(wiring, before, before, kept="constant", rng=generator(1))["w"]
    drawn = treated(wiring, before, before, kept="constant", keep_sign=False, rng=generator(1))["w"]
    assert torch.equal(signed[mask], spread * before["w"][mask].sign())
    assert torch.equal(drawn[mask].abs(), spread.expand(50))
    assert not torch.equal(drawn, signed)
    assert not signed[~mask].any()


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(
        ValueError, match=r"`criterion` of `supermask` must be a known one. Got 'large_fnal'. Did you mean"
    ):
        supermask(BEFORE, AFTER, 0.4, criterion="large_fnal", rng=generator())
    with pytest.raises(ValueError, match=r"`density` of `supermask` must be in \(0, 1\]. Got nan"):
        supermask(BEFORE, AFTER, float("nan"), rng=generator())
    with pytest.raises(ValueError, match="must hold the same weights"):
        supermask(BEFORE, {"v": AFTER["w"]}, 0.4, rng=generator())
    with pytest.raises(ValueError, match='must hold newly drawn weights with kept="reinit"'):
        treated(WIRING, BEFORE, AFTER, kept="reinit", rng=generator())


def test_every_criterion_is_tried() -> None:
    assert len(CRITERIA) == 9
