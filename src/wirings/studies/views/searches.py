"""Wirings that are searched for and then trained: their runs by label, density and seed, and what these are called."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wirings.procedures.retraining import FRESH
from wirings.studies import words
from wirings.studies.study import Findings
from wirings.training.records import Record

NAMES = {
    "ep-global": "edge-popup, over the network",
    "ep-gradual": "… and gradually",
    "ep-decay": "… and with L2",
    "smart-ratio": "smart ratio",
    "synflow-twice": "SynFlow, twice as long",
    "snip-twice": "SNIP, twice as long",
}
"""What runs of these labels are called, beside what `wirings.studies.words` knows."""

CHECKS = {"": "as found", "redrawn": "weights drawn anew", "inverted": "inverted", "shuffled": "shuffled in layers"}
"""Sanity checks by what their runs are called after ``-tuned-``."""

SEARCHES = ("edge-popup", "ep-global", "ep-gradual", "ep-decay", "gem-miner")
"""Methods that search with scores; ``<name>`` is the search, ``<name>-tuned`` what follows it."""

SWEEP_SEED = 100
"""Of the runs that choose settings; nothing else looks at them."""


@dataclass(frozen=True)
class Searched:
    """The finished runs of such a study by label, density and seed; a redrawn run stands under its search's seed.

    Args:
        densities: that are compared, from dense to sparse.
        by: (label, density) -> seed -> run.
        chains: seed -> the dense network and all rounds of its lottery, from dense to sparse.
    """

    densities: tuple[float, ...]
    by: Mapping[tuple[str, float], Mapping[int, Record]] = field(repr=False)
    chains: Mapping[int, Sequence[Record]] = field(repr=False)

    @classmethod
    def of(cls, found: Findings, densities: Sequence[float]) -> Searched:
        """Sort what is finished; a density counts as one of these to 2 %."""
        by: dict[tuple[str, float], dict[int, Record]] = {}
        chains: dict[int, list[Record]] = {}
        for record in found.records:
            if record.seed == SWEEP_SEED:
                continue
            if record.method in ("dense", "lottery"):
                chains.setdefault(record.seed, []).append(record)
            for density in densities:
                if abs(record.density - density) <= 0.02 * density:
                    by.setdefault((record.method, density), {})[record.seed % FRESH] = record
        return cls(tuple(densities), by, {s: sorted(c, key=lambda r: -r.density) for s, c in chains.items()})

    @property
    def net(self) -> str:
        """The network's name."""
        return next((str(r.info["settings"]["model"]) for r in self._all()), "")

    @property
    def data(self) -> str:
        """The data set's name."""
        return next((str(r.info["data"]["name"]) for r in self._all()), "")

    def records(self, label: str, density: float) -> Mapping[int, Record]:
        """Seed -> run."""
        return self.by.get((label, density), {})

    def accuracies(self, label: str, density: float) -> dict[int, float]:
        """Seed -> test accuracy of the last values, in percent."""
        return {seed: 100 * r.test_accuracy_last for seed, r in sorted(self.records(label, density).items())}

    def differences(self, label: str, against: str, density: float) -> dict[int, float]:
        """Seed -> how far one is above the other, in points, where both are finished."""
        return self.minus(label, self.accuracies(against, density), density)

    def minus(self, label: str, rival: Mapping[int, float], density: float) -> dict[int, float]:
        """Seed -> how far it is above these accuracies, in points."""
        return {seed: mine - rival[seed] for seed, mine in self.accuracies(label, density).items() if seed in rival}

    def best_of(self, labels: Iterable[str], density: float) -> dict[int, float]:
        """Seed -> the accuracy of the label with the highest mean, where all are finished for a seed."""
        every = [self.accuracies(label, density) for label in labels]
        common = set.intersection(*(set(one) for one in every))
        whole = [{seed: one[seed] for seed in sorted(common)} for one in every]
        return max(whole, key=lambda one: statistics.fmean(one.values())) if common else {}

    def seconds_to_mask(self, label: str, density: float) -> dict[int, float]:
        """Seed -> processor seconds before the wiring is known: of the search, of all earlier rounds, of scoring."""
        records = self.records(label, density)
        if label in SEARCHES:
            return {seed: r.busy_seconds for seed, r in sorted(records.items())}
        if label == "lottery":
            return {seed: sum(r.busy_seconds for r in self.chains[seed] if r.density > 1.02 * density)
                    for seed in sorted(records)}  # fmt: skip
        return {seed: float(r.info["begin"]["seconds"]) for seed, r in sorted(records.items()) if "begin" in r.info}

    def seconds(self, label: str, density: float) -> dict[int, float]:
        """Seed -> processor seconds until the network is trained, the way to its wiring included."""
        final = sorted(self.records(trained_label(label), density).items())
        if label not in (*SEARCHES, "lottery"):
            return {seed: r.busy_seconds for seed, r in final}
        way = self.seconds_to_mask(label, density)
        return {seed: r.busy_seconds + way[seed] for seed, r in final if seed in way}

    def speedup(self, density: float) -> dict[int, float]:
        """Seed -> how many times as long the way to a ticket takes as Gem-Miner's search."""
        search, play = (self.seconds_to_mask(label, density) for label in ("gem-miner", "lottery"))
        return {seed: play[seed] / search[seed] for seed in search if seed in play and search[seed] > 0}

    def trained(self, label: str, density: float) -> dict[int, float]:
        """Seed -> accuracy with trained weights: after fine-tuning, where a search came before."""
        return self.accuracies(trained_label(label), density)

    def ids(self, label: str, density: float) -> tuple[str, ...]:
        """The runs behind :meth:`trained`, by seed."""
        records = self.records(trained_label(label), density)
        return tuple(records[seed].id for seed in sorted(records))

    def dense(self) -> list[Record]:
        """The dense networks."""
        return [r for chain in self.chains.values() for r in chain if r.method == "dense"]

    def _all(self) -> Iterable[Record]:
        return (r for records in self.by.values() for r in records.values())


def called(label: str) -> str:
    """What people call a run of this label."""
    return NAMES.get(label, words.method(label))


def trained_label(label: str, name: str = "") -> str:
    """The label of the run whose weights are trained: after a search, that of what follows it.

    Args:
        label: of the run.
        name: of its method, where the label says more than that.
    """
    return f"{label}-tuned" if (name or label) in SEARCHES else label


def swept(name: str, rate: float) -> str:
    """The label of a run that tries a learning rate."""
    return f"{name}-rate-{rate:g}"


def signed(value: float) -> str:
    """``+1.23`` or ``−1.23``."""
    return f"{value:+.2f}".replace("-", "−")
