"""Schedules: numbers that change over a run. Steps are completed optimizer steps, counted from 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wirings.core.settings import Duration, OneOf, check_duration, duration, in_range, positive_int, register

Schedule = Callable[[int], float]
"""Step -> value."""

AnySchedule = Annotated[Schedule, OneOf("schedule")]
"""How a settings field says that it holds a schedule."""


@register("schedule")
@dataclass(frozen=True)
class Constant:
    """Always ``value``."""

    value: float
    kind: Literal["constant"] = field(default="constant", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        _finite(self, "value")

    def __call__(self, step: int) -> float:
        return self.value


@register("schedule")
@dataclass(frozen=True)
class Cosine:
    """From ``peak`` down to ``final`` in half a cosine: ``final + (peak - final) / 2 * (1 + cos(pi * t / over))``.

    RigL's share of exchanged connections (Evci et al. 2020, section 3). After ``over`` it stays at ``final``.

    Example:
        >>> schedule = Cosine(0.3, over=75_000)
        >>> [round(schedule(t), 3) for t in (0, 25_000, 37_500, 50_000, 75_000)]
        [0.3, 0.225, 0.15, 0.075, 0.0]

    Args:
        peak: value at step 0.
        over: when it ends: steps, or a share of the run.
        final: value from then on.
    """

    peak: float
    over: Duration = duration(default=1.0, kw_only=True)
    final: float = field(default=0.0, kw_only=True)
    kind: Literal["cosine"] = field(default="cosine", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        _finite(self, "peak", "final")
        check_duration("over", self)

    def __call__(self, step: int) -> float:
        return self.final + (self.peak - self.final) / 2 * (1 + math.cos(math.pi * _progress(step, 0, self.over)))


@register("schedule")
@dataclass(frozen=True, kw_only=True)
class Cubic:
    """Fast at first: ``final + (initial - final) * (1 - p)**3`` (Zhu & Gupta 2017, eq. 1).

    ``p`` runs from 0 at step ``begin`` to 1 at step ``until`` and is clipped outside. The paper writes it for sparsity;
    the formula is the same for density.

    Example:
        >>> density = Cubic(initial=1.0, final=0.01, begin=0, until=100)
        >>> [round(1 - density(t), 3) for t in (10, 25, 50, 75)]
        [0.268, 0.572, 0.866, 0.975]
    """

    initial: float = 1.0
    final: float
    begin: Duration = duration(default=0)
    until: Duration = duration(default=1.0)
    kind: Literal["cubic"] = field(default="cubic", repr=False)

    def __post_init__(self) -> None:
        _finite(self, "initial", "final")
        check_duration("begin", self)
        check_duration("until", self)

    def __call__(self, step: int) -> float:
        return self.final + (self.initial - self.final) * (1 - _progress(step, self.begin, self.until)) ** 3


@register("schedule")
@dataclass(frozen=True, kw_only=True)
class Linear:
    """From ``initial`` at step ``begin`` to ``final`` at step ``until`` in a straight line.

    Example:
        >>> Linear(initial=0.2, final=0.0, until=10)(5)
        0.1
    """

    initial: float
    final: float
    begin: Duration = duration(default=0)
    until: Duration = duration(default=1.0)
    kind: Literal["linear"] = field(default="linear", repr=False)

    def __post_init__(self) -> None:
        _finite(self, "initial", "final")
        check_duration("begin", self)
        check_duration("until", self)

    def __call__(self, step: int) -> float:
        return self.initial + (self.final - self.initial) * _progress(step, self.begin, self.until)


@register("schedule")
@dataclass(frozen=True, kw_only=True)
class Exponential:
    """From ``initial`` to ``final`` by equal factors: ``initial * (final / initial)**p`` (Tanaka et al. 2020).

    Example:
        >>> keep = Exponential(initial=1.0, final=0.01, until=100)
        >>> [round(keep(k), 5) for k in (1, 10, 50, 100)]
        [0.95499, 0.63096, 0.1, 0.01]
    """

    initial: float
    final: float
    begin: Duration = duration(default=0)
    until: Duration = duration(default=1.0)
    kind: Literal["exponential"] = field(default="exponential", repr=False)

    def __post_init__(self) -> None:
        _finite(self, "initial", "final")
        if self.initial <= 0 or self.final <= 0:
            raise ValueError(f"`Exponential` must run between positive values. Got {self.initial} to {self.final}.")
        check_duration("begin", self)
        check_duration("until", self)

    def __call__(self, step: int) -> float:
        p = _progress(step, self.begin, self.until)
        return float(self.initial ** (1 - p) * self.final**p)


@register("when")
@dataclass(frozen=True)
class Every:
    """Which steps: every ``n``-th, from ``begin`` to ``until`` inclusive. ``Every(100)`` means 100, 200, 300, ...

    Example:
        >>> when = Every(100, until=300)
        >>> [t for t in range(1, 500) if when(t)]
        [100, 200, 300]

    Args:
        n: the distance, in steps.
        begin: the first step that may be due.
        until: the last step that may be due: steps, a share of the run, or ``None`` for no end.
    """

    n: Duration = duration(least=1)
    begin: Duration = duration(default=0, kw_only=True)
    until: Duration | None = duration(default=None, kw_only=True)
    kind: Literal["every"] = field(default="every", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.n, float):
            in_range("n", self, 0, 1, open_low=True)
        else:
            positive_int("n", self)
        check_duration("begin", self)
        check_duration("until", self, optional=True)

    def __call__(self, step: int) -> bool:
        if isinstance(self.n, float) or isinstance(self.begin, float) or isinstance(self.until, float):
            raise ValueError("A schedule with shares of the run must be resolved first: attach(..., steps=N) does it.")
        if step < 1 or step < self.begin or (self.until is not None and step > self.until):
            return False
        return step % self.n == 0


When = Annotated[Every, OneOf("when")]
"""How a settings field says at which steps something is due."""


def _progress(step: int, begin: Duration, until: Duration) -> float:
    """How far ``step`` is on the way from ``begin`` to ``until``, clipped to [0, 1]; both already in steps."""
    if isinstance(begin, float) or isinstance(until, float):
        raise ValueError("A schedule with shares of the run must be resolved first: attach(..., steps=N) does it.")
    if until <= begin:
        return 1.0 if step >= until else 0.0
    return min(max((step - begin) / (until - begin), 0.0), 1.0)


def _finite(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"`{name}` of `{type(owner).__name__}` must be a finite number. Got {value!r}.")
