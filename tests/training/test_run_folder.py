"""Run folders: one writer, rows that are never torn, and files that are whole or not there."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from small_run import run

from wirings.core.errors import RunError
from wirings.core.settings import to_plain
from wirings.training import checkpoints
from wirings.training.folder import (
    RunFolder,
    claimed,
    in_use,
    line,
    place_of,
    read_rows,
    remove,
    stem,
    warn_of_new_place,
)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    made = RunFolder(tmp_path / "a-run")
    made.path.mkdir()
    return made


# ---------------------------------------------------------------------- rows


def test_a_last_line_that_was_cut_short_is_left_out(folder: RunFolder) -> None:
    folder.metrics.write_text(line({"step": 1}) + line({"step": 2}) + '{"step": 3, "lo')
    assert folder.rows() == [{"step": 1}, {"step": 2}]


def test_damage_in_the_middle_is_not_passed_over(folder: RunFolder) -> None:
    folder.metrics.write_text(line({"step": 1}) + "{{{\n" + line({"step": 3}))
    with pytest.raises(RunError, match=r"metrics.jsonl is damaged in line 2"):
        folder.rows()


def test_no_file_is_no_rows(tmp_path) -> None:
    assert read_rows(tmp_path / "metrics.jsonl") == []


def test_going_back_forgets_what_came_later(folder: RunFolder) -> None:
    folder.metrics.write_text("".join(line({"step": n}) for n in (0, 8, 16)) + '{"st')
    folder.wirings.mkdir()
    for n in (0, 8, 16):
        (folder.wirings / f"{stem(n)}.safetensors").touch()
    folder.keep_rows_up_to(8)
    assert folder.metrics.read_text() == line({"step": 0}) + line({"step": 8})
    assert sorted(p.name for p in folder.wirings.iterdir()) == [f"{stem(n)}.safetensors" for n in (0, 8)]


# ---------------------------------------------------------------------- run.json and the lock


def test_a_folder_has_one_writer(folder: RunFolder) -> None:
    with claimed(folder):
        assert in_use(folder)
        with pytest.raises(RunError, match=r"a-run is in use by process \d+ on .+; wait for it"), claimed(folder):
            pass
        with pytest.raises(RunError, match="in use"):
            remove(folder)
    assert not in_use(folder)
    with claimed(folder):
        pass
    remove(folder)
    assert not folder.path.exists()


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("{", "run.json is damaged: .*Move the folder away to make the run again."),
        ("[1]", "run.json is not the record of a run."),
        ('{"format": "other"}', "run.json is not the record of a run."),
        ('{"format": "wirings.run", "version": 99, "settings": {}}', "written by a newer version of wirings"),
    ],
)
def test_a_damaged_record_is_told_in_a_sentence(folder: RunFolder, text: str, sentence: str) -> None:
    folder.info_file.write_text(text)
    with pytest.raises(RunError, match=sentence):
        folder.read()


def test_a_run_made_under_other_defaults_gets_company(tmp_path) -> None:
    mine = run()
    settings = to_plain(mine)
    settings["factor"] = 0.2  # as if the default had been another one when this was made
    old = RunFolder(tmp_path / mine.id)
    old.path.mkdir()
    old.write({"settings": settings})
    folder, info = place_of(mine, tmp_path)  # to look costs no warning
    assert (folder.path.name, info) == (f"{mine.id}-2", {})
    with pytest.warns(UserWarning, match=f"made when some defaults were others; this run is made anew in {mine.id}-2."):
        warn_of_new_place(mine, folder, info)
    folder.path.mkdir()
    folder.write({"settings": to_plain(mine)})
    assert place_of(mine, tmp_path)[0].path.name == f"{mine.id}-2"


# ---------------------------------------------------------------------- checkpoints


def values(n: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3,), float(n)), "shared": torch.ones(2)}


def test_the_two_newest_checkpoints_are_kept(tmp_path) -> None:
    for n in (5, 100, 20):
        checkpoints.save(tmp_path, n, values(n), {"n": n})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000100"]


def test_a_checkpoint_comes_back_as_it_was(tmp_path) -> None:
    checkpoints.save(tmp_path, 7, values(7), {"n": 7, "tensor": torch.arange(3)})
    step, found, state = checkpoints.newest(tmp_path)
    assert step == 7
    assert torch.equal(found["weight"], values(7)["weight"])
    assert torch.equal(state["tensor"], torch.arange(3))
    assert checkpoints.newest(tmp_path / "nowhere") is None


def _flip_a_bit(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _rename_inside_manifest(path) -> None:
    path.write_text(path.read_text().replace("model.safetensors", "../model.safetensors"))


@pytest.mark.parametrize(
    "name, harm, said",
    [
        ("model.safetensors", _flip_a_bit, "`model.safetensors` does not match its hash"),
        ("train.pt", _flip_a_bit, "`train.pt` does not match its hash"),
        ("train.pt", lambda path: path.write_bytes(path.read_bytes()[:100]), "`train.pt` does not match its hash"),
        ("train.pt", lambda path: path.unlink(), "`train.pt` is missing"),
        ("manifest.json", lambda path: path.unlink(), "`manifest.json` is missing"),
        ("manifest.json", lambda path: path.write_text("[]"), "its manifest cannot be read"),
        ("manifest.json", lambda path: path.write_text("[" * 100_000), "its manifest cannot be read"),
        ("manifest.json", _rename_inside_manifest, "which lies outside"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, name, harm, said) -> None:
    checkpoints.save(tmp_path, 1, values(1), {})
    harm(checkpoints.save(tmp_path, 2, values(2), {}) / name)
    with pytest.warns(UserWarning, match=f"step-00000002 is passed over: .*{said}"):
        step, found, _ = checkpoints.newest(tmp_path)
    assert step == 1
    assert torch.equal(found["weight"], values(1)["weight"])


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_nothing_in_a_checkpoint_is_executed(tmp_path) -> None:
    path = checkpoints.save(tmp_path, 2, values(2), {})
    (path / "train.pt").write_bytes(pickle.dumps(_Evil(), protocol=2))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["train.pt"]["sha256"] = checkpoints.sha256_of(path / "train.pt")
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="is passed over"):
        assert checkpoints.newest(tmp_path) is None


def test_what_a_killed_process_left_aside_is_cleared(tmp_path) -> None:
    left = tmp_path / ".step-00000003.999.tmp"
    left.mkdir()
    (left / "model.safetensors").touch()
    (tmp_path / ".run.json.999.tmp").touch()
    checkpoints.save(tmp_path, 4, values(4), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]


def test_an_error_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch) -> None:
    checkpoints.save(tmp_path, 1, values(1), {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(tmp_path, 2, values(2), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoints.newest(tmp_path)[0] == 1


def test_values_that_are_none_are_told_in_a_sentence(tmp_path) -> None:
    with pytest.raises(RunError, match="There are no values at"):
        checkpoints.load_values(tmp_path / "nothing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(RunError, match="is damaged or holds no values"):
        checkpoints.load_values(tmp_path / "broken.safetensors")
