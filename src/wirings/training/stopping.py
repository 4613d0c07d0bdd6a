"""Ctrl-C and SIGTERM: asked once, a run saves and stops after the step it is in; asked twice, it stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop, and did, with a checkpoint behind it. ``signal`` says by what."""

    def __init__(self, sentence: str, by: int) -> None:
        super().__init__(sentence)
        self.signal = by


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class Stop:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.asked: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = number


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Listen for SIGINT and SIGTERM inside the block; whoever listened before is asked again afterwards."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises inside the block, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_it(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
