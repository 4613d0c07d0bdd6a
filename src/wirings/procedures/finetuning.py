"""Fine-tuning: a search for a wiring, and then the weights on what it found, beside the checks of what it is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wirings.core.files import sha256_of
from wirings.core.streams import stream
from wirings.methods.static import Static
from wirings.procedures.lottery import kept_wiring
from wirings.procedures.reinitialise import Control
from wirings.procedures.retraining import FRESH
from wirings.training.records import Record
from wirings.training.settings import Run, Values


@dataclass(kw_only=True, eq=False)
class FineTuning:
    """Train on what a method found: the wiring as it is, with the weights that the search ended with.

    Methods that train scores (edge-popup, Gem-Miner, learned supermasks) leave the weights as they were drawn; here the
    weights train, and the wiring stays. Sanity checks follow the same search (Su et al. 2020; Frankle et al. 2021): the
    wiring changed by a control, with the weights that the search began with at its new positions; and the wiring with
    weights of another draw.

    Example:
        >>> search = Run(method=GemMiner(density=0.0144), seed=3)
        >>> tuning = FineTuning(after=search, checks={"shuffled": shuffled}, redrawn=True)
        >>> train_all([tuning.first], "runs", then=tuning.then)
        >>> # gem-miner-s3, gem-miner-tuned-s3, gem-miner-tuned-shuffled-s3, gem-miner-tuned-redrawn-s1003

    Args:
        after: the search.
        changes: settings of the new runs that differ from the search's (its learning rate suits scores).
        checks: what a check is called after ``-tuned-`` -> how the wiring is changed first.
        redrawn: whether the wiring is also trained with other weights (and batches): those of the seed + 1000.
    """

    after: Run
    changes: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Control] = field(default_factory=dict)
    redrawn: bool = False

    def __post_init__(self) -> None:
        if self.after.method is None:
            raise ValueError("`after` of `FineTuning` must have a method: a dense network finds no wiring.")
        if self.redrawn and "redrawn" in self.checks:
            raise ValueError('`checks` of `FineTuning` must not say "redrawn" beside `redrawn=True`.')

    @property
    def first(self) -> Run:
        """The search."""
        return self.after

    @property
    def rounds(self) -> int:
        """How many runs follow."""
        return 1 + len(self.checks) + self.redrawn

    def then(self, record: Record) -> list[Run]:
        """The fine-tuning and the checks of this search; none where it is not this procedure's, or not finished."""
        if record.id != self.after.id or not record.finished:
            return []
        seed, file, found = record.seed, record.path / "final" / "model.safetensors", record.wiring
        runs = [self._run(record, "", method=Static(begin=kept_wiring(found, record)),
                          values=Values(path=str(file), sha256=sha256_of(file)))]  # fmt: skip
        for name, check in self.checks.items():
            changed = kept_wiring(check(found, stream(seed, "control")), record)
            runs.append(self._run(record, name, method=Static(begin=changed)))
        if self.redrawn:
            method = Static(begin=kept_wiring(found, record))
            runs.append(self._run(record, "redrawn", method=method, seed=seed + FRESH, streams={}, values=None))
        return runs

    def _run(self, record: Record, check: str, **said: Any) -> Run:
        label = "-".join(part for part in (record.method, "tuned", check) if part)
        return dataclasses.replace(self.after, snapshot=None, label=label, **(said | dict(self.changes)))


__all__ = ["FineTuning"]
