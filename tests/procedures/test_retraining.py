"""Retraining: what follows from a run or a lottery, with which seeds and under which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirings.makers.controls import shuffled
from wirings.makers.random import ErdosRenyi
from wirings.methods import RigL, Static
from wirings.procedures import Lottery, Retraining
from wirings.training import Run, train_all


def tiny(**settings: object) -> Run:
    return Run(model="mlp", data="gaussian-blobs", steps=6, batch_size=32, **settings)  # type: ignore[arg-type]


def test_a_run_is_followed_by_its_wiring_from_fresh_values_and_by_its_controls(tmp_path: Path) -> None:
    both = Retraining(
        after=tiny(method=RigL(begin=ErdosRenyi(0.3)), seed=3),
        controls={"structure": None, "shuffled": shuffled},
        changes={"epochs": 7},
    )
    assert both.rounds == 2
    made = {o.record.method: o.record for o in train_all([both.first], tmp_path, then=both.then, jobs=2)}
    assert set(made) == {"rigl", "rigl-structure", "rigl-shuffled"}
    found, again, moved = made["rigl"], made["rigl-structure"], made["rigl-shuffled"]
    assert again.seed == moved.seed == 1003
    assert again.run.epochs == 7
    assert again.wiring == found.wiring != moved.wiring
    assert {n: t.nnz for n, t in moved.wiring.items()} == {n: t.nnz for n, t in found.wiring.items()}


def test_every_ticket_of_a_lottery_is_trained_again_unless_it_is_not_wanted(tmp_path: Path) -> None:
    play = Lottery(run=tiny(seed=1), rounds=2)
    both = Retraining(after=play, wanted=lambda record: record.density < 0.7)
    assert both.rounds == 4
    made = [o.record for o in train_all([both.first], tmp_path, then=both.then, jobs=2)]
    assert sorted(r.method for r in made) == ["dense", "lottery", "lottery", "lottery-structure"]
    again = next(r for r in made if r.method == "lottery-structure")
    assert again.density == pytest.approx(0.64, abs=0.01)
    assert again.run.values is None


def test_a_dense_run_has_no_wiring_to_train_again() -> None:
    with pytest.raises(ValueError, match="`after` of `Retraining` must have a method"):
        Retraining(after=tiny())
    assert Retraining(after=tiny(method=Static(begin=ErdosRenyi(0.5)))).rounds == 1
