"""Records: found fast, read lazily, and honest about what is not there."""

from __future__ import annotations

import json

import pytest
from small_run import run

from wirings.core.errors import RunError
from wirings.core.settings import to_plain
from wirings.training import Record, find, train
from wirings.training.folder import RunFolder


def test_all_runs_below_a_folder_are_found(tmp_path) -> None:
    made = [train(run(seed=s), tmp_path / folder) for s, folder in ((0, "study/a"), (1, "study/b"), (2, "."))]
    (tmp_path / "study" / "notes").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "run.json").write_text(made[0].folder.info_file.read_text())
    assert set(find(tmp_path)) == set(made)
    assert [record.seed for record in find(tmp_path)] == [2, 0, 1]
    assert find(made[0].path) == [made[0]]
    assert find(tmp_path / "nowhere") == []


def test_a_thousand_runs_are_found_and_summarised_without_building_anything(tmp_path) -> None:
    folder = RunFolder(train(run(), tmp_path / "one").path)
    info = folder.read()
    for n in range(1000):
        other = RunFolder(tmp_path / "many" / f"r{n:04d}")
        other.path.mkdir(parents=True)
        other.info_file.write_text(json.dumps(info | {"seeds": {"seed": n}, "settings": to_plain(run(seed=n))}))
    found = find(tmp_path / "many")
    assert [record.seed for record in found] == list(range(1000))
    assert {(record.method, record.group, record.test_accuracy_last, record.density) for record in found} == {
        ("dense", run().group, Record(folder.path).test_accuracy_last, 1.0)
    }


def test_no_run_is_told_in_a_sentence(tmp_path) -> None:
    with pytest.raises(RunError, match="There is no run in"):
        _ = Record(tmp_path).status


def test_a_record_prints_and_compares(tmp_path) -> None:
    record = train(run(), tmp_path)
    assert repr(record) == f"Record({run().id}, finished)"
    assert record == Record(record.path)
    assert len({record, Record(record.path)}) == 1
    assert record.id == run().id
    assert record.group == run().group
