"""The cache: decoded once, mapped, whole or absent, whoever writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made import IDX_NAMES, idx_files, source_of, write

import wirings
from wirings.core.cache import cache_folder
from wirings.core.errors import DataError
from wirings.data import cache, idx
from wirings.data.image_data import Arrays, described
from wirings.data.load import from_source
from wirings.data.places import roots


def small() -> Arrays:
    return Arrays(
        np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4),
        np.array([0, 1]),
        np.ones((1, 1, 3, 4), np.uint8),
        np.array([1]),
    )


def test_what_was_decoded_once_is_mapped_afterwards(tmp_path, monkeypatch):
    files = idx_files()
    made = source_of(files, "idx")
    write(files, tmp_path / "made", ".gz")
    first = from_source(made, [tmp_path])
    monkeypatch.setattr(idx, "decode", lambda _: pytest.fail("it was decoded again"))
    again = from_source(made, [tmp_path])
    assert isinstance(again.train_images, np.memmap)
    assert np.array_equal(first.train_images, again.train_images)
    assert (first.mean, first.std, first.sha256) == (again.mean, again.std, again.sha256)


def test_torch_takes_the_map_without_a_copy_and_writing_stays_in_the_process(own_cache):
    one, two = (cache.cached("made", "k" * 64, 2, small) for _ in range(2))
    shared = torch.from_numpy(one.train_images)
    shared[0, 0, 0, 0] = 99
    assert one.train_images[0, 0, 0, 0] == 99
    assert two.train_images[0, 0, 0, 0] == 0


def test_changed_files_are_never_served_from_an_old_cache(tmp_path):
    files = idx_files()
    made = source_of(files, "idx")
    write(files, tmp_path / "made")
    from_source(made, [tmp_path])
    raw = bytearray(files[IDX_NAMES[2]])
    raw[-1] ^= 1
    (tmp_path / "made" / IDX_NAMES[2]).write_bytes(bytes(raw))
    with pytest.raises(DataError, match="is damaged or not the published file"):
        from_source(made, [tmp_path])


def test_a_failed_decoding_leaves_nothing_behind(own_cache, tmp_path):
    files = idx_files()
    write({**files, IDX_NAMES[3]: b"broken"}, tmp_path / "made")
    with pytest.raises(DataError):
        from_source(source_of(files, "idx"), [tmp_path])
    assert [p.name for p in (own_cache / "decoded").iterdir() if not p.name.endswith(".lock")] == []


@pytest.mark.parametrize("harm", ["truncate", "remove", "about", "swap"])
def test_a_damaged_cache_is_made_anew(own_cache, harm):
    whole = cache.cached("made", "k" * 64, 2, small)
    expected = whole.train_images.copy()
    (place,) = (own_cache / "decoded").glob("made-*")
    if harm == "truncate":
        path = place / "train_images.npy"
        path.write_bytes(path.read_bytes()[:-5])
    elif harm == "remove":
        (place / "test_labels.npy").unlink()
    elif harm == "about":
        (place / "about.json").write_text("{")
    else:
        np.save(place / "train_images.npy", np.zeros((1, 1, 3, 4), np.uint8))
    calls = []
    again = cache.cached("made", "k" * 64, 2, lambda: calls.append(1) or small())
    assert calls == [1]
    assert np.array_equal(again.train_images, expected)
    assert sorted(p.name for p in place.iterdir()) == sorted(
        [*(f"{part}.npy" for part in Arrays._fields), "about.json"]
    )


def test_who_comes_second_leaves_the_first_ones_work(own_cache):
    data = described("made", small(), 2)
    place = own_cache / "decoded" / "made-k-1"
    place.parent.mkdir(parents=True)
    cache._write(data, place)
    assert json.loads((place / "about.json").read_text())["sha256"] == data.sha256
    inode = (place / "train_images.npy").stat().st_ino
    cache._write(data, place)
    assert (place / "train_images.npy").stat().st_ino == inode
    assert [p.name for p in place.parent.iterdir()] == ["made-k-1"]


def test_two_processes_that_decode_at_once_both_get_the_same_whole_set(tmp_path, own_cache):
    files = idx_files()
    made = source_of(files, "idx")
    write(files, tmp_path / "made", ".xz")
    program = tmp_path / "program.py"
    program.write_text(
        "import contextlib, sys, time\n"
        "from pathlib import Path\n"
        "from wirings.data import cache, idx\n"
        "from wirings.data.load import from_source\n"
        "from wirings.data.sources import Download, File, Source\n"
        f"source = {made!r}\n"
        "decode = idx.decode\n"
        "def slow(found):\n"
        "    time.sleep(0.5)\n"
        "    return decode(found)\n"
        "idx.decode = slow\n"
        "if sys.argv[1] == 'no-lock':\n"
        "    cache._locked = lambda _: contextlib.nullcontext()\n"
        f"print(from_source(source, [Path({str(tmp_path)!r})]).sha256)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(wirings.__file__).parents[1])}
    for locking in ("no-lock", "lock"):
        env["WIRINGS_CACHE"] = str(tmp_path / locking)
        both = [
            subprocess.Popen([sys.executable, program, locking], env=env, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [process.communicate(timeout=60)[0].strip() for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert said[0] == said[1] != ""
        names = [p.name for p in (tmp_path / locking / "decoded").iterdir() if not p.name.endswith(".lock")]
        assert len(names) == 1
        assert names[0].startswith("made-")


def test_a_cache_that_cannot_be_written_costs_a_warning_and_not_the_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="`made` cannot be cached in .*; set WIRINGS_CACHE to a folder"):
        got = cache.cached("made", "k" * 64, 2, small)
    assert np.array_equal(got.train_images, small().train_images)


def test_the_cache_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("WIRINGS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "wirings"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "wirings"


def test_roots_are_the_argument_or_the_environment_and_the_downloads(monkeypatch, tmp_path, own_cache):
    assert roots(tmp_path) == (tmp_path,)
    assert roots() == (own_cache / "downloads",)
    monkeypatch.setenv("WIRINGS_DATA", str(tmp_path / "named"))
    assert roots() == (tmp_path / "named", own_cache / "downloads")
