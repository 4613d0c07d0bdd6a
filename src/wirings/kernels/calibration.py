"""What a machine needs for a unit of each kind of work, kept in the cache folder.

It is measured once (:func:`wirings.analysis.calibrate.calibrated`, ``wirings doctor --calibrate``), by processor,
instruction set, torch version and threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import torch

from wirings.core.cache import cache_folder
from wirings.core.files import write_text
from wirings.kernels import native
from wirings.kernels.work import Kernel, Product, Purpose, Work, features, product_of, update_features

FORMAT = 6
"""Of the file; raise it when the features change, or the kernels that were timed."""

_log = logging.getLogger("wirings")


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a calibration holds for."""

    processor: str
    isa: str
    torch: str
    threads: int

    @classmethod
    def here(cls) -> Key:
        """This machine, with the threads that torch has now."""
        return cls(processor=processor(), isa=native.isa(), torch=torch.__version__, threads=torch.get_num_threads())

    @property
    def path(self) -> Path:
        """Its file."""
        digest = hashlib.sha256(json.dumps([FORMAT, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]
        return cache_folder() / "calibration" / f"{digest}.json"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seconds for a unit of each kind of work, by family and product.

    Example:
        >>> made = Calibration(key=Key.here(), date="2026-11-21", costs={"update": (0.0, 1e-9, 0.0)})
        >>> round(made.update_ms(10**6), 3)
        1.0

    Args:
        key: the machine.
        date: of the measurement, ISO.
        costs: ``"<family> <product>"`` -> seconds for each of the family's features.
        worst: of the same, how far the fitted times were off at worst, as a share.
        seconds: how long measuring took.
    """

    key: Key
    date: str
    costs: Mapping[str, tuple[float, ...]] = field(repr=False)
    worst: Mapping[str, float] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    def ms(self, work: Work, kernel: Kernel, product: Product) -> float:
        """Milliseconds of one product of one layer."""
        family, amounts = features(work, kernel)
        costs = self.costs[f"{family} {product}"]
        return 1e3 * sum(c * a for c, a in zip(costs, amounts, strict=True))

    def update_ms(self, numbers: int) -> float:
        """Milliseconds in which SGD with momentum updates so many numbers of one parameter."""
        return 1e3 * sum(c * a for c, a in zip(self.costs["update"], update_features(numbers), strict=True))

    def step_ms(self, work: Work, kernel: Kernel, purpose: Purpose, *, first: bool = False) -> float:
        """A forward pass; or forward, backward and update."""
        took = self.ms(work, kernel, product_of(purpose, first=first))
        if purpose == "infer":
            return took
        return took + self.update_ms(work.nnz if kernel == "sparse" else work.numel)

    def save(self) -> Path:
        """Write it to its place in the cache folder."""
        told = {"format": FORMAT, **asdict(self), "costs": {k: list(v) for k, v in self.costs.items()}}
        write_text(self.key.path, json.dumps(told, indent=2) + "\n")
        return self.key.path


def saved(key: Key | None = None) -> Calibration | None:
    """The calibration of this machine (or another key) from the cache folder; none where there is none that can be
    read."""
    key = Key.here() if key is None else key
    path = key.path
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT or told["key"] != asdict(key):
            return None
        costs = {str(name): tuple(float(c) for c in some) for name, some in told["costs"].items()}
        if not all(math.isfinite(c) and c >= 0 for some in costs.values() for c in some):
            raise ValueError("costs must be finite and at least 0")
        worst = {str(name): float(share) for name, share in told["worst"].items()}
        return Calibration(key=key, date=str(told["date"]), costs=costs, worst=worst, seconds=float(told["seconds"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("the calibration in %s cannot be read (%s) and is left out", path, error)
        return None


@cache
def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Hardware", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
