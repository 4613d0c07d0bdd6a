"""What is going on, while runs are made: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wirings.training.loop import Listener

LINE_EVERY = 10.0
"""Seconds between plain lines, where there is no terminal."""


@contextmanager
def shown(total: int, console: Console | None = None) -> Iterator[Listener]:
    """A listener for `train_all` that shows how far ``total`` runs are and how long the rest will take."""
    console = console or Console(stderr=True, highlight=False)
    if console.is_terminal:
        with _bars(console, total) as listener:
            yield listener
    else:
        yield _Lines(console, total)


@contextmanager
def _bars(console: Console, total: int) -> Iterator[Listener]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        runs = progress.add_task("[bold]done", total=total)
        live: dict[str, Any] = {}
        done: dict[str, float] = {}

        def listener(event: Mapping[str, Any]) -> None:
            nonlocal total
            name, kind = event["id"], event["event"]
            if kind == "more":
                total += event["count"]
                progress.update(runs, total=total)
                return
            if kind in ("started", "epoch", "progress"):
                if name not in live:
                    live[name] = progress.add_task(f"  {name}", total=event["steps"])
                progress.update(live[name], completed=event["step"])
                done[name] = event["step"] / max(event["steps"], 1)
            if kind in _ENDS:
                if name in live:
                    progress.remove_task(live.pop(name))
                done[name] = 1.0
                if kind in _TROUBLE:
                    console.print(f"{name}: {event.get('error', kind)}", markup=False, soft_wrap=True)
            progress.update(runs, completed=round(sum(done.values()), 2))

        yield listener


_TROUBLE = ("failed", "diverged")
_ENDS = ("finished", "found", *_TROUBLE)


class _Lines:
    """One line now and then: how many runs are done, and how long the rest will take at this pace."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.begun = self.last = time.monotonic()
        self.share: dict[str, float] = {}
        self.found = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        name, kind = event["id"], event["event"]
        if kind == "more":
            self.total += event["count"]
            return
        if kind == "found":
            self.found += 1
        elif kind in _ENDS:
            self.share[name] = 1.0
        elif "steps" in event:
            self.share[name] = event["step"] / max(event["steps"], 1)
        if kind in _TROUBLE:
            self.console.print(f"{name}: {event.get('error', kind)}", markup=False, soft_wrap=True)
        now = time.monotonic()
        made, wanted = sum(self.share.values()), self.total - self.found
        if now - self.last >= LINE_EVERY and made:
            self.last = now
            left = (now - self.begun) * (wanted / made - 1)
            done = self.found + sum(share == 1.0 for share in self.share.values())
            self.console.print(f"{done} of {self.total} done, about {_spoken(left)} left", soft_wrap=True)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
