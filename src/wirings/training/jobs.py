"""Runs side by side: one fork server, one process a run, nothing shared but the run folders.

The server imports torch once and forks a child for each run (see `wirings.training.worker`), so a run costs
milliseconds to begin, and one that crashes, however badly, takes no other with it. Results are in the run folders
alone: what passes through the pipe is news for a progress bar. Kill everything at any moment, ask again: it goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wirings.core.settings import to_plain
from wirings.training import host
from wirings.training.folder import DIVERGED, FINISHED, SETTLED, cut_short, place_of, warn_of_new_place
from wirings.training.loop import Listener
from wirings.training.records import Record
from wirings.training.settings import Run
from wirings.training.stopping import Interrupted, Terminated, terminable


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Args:
        run: the run.
        record: what is on disk.
        status: ``"finished"``, ``"diverged"`` or ``"failed"``.
        error: one sentence where it is not finished.
    """

    run: Run
    record: Record
    status: str
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == FINISHED


def train_all(
    runs: Iterable[Run],
    root: str | os.PathLike[str] = "runs",
    *,
    jobs: int | None = None,
    then: Callable[[Record], Iterable[Run]] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    listener: Listener | None = None,
) -> list[Outcome]:
    """Make all these runs, several at a time; those that are finished already are found, not made.

    A run that fails or crashes is reported in its outcome, and the others go on. Ctrl-C lets every live run save and
    stop; a second one ends them at once.

    Example:
        >>> outcomes = train_all([Run(seed=s) for s in range(5)], "runs", jobs=2)
        >>> [outcome.record.test_accuracy_last for outcome in outcomes if outcome.finished]

    Args:
        runs: in the order in which they are begun; one that is named twice is made once.
        root: the folder of all runs.
        jobs: how many at a time. Default: the cores there are, divided by the runs' ``threads``.
        then: asked about every finished run: the runs that follow from it (the next round of a lottery). They are begun
            before those that still wait.
        data_root: where data sets lie; default ``$WIRINGS_DATA``.
        listener: is told what happens in all of them, as in `train`; ``"failed"`` events carry an ``error``.

    Returns:
        One outcome a run, in the order of ``runs``, then of those that followed.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; every live run saved a checkpoint.
    """
    wanted = list(runs)
    unique = {run.id: run for run in wanted}
    jobs = max(host.cores() // max((run.threads for run in wanted), default=1), 1) if jobs is None else jobs
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"`jobs` of `train_all` must be an integer of at least 1. Got {jobs!r}.")
    made = _Making(root, jobs, then, data_root, listener or (lambda event: None))
    made.ask(unique.values())
    with terminable():
        made.all()
    return [_outcome(run, root, made.errors.get(run.id, "")) for run in [*wanted, *made.followed]]


