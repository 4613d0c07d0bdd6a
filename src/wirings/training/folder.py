"""A run on disk: all its paths in one class, and the one writer that may change them.

``<root>/<run id>/``

    run.json         status, settings, versions, code, machine, data, seeds, times, energy, results; whole or not there
    config.toml      what to run to have it again
    lock             held while somebody writes, with process and host
    metrics.jsonl    one row an epoch; the same bytes for the same run, however often it was interrupted
    events.jsonl     what happened when
    log.txt          what the run printed, where it ran beside others
    inputs/          the wirings and values that the settings name, under the names of their content
    begin.safetensors  the wiring that the run found on its own network before its first step, where it began so
    wirings/         step-00000100.safetensors: the wiring after that step
    snapshots/       step-00000100.safetensors: all values after that step
    checkpoints/     step-00000100/: everything to go on from there
    final/           model.safetensors, wiring.safetensors, manifest.json
    tickets/         wirings and values that procedures made of this run, for the next ones to begin with
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from wirings.core.errors import RunError, reason_of
from wirings.core.files import write_text, written_aside
from wirings.core.settings import to_plain
from wirings.training.settings import Run, identity

FORMAT = "wirings.run"
VERSION = 1

FINISHED = "finished"
DIVERGED = "diverged"
SETTLED = (FINISHED, DIVERGED)
"""Statuses of runs that are never made again; the others (running, interrupted, failed) go on where they stopped."""


class RunFolder:
    """The paths of one run, and how its small files are read and written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info_file = self.path / "run.json"
        self.config = self.path / "config.toml"
        self.lock = self.path / "lock"
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / "events.jsonl"
        self.log = self.path / "log.txt"
        self.inputs = self.path / "inputs"
        self.begin = self.path / "begin.safetensors"
        self.wirings = self.path / "wirings"
        self.snapshots = self.path / "snapshots"
        self.checkpoints = self.path / "checkpoints"
        self.final = self.path / "final"

    def read(self) -> dict[str, Any]:
        """What ``run.json`` says; empty where there is none yet."""
        try:
            text = self.info_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.info_file} cannot be read: {reason_of(error)}.") from error
        try:
            info = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise RunError(
                f"{self.info_file} is damaged: {error}. Move the folder away to make the run again."
            ) from error
        if not isinstance(info, dict) or info.get("format") != FORMAT or not isinstance(info.get("settings"), dict):
            raise RunError(f"{self.info_file} is not the record of a run. Move the folder away to make the run there.")
        if not isinstance(info.get("version"), int) or info["version"] > VERSION:
            raise RunError(f"{self.info_file} was written by a newer version of wirings; upgrade to read it.")
        return info

    def write(self, info: Mapping[str, Any]) -> None:
        """Replace ``run.json``, whole or not at all."""
        write_text(self.info_file, json.dumps({"format": FORMAT, "version": VERSION, **info}, indent=1) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``; a last line that was cut short is left out."""
        return read_rows(self.metrics)

    def keep_rows_up_to(self, step: int) -> None:
        """Forget what was recorded after ``step``, so that no step appears twice when the run goes on from there."""
        rows = [row for row in self.rows() if row["step"] <= step]
        write_text(self.metrics, "".join(line(row) for row in rows))
        for folder in (self.wirings, self.snapshots):
            for file in folder.glob("step-*.safetensors"):
                if step_of(file) > step:
                    file.unlink()

    def bring(self, plain: object) -> None:
        """Copy the files that plain settings name by path and content to ``inputs``: the folder stands for itself."""
        for named in _files_in(plain):
            source, target = Path(named["path"]), self.inputs / _name_of(named)
            if target.exists():
                continue
            with written_aside(target) as aside:
                shutil.copyfile(source, aside)

    def at_home(self, plain: Any) -> Any:
        """The same settings with the copies in ``inputs`` named instead of the files that were read then."""
        if isinstance(plain, dict):
            plain = {key: self.at_home(value) for key, value in plain.items()}
            if _is_file(plain) and (copy := self.inputs / _name_of(plain)).exists():
                plain["path"] = str(copy)
            return plain
        return [self.at_home(value) for value in plain] if isinstance(plain, list) else plain

    def note(self, event: str, **details: object) -> None:
        """Add a line to ``events.jsonl``."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(line({"at": now(), "event": event, **details}))


def _is_file(plain: Mapping[str, Any]) -> bool:
    return "path" in plain and ("fingerprint" in plain or "sha256" in plain)


def _name_of(plain: Mapping[str, Any]) -> str:
    return f"{plain.get('fingerprint') or plain['sha256'][:16]}.safetensors"


def _files_in(plain: object) -> Iterator[dict[str, Any]]:
    """Every part of plain settings that names a file by its path and its content."""
    if isinstance(plain, dict):
        if _is_file(plain):
            yield plain
        for value in plain.values():
            yield from _files_in(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from _files_in(value)


def line(row: Mapping[str, object]) -> str:
    """A row as one line of JSON."""
    return json.dumps(row, separators=(",", ":")) + "\n"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; a last line that was cut short is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = []
    for number, text in enumerate(lines[:-1], start=1):  # what follows the last newline is a line cut short, or nothing
        try:
            rows.append(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged in line {number}: {error}.") from error
    return rows


def stem(step: int) -> str:
    """How files and folders are named by step.

    Example:
        >>> stem(500)
        'step-00000500'
    """
    return f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step in the name of a file or folder, or -1 where it has none."""
    number = path.name.partition(".")[0].removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def now() -> str:
    """The time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# ---------------------------------------------------------------------- finding and claiming


def place_of(run: Run, root: str | os.PathLike[str]) -> tuple[RunFolder, dict[str, Any]]:
    """The folder of this run and what its ``run.json`` says: found if it is there, else where it would be made.

    Where a folder of this name was made from settings that now resolve to something else (a default has changed since),
    the run gets a folder of its own beside it, ``<id>-2``; :func:`warn_of_new_place` says so when it is made.
    """
    wanted = identity(to_plain(run))
    number = 1
    while True:
        folder = RunFolder(Path(root) / (run.id if number == 1 else f"{run.id}-{number}"))
        info = folder.read()
        if not info or identity(info["settings"]) == wanted:
            return folder, info
        number += 1


def warn_of_new_place(run: Run, folder: RunFolder, info: Mapping[str, Any]) -> None:
    """Somebody is about to make a run: warn where another stands under its name already."""
    if folder.path.name != run.id and not info:
        warnings.warn(
            f"{folder.path.parent / run.id} was made when some defaults were others; this run is made anew in "
            f"{folder.path.name}.",
            stacklevel=3,
        )


@contextmanager
def claimed(folder: RunFolder) -> Iterator[RunFolder]:
    """Hold a run folder as its one writer.

    Raises:
        RunError: a living process holds it.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{folder.path} is in use by {_holder(file)}; wait for it or stop it.") from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": platform.node()}))
        file.flush()
        for place in (folder.path, folder.inputs, folder.wirings, folder.snapshots, folder.checkpoints):
            clear_aside(place)
        yield folder  # closing the file, or dying, gives the lock back


def clear_aside(place: Path) -> None:
    """Remove what a process that died was writing aside; the run's lock keeps living ones away."""
    for left in place.glob(".*.tmp"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def in_use(folder: RunFolder) -> bool:
    """Whether a living process holds the folder."""
    if not folder.lock.exists():
        return False
    with folder.lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def cut_short(folder: RunFolder) -> None:
    """Say of a run whose process was ended at once that it was interrupted: it could not do so itself."""
    with contextlib.suppress(RunError), claimed(folder):  # in use after all: then it speaks for itself
        info = folder.read()
        if info.get("status") == "running":
            folder.write({**info, "status": "interrupted"})
            folder.note("interrupted", error="ended at once")


def remove(folder: RunFolder) -> None:
    """Delete a run that nobody holds."""
    with claimed(folder):
        shutil.rmtree(folder.path)


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        said = json.loads(file.read())
        return f"process {said['pid']} on {said['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
