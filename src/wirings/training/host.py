"""What made a result: versions, the state of the code, the machine, and the energy it took."""

from __future__ import annotations

import functools
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

WATTS_PER_CORE = 10.0
"""What a busy core of a server draws, roughly; the estimate where the machine does not report its energy."""

_POWERCAP = Path("/sys/class/powercap")


@functools.cache
def versions() -> dict[str, str]:
    """Name -> version, of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for name in ("wirings", "torch", "numpy", "scipy", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found.setdefault("wirings", _own_version())
    return found


@functools.cache
def code_state() -> dict[str, Any]:
    """Commit of the checkout this package runs from and whether it was changed since; empty where it is no checkout."""
    package = Path(__file__).resolve().parents[1]
    commit = _git(package, "rev-parse", "HEAD")
    if not commit or _git(package, "ls-files", "--error-unmatch", __file__) is None:
        return {}
    return {"commit": commit, "changed": bool(_git(package, "status", "--porcelain", "-uno", "--", str(package)))}


@functools.cache
def host() -> dict[str, Any]:
    """The machine, in words."""
    return {
        "name": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": cores(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class Meter:
    """Wall time, processor time and energy of a piece of work, from its making on; a resumed run adds to what it had.

    Where the machine reports the energy of its processors (RAPL), that is what the whole machine drew meanwhile;
    else it is an estimate: busy seconds of this process's cores times `WATTS_PER_CORE`.
    """

    seconds_before: float = 0.0
    joules_before: float = 0.0
    busy_before: float = 0.0
    _wall: float = field(default_factory=time.perf_counter)
    _cpu: float = field(default_factory=time.process_time)
    _counters: dict[str, int] = field(default_factory=lambda: _rapl())

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.seconds_before + time.perf_counter() - self._wall

    @property
    def busy(self) -> float:
        """Processor seconds of this process so far: what others do on the machine counts for little."""
        return self.busy_before + time.process_time() - self._cpu

    @property
    def source(self) -> str:
        """Where the energy comes from: ``"rapl"`` or ``"estimate"``."""
        return "rapl" if self._counters else "estimate"

    @property
    def joules(self) -> float:
        """Energy so far."""
        if not self._counters:
            return self.joules_before + WATTS_PER_CORE * (time.process_time() - self._cpu)
        now = _rapl()
        spent = 0
        for zone, start in self._counters.items():
            if zone in now:
                spent += now[zone] - start if now[zone] >= start else now[zone] + _rapl_range(zone) - start
        return self.joules_before + spent / 1e6

    def energy(self) -> dict[str, Any]:
        """The energy as it stands in a record, labelled."""
        of = {"rapl": "all processors of the machine", "estimate": f"{WATTS_PER_CORE:g} W for each busy core"}
        return {"joules": round(self.joules, 3), "source": self.source, "of": of[self.source]}


def _rapl() -> dict[str, int]:
    """Zone -> microjoules, of the processor packages; empty where nobody may read them."""
    counters = {}
    for zone in sorted(_POWERCAP.glob("intel-rapl:?")):
        try:
            counters[str(zone)] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            continue
    return counters


def _rapl_range(zone: str) -> int:
    """Where a counter starts again from zero."""
    return int((Path(zone) / "max_energy_range_uj").read_text())


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _own_version() -> str:
    import wirings

    return wirings.__version__