class _Making:
    """A queue of runs, and the server that has them made."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        jobs: int,
        then: Callable[[Record], Iterable[Run]] | None,
        data_root: str | os.PathLike[str] | None,
        tell: Listener,
    ) -> None:
        self.root, self.jobs, self.then, self.data_root, self.tell = root, jobs, then, data_root, tell
        self.known: set[str] = set()
        self.waiting: deque[Run] = deque()
        self.live: dict[str, Run] = {}
        self.followed: list[Run] = []
        self.errors: dict[str, str] = {}

    def ask(self, runs: Iterable[Run], *, first: bool = False) -> None:
        """Put runs into the queue, unless they are finished already: then whatever follows from them."""
        new = []
        for run in runs:
            if run.id in self.known:
                continue
            self.known.add(run.id)
            if first:
                self.followed.append(run)
            folder, info = place_of(run, self.root)
            if info.get("status") in SETTLED:
                self.tell({"event": "found", "id": run.id, "folder": str(folder.path), "status": info["status"]})
                self.settled(run)
            else:
                warn_of_new_place(run, folder, info)
                new.append(run)
        (self.waiting.extendleft if first else self.waiting.extend)(reversed(new) if first else new)

    def settled(self, run: Run) -> None:
        """A run has come to its end: ask for what follows from it."""
        if self.then is None:
            return
        folder, info = place_of(run, self.root)
        if info.get("status") == FINISHED:
            self.ask(self.then(Record(folder.path, info=info)), first=True)

    def all(self) -> None:
        """Work the queue off; a server that is lost takes its live runs with it, and the next one does the rest."""
        while self.waiting:
            with _Server() as server:
                try:
                    while (self.waiting or self.live) and self._one(server):
                        pass
                except KeyboardInterrupt as asked:
                    ended = _stop(server, set(self.live), self.tell)
                    for name in ended:
                        cut_short(place_of(self.live[name], self.root)[0])
                    at_once = f", {len(ended)} ended at once (their last checkpoints stay)" if ended else ""
                    raise Interrupted(
                        f"Stopped with {len(self.live) - len(ended)} runs saved{at_once} and {len(self.waiting)} not "
                        "begun. Give the same command again to go on.",
                        signal.SIGTERM if isinstance(asked, Terminated) else signal.SIGINT,
                    ) from None
            for name in self.live:
                self._failed(name, "The process that started it is gone; it may have run out of memory.")
            self.live.clear()

    def _one(self, server: _Server) -> bool:
        """Begin what there is room for, and hear one piece of news; whether the server still lives."""
        while self.waiting and len(self.live) < self.jobs:
            run = self.waiting.popleft()
            self.live[run.id] = run
            server.send(
                {
                    "id": run.id,
                    "settings": to_plain(run),
                    "root": os.fspath(self.root),
                    "data_root": None if self.data_root is None else os.fspath(self.data_root),
                }
            )
        news = server.next()
        if news is None:
            return False
        if news["event"] == "ended":
            run = self.live.pop(news["id"])
            if news["code"] and run.id not in self.errors:
                self._failed(run.id, _how_it_ended(news["code"]))
            elif not news["code"]:
                self.settled(run)
        elif news["event"] == "failed":
            self._failed(news["id"], news["error"])
        else:
            self.tell(news)
        return True

    def _failed(self, name: str, error: str) -> None:
        self.errors[name] = error
        self.tell({"event": "failed", "id": name, "error": error})


def _stop(server: _Server, left: set[str], tell: Listener) -> set[str]:
    """Let every live run save and end; asked again meanwhile, end them at once. Returns those that did not save."""
    unsaved: set[str] = set()
    for order in ("stop", "kill"):
        try:
            server.send({order: True})
            while left and (news := server.next()) is not None:
                if news["event"] != "ended":
                    tell(news)
                    continue
                left.discard(news["id"])
                if news["code"] not in _SAVED:
                    unsaved.add(news["id"])
            break
        except KeyboardInterrupt:
            continue
    return unsaved | left


_SAVED = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM)
"""How a run's process ends that came to its end, or stopped behind a checkpoint."""


def _outcome(run: Run, root: str | os.PathLike[str], error: str) -> Outcome:
    folder, info = place_of(run, root)
    status = str(info.get("status", "failed"))
    if status == FINISHED:
        error = ""
    elif status == DIVERGED:
        error = str(info.get("error", error))
    else:
        status, error = "failed", error or str(info.get("error", "It was not begun."))
    return Outcome(run, Record(folder.path), status, error)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"It was ended by signal {signal.Signals(-code).name}."
    return f"Its process ended with code {code}; see log.txt in its folder."


class _Server:
    """The fork server's process, and lines of JSON in both directions."""

    def __init__(self) -> None:
        threads = {name: "1" for name in ("OPENBLAS_NUM_THREADS",)}  # a pool made at import would not survive the fork
        path = os.pathsep.join([entry for entry in sys.path if entry])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wirings.training.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, "PYTHONPATH": path},
            start_new_session=True,  # the terminal's Ctrl-C comes to us; we tell it what to do
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # it stops its children, and ends
        self._process.stdout.close()
        self._process.wait()

    def send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone; `next` says so
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def next(self) -> dict[str, Any] | None:
        """The next piece of news; ``None`` when the server is gone."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text.endswith("\n"):
            return None
        news: dict[str, Any] = json.loads(text)
        return news


__all__ = ["Outcome", "train_all"]
