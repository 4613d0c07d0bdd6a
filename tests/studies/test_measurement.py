"""Measurements: made once, side by side, kept on disk, and named where they fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from wirings.studies.execute import collect, execute
from wirings.studies.measurement import Lab, Measurement, kept, measure_all
from wirings.studies.study import Findings, Preset, Study
from wirings.training.settings import Run


@dataclass(frozen=True, kw_only=True)
class Largest(Measurement):
    """The largest weight of a finished run."""

    kind: ClassVar[str] = "largest"
    run: str
    times: float = 1.0

    def measure(self, lab: Lab) -> dict[str, Any]:
        return {"largest": self.times * max(w.abs().max().item() for w in lab.record(self.run).values().values())}


@dataclass(frozen=True, kw_only=True)
class Broken(Measurement):
    """Never there."""

    kind: ClassVar[str] = "broken"

    def measure(self, lab: Lab) -> dict[str, Any]:
        raise ZeroDivisionError("by design")


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Broken):
    """Can be made on other machines only."""

    kind: ClassVar[str] = "elsewhere"

    def possible(self) -> bool:
        return False


def runs(preset: str, seeds: Sequence[int]) -> list[Run]:
    return [Run(model="mlp", data="gaussian-blobs", steps=4, batch_size=32, seed=seed) for seed in seeds]


def of_each(found: Findings) -> list[Measurement]:
    return [Largest(run=record.id) for record in found.records]


STUDY = Study(
    name="measuring",
    title="Measuring",
    question="Does it keep?",
    presets={"smoke": Preset(seeds=2, takes="")},
    runs=runs,
    measurements=of_each,
    tables=lambda found: [],
    figures=lambda found: [],
)


def test_a_study_measures_its_finished_runs_once(tmp_path: Path) -> None:
    events: list[str] = []
    found = execute(STUDY, None, tmp_path, jobs=2, listener=lambda event: events.append(str(event["event"])))
    assert not found.missing
    for record in found.records:
        result = found.measured(Largest(run=record.id))
        assert result is not None
        assert result["largest"] == max(w.abs().max().item() for w in record.values().values())
    assert events.count("more") == 1
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "measured").iterdir()}
    again = execute(STUDY, None, tmp_path, jobs=2)
    assert again.measurements == found.measurements
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "measured").iterdir()} == files


def test_collecting_names_what_is_not_measured_yet(tmp_path: Path) -> None:
    execute(dataclasses.replace(STUDY, measurements=lambda found: []), None, tmp_path, jobs=2)
    found = collect(STUDY, None, tmp_path)
    assert len(found.records) == 2
    assert set(found.missing.values()) == {"it is not measured yet"}
    assert found.measured(Largest(run=found.records[0].id)) is None


def test_one_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    both = dataclasses.replace(STUDY, measurements=lambda found: [Broken(), *of_each(found)])
    found = execute(both, None, tmp_path, seeds=1, jobs=1)
    assert found.missing == {Broken().id: "ZeroDivisionError: by design"}
    assert len(found.measurements) == 1


def test_its_identity_is_its_fields() -> None:
    assert Largest(run="a").id == Largest(run="a").id != Largest(run="b").id
    assert Largest(run="a", times=2.0).settings == {"run": "a", "times": 2.0}
    with pytest.raises(TypeError, match="`kind` of `Shouting` must be lower-case letters"):

        class Shouting(Measurement):
            kind = "LOUD"

            def measure(self, lab: Lab) -> dict[str, Any]:
                return {}


def test_a_file_that_was_cut_short_counts_as_not_measured(tmp_path: Path) -> None:
    mine = Broken()
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / f"{mine.id}.json").write_text('{"result": ')
    assert kept(mine, tmp_path) is None
    assert measure_all([mine], Lab(root=tmp_path)) == {mine.id: "ZeroDivisionError: by design"}


def test_what_this_machine_cannot_measure_is_not_missed_and_is_told_where_another_kept_it(tmp_path: Path) -> None:
    there = dataclasses.replace(STUDY, measurements=lambda found: [Elsewhere()])
    assert not execute(there, None, tmp_path, seeds=1, jobs=1).missing
    (tmp_path / "measured").mkdir(exist_ok=True)
    (tmp_path / "measured" / f"{Elsewhere().id}.json").write_text('{"result": {"n": 1}}')
    assert collect(there, None, tmp_path, seeds=1).measured(Elsewhere()) == {"n": 1}
