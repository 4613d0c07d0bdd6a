"""Fine-tuning: what follows from a search, and from which weights."""

from __future__ import annotations

import pytest
import torch

from wirings.makers.controls import inverted, shuffled
from wirings.methods import GemMiner
from wirings.procedures.finetuning import FineTuning
from wirings.training import Run, train_all
from wirings.training.build import network
from wirings.training.records import Record


def search(**settings: object) -> Run:
    fixed = {"model": "mlp", "data": "gaussian-blobs", "steps": 12, "batch_size": 32, "learning_rate": 1.0,
             "model_settings": {"bias": False, "init": "signed-constant"}}  # fmt: skip
    return Run(**(fixed | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    tuning = FineTuning(
        after=search(method=GemMiner(density=0.2), seed=3),
        changes={"learning_rate": 0.05, "steps": 5},
        checks={"shuffled": shuffled, "inverted": inverted},
        redrawn=True,
    )
    root = tmp_path_factory.mktemp("tuning")
    outcomes = train_all([tuning.first], root, then=tuning.then, jobs=2)
    assert all(outcome.finished for outcome in outcomes)
    assert len(outcomes) == 1 + tuning.rounds
    return {outcome.record.method: outcome.record for outcome in outcomes}


def first_values(run: Run, record: Record) -> dict[str, torch.Tensor]:
    channels, height, width = record.info["data"]["image_shape"]
    return network(run, (channels, height, width), record.info["data"]["classes"]).state_dict()


def test_a_search_is_followed_by_its_weights_and_by_its_checks(made: dict[str, Record]) -> None:
    names = ["", "-tuned", "-tuned-shuffled", "-tuned-inverted", "-tuned-redrawn"]
    assert set(made) == {f"gem-miner{name}" for name in names}
    found = made["gem-miner"].wiring
    assert made["gem-miner-tuned"].wiring == found == made["gem-miner-tuned-redrawn"].wiring
    for check in ("shuffled", "inverted"):
        changed = made[f"gem-miner-tuned-{check}"].wiring
        assert changed != found
        assert {n: t.nnz for n, t in changed.items()} == {n: t.nnz for n, t in found.items()}
    assert {r.seed for r in made.values()} == {3, 1003}
    assert all(r.run.learning_rate == 0.05 for name, r in made.items() if name != "gem-miner")


def test_fine_tuning_begins_with_the_weights_that_the_search_used(made: dict[str, Record]) -> None:
    searched, tuned = made["gem-miner"], made["gem-miner-tuned"]
    begun, drawn = first_values(tuned.run, tuned), first_values(searched.run, searched)
    for name, topology in searched.wiring.items():
        assert torch.equal(begun[name], drawn[name].masked_fill(~topology.mask, 0))
        assert not torch.equal(tuned.values()[name], begun[name])


def test_a_changed_wiring_has_weights_of_the_same_draw_and_a_redrawn_one_has_others(made: dict[str, Record]) -> None:
    searched = made["gem-miner"]
    drawn = first_values(searched.run, searched)
    for name, same in (("shuffled", True), ("inverted", True), ("redrawn", False)):
        record = made[f"gem-miner-tuned-{name}"]
        begun = first_values(record.run, record)
        assert all(torch.equal(begun[n], drawn[n]) for n in searched.wiring) is same


def test_only_its_own_search_is_followed_and_a_dense_run_is_refused(made: dict[str, Record]) -> None:
    tuning = FineTuning(after=search(method=GemMiner(density=0.3), seed=3))
    assert tuning.rounds == 1
    assert tuning.then(made["gem-miner"]) == []
    with pytest.raises(ValueError, match="`after` of `FineTuning` must have a method"):
        FineTuning(after=search())
    with pytest.raises(ValueError, match='must not say "redrawn"'):
        FineTuning(after=search(method=GemMiner()), checks={"redrawn": shuffled}, redrawn=True)
