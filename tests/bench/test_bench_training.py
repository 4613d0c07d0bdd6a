"""``wirings bench training``: who takes part, how recipes are chosen, and one tiny comparison in fresh processes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from wirings.bench import training
from wirings.bench.result import markdown, table
from wirings.bench.training import PRESETS, QUICK, RUNS, Race, contenders, in_fresh_process, run
from wirings.core.errors import RunError, SettingsError
from wirings.makers.random import ErdosRenyi
from wirings.methods import RigL
from wirings.training import Run
from wirings.training.optimizers import SGD


def test_contenders_differ_in_how_they_run_alone() -> None:
    found = contenders(RUNS["resnet20"])
    assert list(found) == ["dense", "masked", "truly sparse", "small-dense"]
    narrow = contenders(RUNS["resnet20"], bf16=True)
    assert {name: narrow[name] for name in found} == found
    for name in ("dense", "truly sparse"):
        twin = narrow[f"{name}, bf16"]
        assert twin.autocast == "bfloat16"
        assert dataclasses.replace(twin, autocast="none", channels_last=False) == found[name]
    masked, sparse = found["masked"], found["truly sparse"]
    assert dataclasses.replace(sparse, execution="masked") == masked
    assert found["dense"].method is None
    assert found["small-dense"].small_dense == masked.method.begin.density == 0.05
    assert {(one.epochs, one.optimizer, one.augment) for one in found.values()} == {
        (3, masked.optimizer, masked.augment)
    }


def test_every_preset_is_a_run_that_goes_to_toml() -> None:
    assert set(PRESETS) == {*RUNS, "time-to-accuracy"}
    for one in RUNS.values():
        assert Run.from_toml(one.to_toml()) == one
    with pytest.raises(SettingsError, match=r"`--preset` knows no 'mnst'. Did you mean 'mnist'\?"):
        run(preset="mnst")


TINY = dataclasses.replace(
    QUICK, steps=4, model="mlp", model_settings={"hidden": [16]}, method=RigL(begin=ErdosRenyi(0.3))
)


def test_a_run_is_compared_several_ways(monkeypatch) -> None:
    monkeypatch.setattr(training, "in_fresh_process", training.made)
    result = run(masked=TINY, rounds=1)
    assert json.loads(json.dumps(result)) == result
    assert result["bench"] == "training-mnist"
    rows = {row["contender"]: row for row in result["cases"][0]["rows"]}
    assert list(rows) == ["dense", "masked", "truly sparse", "small-dense", "dense, bf16", "truly sparse, bf16"]
    assert [row["density"] is None for row in rows.values()] == [True, False, False, False, True, False]
    assert rows["dense"]["ratio"] == 1
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["peak_mb"] > 50
        assert row["runs"][0]["seconds_to_end"] < row["runs"][0]["seconds"]
    one, other = rows["masked"]["runs"][0], rows["truly sparse"]["runs"][0]
    assert one["connections"] == other["connections"]
    assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.01)
    assert one["training_flops"] == other["training_flops"]
    heads, _ = table(result)
    assert {"test accuracy (%)", "seconds", "peak MB"} <= set(heads)
    assert "ms (median)" not in heads
    assert "truly sparse" in markdown(result)


def test_a_fresh_process_tells_what_a_run_took() -> None:
    (told,) = in_fresh_process([dataclasses.replace(TINY, execution="sparse", seed=3)])
    assert (told["seed"], round(told["density"], 2)) == (3, 0.3)
    assert 0 < told["seconds_to_end"] < told["seconds"]
    assert 0 <= told["above_mb"] < told["peak_mb"]


def test_a_run_that_diverges_loses_a_sweep_and_ends_a_comparison(monkeypatch) -> None:
    wild = dataclasses.replace(TINY, learning_rate=1e6, steps=30)
    (told,) = training.made([wild])
    assert (told["held_out"], told["accuracy"]) == (0.0, 0.0)
    monkeypatch.setattr(training, "in_fresh_process", training.made)
    with pytest.raises(RunError, match=r"benchmark of `dense` with seed 0 diverged: The loss of step \d+ was"):
        run(masked=wild, rounds=1)


def test_a_death_is_told_in_a_sentence() -> None:
    with pytest.raises(RunError, match=r"benchmark of `dense` on mlp died: .*never-heard-of"):
        in_fresh_process([dataclasses.replace(QUICK, method=None, model="mlp", data="never-heard-of")])


def made_up(runs: list[Run]) -> list[dict[str, Any]]:
    """As if a dense network needed 20 steps at rate 0.1, a sparse one of 10 % forty and half the time a step."""
    found = []
    for one in runs:
        sparse = one.method is not None
        enough = (one.steps or 0) >= (40 if sparse else 20) and one.learning_rate == 0.1
        if sparse and one.method.begin.density < 0.1:
            enough = False
        each = 0.2 if sparse else 1.0
        seconds = each * (one.steps or 0)
        found.append(
            {"held_out": 0.99 if enough else 0.9, "accuracy": 0.985, "seconds_to_end": seconds, "density": 0.1}
        )
    return found


def test_time_to_accuracy_takes_the_shortest_recipe_that_reaches_the_target(monkeypatch) -> None:
    asked: list[Run] = []
    monkeypatch.setattr(training, "in_fresh_process", lambda runs: asked.extend(runs) or made_up(runs))
    race = Race(
        run=Run(data="mnist-mini"),
        target=0.98,
        densities=(0.1, 0.05),
        lengths=(10, 20, 40),
        recipes=((SGD(), 0.05), (SGD(), 0.1)),
        seeds=(100, 101),
    )
    result = run(preset="time-to-accuracy", race=race, rounds=2)
    case = result["cases"][0]
    rows = {row["contender"]: row for row in case["rows"]}
    assert list(rows) == ["dense", "truly sparse, 90 %"]
    assert (rows["dense"]["steps"], rows["truly sparse, 90 %"]["steps"]) == (20, 40)
    assert rows["truly sparse, 90 %"]["ratio"] == pytest.approx(20 / 8)
    assert rows["dense"]["reached"] == "2 of 2"
    assert case["sweep"]["truly sparse, 95 %"]["steps"] is None
    measured = [one for one in asked if one.seed < 100]
    assert {one.seed for one in measured} == {0, 1}
    assert all(one.execution == "sparse" for one in asked if one.method is not None)


def test_a_target_out_of_reach_is_told(monkeypatch) -> None:
    monkeypatch.setattr(training, "in_fresh_process", made_up)
    race = Race(run=QUICK, target=0.999, densities=(0.1,), lengths=(10,), recipes=((SGD(), 0.1),), seeds=(100,))
    with pytest.raises(RunError, match=r"No run of the sweep reached 99.9 % on held-out images; allow longer ones."):
        run(preset="time-to-accuracy", race=race)
