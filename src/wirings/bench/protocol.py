"""How we measure: contenders take turns in one process, medians are compared, and the machine is watched meanwhile.

A time alone says little on a machine that others use too. So every round runs each contender once, in an order that
rotates; a result is a ratio of medians; and a fixed piece of work, timed before and after, and the load tell whether
the machine was quiet.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wirings.core.files import write_text

Block = Callable[[], object]
"""A few steps of one contender; called once a round."""


def interleaved(
    contenders: Mapping[str, Block],
    *,
    rounds: int,
    warm_up: int = 2,
    ready: Mapping[str, Block] | None = None,
    whole: Collection[str] = (),
) -> dict[str, list[float]]:
    """Name -> seconds of each round. Every round calls every block once; who begins rotates.

    Time is that of the calling thread on its processor where torch runs one thread, so that others on the machine do
    not count; with more threads it is wall time. Software that may compute in threads of its own would look free by the
    calling thread's time: it is timed by that of all threads of the process.

    Args:
        contenders: name -> block.
        rounds: how often each is timed, at least 1.
        warm_up: how often each is called first, untimed.
        ready: name -> what is called before it every time, untimed.
        whole: names timed by the processor time of the whole process.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` of `interleaved` must be at least 1. Got {rounds}.")
    alone = torch.get_num_threads() == 1
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(-warm_up, rounds):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            clock = (time.process_time if name in whole else time.thread_time) if alone else time.perf_counter
            if ready and name in ready:
                ready[name]()
            with _no_collection():
                start = clock()
                contenders[name]()
                took = clock() - start
            if round_ >= 0:
                seconds[name].append(took)
    return seconds


def median_ms(seconds: list[float]) -> float:
    """The median, in milliseconds."""
    return 1e3 * statistics.median(seconds)


@contextmanager
def watched(result: dict[str, Any], *, threads: int) -> Iterator[None]:
    """Run a measurement on ``threads`` torch threads and write into ``result`` what it ran on, and how quiet it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, load = canary(), os.getloadavg()[0]
        yield
        last = canary()
        result["machine"] = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": threads,
            "clock": "processor time of the thread" if threads == 1 else "wall time",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "load_before": round(load, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "canary_before_ms": first,
            "canary_after_ms": last,
        }
    finally:
        torch.set_num_threads(before)


def canary() -> dict[str, float]:
    """Wall time of fixed matrix products, in ms: the median of nine. It rises when somebody else uses the machine."""
    a = np.ones((512, 512), dtype=np.float32)
    t = torch.ones(512, 512)
    found: dict[str, float] = {}
    for name, product in (("numpy", lambda: a @ a), ("torch", lambda: t @ t)):
        times = []
        for _ in range(9):
            start = time.perf_counter()
            product()
            times.append(time.perf_counter() - start)
        found[name] = round(median_ms(times), 3)
    return found


def save(result: Mapping[str, Any], path: str | Path) -> None:
    """Write a result as JSON, whole or not at all."""
    write_text(path, json.dumps(result, indent=2) + "\n")


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
