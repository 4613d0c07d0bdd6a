"""What a study computes beside its runs: once, side by side, and kept on disk like a run.

A sensitivity curve of a finished network, the compression at which a layer dies, a similarity of two networks: no
training, but too long to be computed anew whenever a page is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import torch

from wirings.core.errors import WiringsError
from wirings.core.files import write_text
from wirings.core.settings import to_plain
from wirings.training import host
from wirings.training.records import Record
from wirings.training.settings import canonical


@dataclass(frozen=True)
class Lab:
    """Where a measurement finds what it needs.

    Args:
        root: the folder of all runs.
        data_root: where data sets lie; default ``$WIRINGS_DATA``.
        paths: run id -> folder, of the finished runs of the study.
    """

    root: Path
    data_root: str | None = None
    paths: Mapping[str, str] = field(default_factory=dict, repr=False)

    def record(self, run: str) -> Record:
        """A finished run of the study, by its id."""
        return Record(self.paths[run])


@dataclass(frozen=True, kw_only=True)
class Measurement(ABC):
    """Something that is computed once, from its settings or from finished runs.

    Subclass it as a frozen dataclass at the top of a module. Fields are plain values and ids of runs, so that equal
    settings are the same measurement: its identity is the hash of its fields and of nothing else. What `measure` gives
    goes to JSON.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Spread(Measurement):
        ...     kind: ClassVar[str] = "spread"
        ...     run: str
        ...
        ...     def measure(self, lab):
        ...         return {"sd": {n: w.std().item() for n, w in lab.record(self.run).values().items()}}
    """

    kind: ClassVar[str]
    """What is measured, in the names of files: lower-case letters, digits and dashes."""

    drawn: ClassVar[tuple[str, ...]] = ()
    """Names within its result that are there to be drawn: figures tell them, and ``measured.json`` leaves them out."""

    @abstractmethod
    def measure(self, lab: Lab) -> Mapping[str, Any]:
        """Compute it, on one thread; plain data."""

    def possible(self) -> bool:
        """Whether this machine can make it. Where it cannot, it is not missed; what another machine kept is told."""
        return True

    @property
    def settings(self) -> dict[str, Any]:
        """Its fields as plain data."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: to_plain(value) for name, value in given.items() if value is not None}

    @property
    def id(self) -> str:
        """``<kind>-<hash of the settings>``, and the name of its file."""
        return f"{self.kind}-{hashlib.sha256(canonical(self.settings).encode()).hexdigest()[:12]}"

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if not re.fullmatch(r"[a-z][a-z0-9-]*", getattr(cls, "kind", "unnamed")):
            raise TypeError(f"`kind` of `{cls.__name__}` must be lower-case letters, digits and dashes.")


def kept(measurement: Measurement, root: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What was measured, as its file tells it: "result", "seconds", "versions", ...; ``None`` where it was not yet."""
    try:
        found: dict[str, Any] = json.loads(_file(measurement, Path(root)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def measure_all(
    measurements: Iterable[Measurement],
    lab: Lab,
    *,
    jobs: int = 1,
    tell: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> dict[str, str]:
    """Make what is missing of these, several at a time, one thread each, each kept as soon as it is there.

    Returns:
        id -> one sentence, of those that failed.
    """
    asked = {m.id: m for m in measurements}
    wanted = {name: m for name, m in asked.items() if kept(m, lab.root) is None}
    for name in asked.keys() - wanted.keys():
        tell({"event": "found", "id": name})
    errors: dict[str, str] = {}
    if not wanted:
        return errors
    for name, error in _outcomes(wanted, lab, jobs):
        if error:
            errors[name] = error
            tell({"event": "failed", "id": name, "error": error})
        else:
            tell({"event": "finished", "id": name, "step": 1, "steps": 1})
    return errors


def _outcomes(wanted: Mapping[str, Measurement], lab: Lab, jobs: int) -> Iterator[tuple[str, str]]:
    """(id, error or nothing) as they come; those of a script or a notebook, which no other process knows, come last."""
    beside = {name: m for name, m in wanted.items() if _importable(type(m))}
    if beside:
        with ProcessPoolExecutor(min(jobs, len(beside)), get_context("forkserver"), initializer=_alone) as pool:
            futures = {pool.submit(_one, m, lab): name for name, m in beside.items()}
            try:
                for future in as_completed(futures):
                    yield futures[future], _error(future.result)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    for name in wanted.keys() - beside.keys():
        yield name, _error(lambda name=name: _one(wanted[name], lab))  # type: ignore[misc]


def _importable(cls: type) -> bool:
    home = sys.modules.get(cls.__module__)
    return cls.__module__ != "__main__" and getattr(home, cls.__qualname__, None) is cls


def _error(made: Callable[[], object]) -> str:
    try:
        made()
    except BrokenProcessPool:
        return "Its process ended; it may have run out of memory."
    except WiringsError as error:
        return str(error)
    except Exception as error:  # whatever a stranger's code raises, the others go on
        return f"{type(error).__name__}: {error}"
    return ""


def _alone() -> None:
    torch.set_num_threads(1)


def _one(measurement: Measurement, lab: Lab) -> None:
    begun = time.perf_counter()
    result = measurement.measure(lab)
    found = {
        "id": measurement.id,
        "kind": measurement.kind,
        "settings": measurement.settings,
        "result": result,
        "seconds": round(time.perf_counter() - begun, 3),
        "versions": host.versions(),
        "code": host.code_state(),
    }
    write_text(_file(measurement, lab.root), json.dumps(found, allow_nan=False) + "\n")


def _file(measurement: Measurement, root: Path) -> Path:
    return root / "measured" / f"{measurement.id}.json"


__all__ = ["Lab", "Measurement", "kept", "measure_all"]
