"""Lottery tickets: train, prune a share of what is left, put the survivors back to where they began, train again."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from wirings.core.budgets import check_density
from wirings.core.files import sha256_of, written_aside
from wirings.core.names import matches
from wirings.core.scores import magnitude
from wirings.core.select import top, top_global
from wirings.core.settings import Duration, check_duration, duration, in_range, positive_int
from wirings.core.wiring import Shapes, Wiring
from wirings.methods.static import Static
from wirings.procedures.values import Fit, fitted, full_wiring, values_of, weights_of
from wirings.training.build import network
from wirings.training.checkpoints import load_values, save_values
from wirings.training.folder import step_of
from wirings.training.loop import Listener, train
from wirings.training.records import Record
from wirings.training.settings import Run, Values


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How much goes in each round, and how it is chosen: always the smallest of the trained weights.

    After ``r`` rounds a network keeps ``(1 - rate)**r`` of its connections. Counts are settled from that formula, not
    round upon round, so that rounding does not add up.

    Example:
        >>> [Pruning().counts({"fc": (100, 100)}, level=r)["fc"] for r in (0, 1, 2, 3)]
        [10000, 8000, 6400, 5120]

    Differs from open_lth, which removes ``ceil(rate * remaining)`` plus the one at its threshold.

    Args:
        rate: share of the remaining connections that goes in a round; 0.2 in Frankle & Carbin 2019.
        scope: ``"global"``: the smallest of the whole network; ``"local"``: of each weight, at a rate of its own.
        rates: name pattern -> rate, for single weights under ``"local"`` (``{"conv*": 0.1}``); the first that fits.
        last: factor on the rate of the last weight under ``"local"``; the paper's 0.5.
    """

    rate: float = 0.2
    scope: Literal["global", "local"] = "global"
    rates: Mapping[str, float] = field(default_factory=dict)
    last: float = 0.5

    def __post_init__(self) -> None:
        in_range("rate", self, 0, 1, open_low=True, open_high=True)
        in_range("last", self, 0, 1)
        for rate in self.rates.values():
            in_range("rates", self, 0, 1, open_high=True, of=rate)
        if self.scope not in ("global", "local"):
            raise ValueError(f"`scope` of `Pruning` must be one of global, local. Got {self.scope!r}.")
        if self.scope == "global" and self.rates:
            raise ValueError("`rates` of `Pruning` needs `scope` 'local': a global pruning has one rate.")

    @classmethod
    def reaching(cls, density: float, rounds: int, shapes: Shapes | None = None, **settings: object) -> Pruning:
        """The pruning that ends at exactly this density after so many rounds: ``rate = 1 - density**(1 / rounds)``.

        Where weights have rates of their own, the common ``rate`` is found from their ``shapes``.

        Example:
            >>> round(Pruning.reaching(0.02, 10).rate, 4)
            0.3238
        """
        check_density(density, "Pruning.reaching")
        made = cls(rate=0.5, **settings)  # type: ignore[arg-type]
        _check_rounds(rounds, "Pruning.reaching")
        if made.scope == "global":
            return dataclasses.replace(made, rate=1 - density ** (1 / rounds))
        if shapes is None:
            raise ValueError("`Pruning.reaching` needs the `shapes` of the weights where each has a rate of its own.")
        total = sum(math.prod(shape) for shape in shapes.values())
        low, high, left = 0.0, 1.0, float(total)
        for _ in range(60):  # what is left falls as the rate rises
            rate = (low + high) / 2
            if rate in (low, high):
                break
            made = dataclasses.replace(made, rate=rate)
            left = sum(made._ideal(shapes, rounds).values())
            low, high = (rate, high) if left > density * total else (low, rate)
        if abs(left - density * total) > 0.5:
            raise ValueError(
                f"`density` {density:g} is out of reach of `Pruning`: its fixed rates and `last` leave more."
            )
        return made

    def counts(self, shapes: Shapes, level: int) -> dict[str, int]:
        """Connections of each weight after ``level`` rounds; under ``"global"`` their sum alone counts.

        Whole numbers that add up to the rounded sum, by rounding the running sum.
        """
        running, counts = 0.0, {}
        for name, ideal in self._ideal(shapes, level).items():
            counts[name] = _whole(running + ideal) - _whole(running)
            running += ideal
        return counts

    def __call__(self, weights: Mapping[str, Tensor], wiring: Wiring, level: int) -> Wiring:
        """The wiring of round ``level``, from what training made of the weights of the round before."""
        scores = {
            name: magnitude(weights[name].reshape(-1)[t.index.to(weights[name].device)]) for name, t in wiring.items()
        }
        counts = self.counts(wiring.shapes, level)
        if self.scope == "global":
            return top_global(scores, min(sum(counts.values()), wiring.nnz), wiring)
        return Wiring({name: top(scores[name], min(counts[name], t.nnz), t) for name, t in wiring.items()})

    def _ideal(self, shapes: Shapes, level: int) -> dict[str, float]:
        return {name: math.prod(shape) * (1 - self._rate_of(name, shapes)) ** level for name, shape in shapes.items()}

    def _rate_of(self, name: str, shapes: Shapes) -> float:
        if self.scope == "global":
            return self.rate
        own = next((rate for pattern, rate in self.rates.items() if matches(name, (pattern,))), self.rate)
        return own * self.last if name == list(shapes)[-1] else own


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One round of a lottery.

    Args:
        level: rounds of pruning behind it; 0 is the dense network.
        wiring: what was trained in this round.
        origin: the values its training began with (those off the wiring play no part).
        trained: the values at its end.
        score: what ``fit`` returned; of a run, its last accuracy on the test set.
        record: of a run, where it is on disk.
    """

    level: int
    wiring: Wiring
    origin: Mapping[str, Tensor] = field(repr=False)
    trained: Mapping[str, Tensor] = field(repr=False)
    score: float
    record: Record | None = None


def lottery(
    model: nn.Module,
    fit: Fit,
    *,
    rounds: int,
    pruning: Pruning = Pruning(),
    early: Callable[[nn.Module], object] | None = None,
    except_: Iterable[str] = (),
) -> Iterator[Ticket]:
    """Iterative magnitude pruning with the user's own training: yields a ticket a round, the dense network first.

    Frankle & Carbin 2019, Strategy 1: each round trains to the end, prunes, and puts the survivors back to their
    origin, buffers such as the statistics of batch norms too. Optimizer and schedule begin anew: ``fit`` makes them.

    Example:
        >>> for ticket in lottery(model, fit, rounds=10):
        ...     ticket.level, ticket.wiring.density, ticket.score

    Args:
        model: the network with its first values; it stays as it is.
        fit: trains a copy of it on a wiring and returns a score; see `Fit`.
        rounds: of pruning; so many tickets beside the dense one.
        pruning: how much goes in each round, and from where.
        early: the first steps of training, in place: survivors are put back to the values *after* them (rewinding to
            step k; Frankle et al. 2020), and ``fit`` goes on from there. Default: to the first values.
        except_: name patterns of weights that stay dense.
    """
    _check_rounds(rounds, "lottery")
    start = copy.deepcopy(model)
    if early is not None:
        early(start)
    origin = values_of(start)
    wiring = full_wiring(start, except_)
    for level in range(rounds + 1):
        mine, score = fitted(start, wiring, fit)
        yield Ticket(level=level, wiring=wiring, origin=origin, trained=values_of(mine), score=score)
        if level < rounds:
            wiring = pruning(weights_of(mine, wiring), wiring, level + 1)


@dataclass(kw_only=True, eq=False)
class Lottery:
    """A lottery as runs: each round is a `Run` of its own that begins with a wiring file and a file of values.

    Nothing but the run folders is needed to go on: asked again, finished rounds are found and the next is made. One
    after the other with :func:`lottery_runs`; beside other runs::

        play = Lottery(run=Run(epochs=20, seed=0), rounds=10)
        train_all([play.first, *others], "runs", then=play.then)

    Args:
        run: how every round trains; its method must be none.
        rounds: of pruning.
        pruning: how much goes in each round, and from where.
        rewind: the step (or share of the run) to whose values survivors are put back; 0 is the first values. Training
            goes on from that step, in schedule and in data; the optimizer begins anew.
        label: what tables call the rounds.
    """

    run: Run
    rounds: int
    pruning: Pruning = field(default_factory=Pruning)
    rewind: Duration = duration(default=0)
    label: str = "lottery"
    levels: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    """Run id -> round, of the rounds known so far."""

    def __post_init__(self) -> None:
        positive_int("rounds", self)
        check_duration("rewind", self)
        if self.run.method is not None or self.run.small_dense is not None:
            raise ValueError("`run` of `Lottery` must have no method: its first round is dense.")
        self.levels[self.first.id] = 0

    @property
    def first(self) -> Run:
        """Round 0, the dense network. Rewinding to 0 it is the plain dense run, shared with whoever has made that."""
        return dataclasses.replace(self.run, snapshot=self.rewind) if self.rewind else self.run

    def then(self, record: Record) -> list[Run]:
        """The round after the one of this record: one run, or none where it is no round of this lottery or the last."""
        level = self.levels.get(record.id, self.rounds)
        if level >= self.rounds or not record.finished:
            return []
        wiring = self.pruning(record.values(), record.wiring, level + 1)
        run = dataclasses.replace(
            self.run,
            method=Static(begin=kept_wiring(wiring, record)),
            values=self._origin(record),
            snapshot=None,
            label=self.label,
        )
        self.levels[run.id] = level + 1
        return [run]

    def ticket(self, record: Record) -> Ticket:
        """What a round left on disk."""
        level = self.levels[record.id]
        values = self._origin(record)
        return Ticket(
            level=level,
            wiring=record.wiring,
            origin=load_values(Path(values.path)),
            trained=record.values(),
            score=record.test_accuracy_last,
            record=record,
        )

    def _origin(self, record: Record) -> Values:
        """The file that survivors are put back to: kept by round 0, named by all others."""
        if record.run.values is not None:
            return record.run.values
        if self.rewind:
            file = record.snapshot()
            return Values(path=str(file), sha256=sha256_of(file), step=step_of(file))
        file = record.path / "tickets" / "origin.safetensors"
        if not file.exists():
            channels, height, width = record.info["data"]["image_shape"]
            first = network(record.run, (channels, height, width), record.info["data"]["classes"])
            with written_aside(file) as aside:
                save_values(first.state_dict(), aside)
        return Values(path=str(file), sha256=sha256_of(file))


def lottery_runs(
    play: Lottery,
    root: str | os.PathLike[str] = "runs",
    *,
    data_root: str | os.PathLike[str] | None = None,
    listener: Listener | None = None,
) -> Iterator[Ticket]:
    """The rounds of a lottery one after the other, each a run in ``root``; yields a ticket a round, dense first.

    It ends early where a round diverges.
    """
    runs = [play.first]
    while runs:
        record = train(runs.pop(), root, data_root=data_root, listener=listener)
        if record.finished:
            yield play.ticket(record)
        runs += play.then(record)


def kept_wiring(wiring: Wiring, record: Record) -> Wiring:
    """The wiring as a file beside the record it came from, named by its content, so that settings can name it."""
    path = record.path / "tickets" / f"{wiring.fingerprint}.safetensors"
    if path.exists():
        return Wiring.load(path)
    wiring.save(path)
    return wiring


def _check_rounds(rounds: int, owner: str) -> None:
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise ValueError(f"`rounds` of `{owner}` must be an integer of at least 1. Got {rounds!r}.")


def _whole(x: float) -> int:
    """The nearest whole number, whatever dust a power left behind."""
    return round(round(x, 6))
