"""How sure a difference is: intervals, p-values, equivalence, the smallest effect that n can see, Holm's correction.

One rule chooses the method: Student's t below ten values, the BCa bootstrap from ten, Welch's t where the two
samples are not paired. All draws come from a seed, never from the global random state.

The bootstrap asks for no normality, and pays at small n: on normal data its 95 % interval holds the truth in 90 % of
3,000 simulated samples of ten values, 92 % of fifteen, 93 % of twenty and 94 % of thirty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirings.core.streams import derived_seed

BOOTSTRAP_FROM = 10
"""From this many values on, intervals are BCa bootstraps; below it, Student's t."""

Values = Sequence[float] | ArrayLike


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds the true one with probability ``level``; ``sd`` is the sample's (n - 1)."""

    mean: float
    low: float
    high: float
    n: int
    sd: float
    level: float


@dataclass(frozen=True)
class Effect:
    """A difference of two samples, how sure it is, and how small a difference this n could have seen.

    Args:
        effect: mean of ``a - b``.
        low, high: interval at ``level``.
        p: two-sided, of "no difference"; below ``1 - level`` exactly where the interval leaves out zero
            (for the bootstrap up to its resolution).
        detectable: smallest true difference that is found with 80 % power at this n and spread.
        n: pairs; for two unpaired samples the smaller count.
        method: ``"paired t"``, ``"BCa bootstrap"`` or ``"Welch t"``.
    """

    effect: float
    low: float
    high: float
    p: float
    detectable: float
    n: int
    method: str
    level: float = 0.95


@dataclass(frozen=True)
class Equivalence:
    """The outcome of two one-sided tests: ``p`` below 5 % says that the difference is within ``margin``.

    ``low`` and ``high`` bound the 90 % interval, which lies within the margin exactly where ``p`` < 5 %.
    """

    effect: float
    low: float
    high: float
    p: float
    margin: float
    n: int
    method: str


class Estimate(Protocol):
    """A mean with a sampling distribution: all that intervals, tests and verdicts ask for."""

    @property
    def effect(self) -> float:
        """The mean itself."""

    @property
    def n(self) -> int:
        """Values, pairs, or the smaller of two samples."""

    @property
    def method(self) -> str:
        """The name of the distribution: ``"paired t"``, ``"BCa bootstrap"`` ..."""

    def interval(self, level: float) -> tuple[float, float]:
        """The two-sided interval at ``level``."""

    def above(self, value: float) -> float:
        """The one-sided p of "the true mean is at most ``value``": small where the mean is surely above it."""

    def below(self, value: float) -> float:
        """The one-sided p of "the true mean is at least ``value``"."""

    def detectable(self, level: float, power: float) -> float:
        """The smallest distance from a hypothesis that a two-sided test at ``level`` sees with ``power``."""


def mean_interval(values: Values, level: float = 0.95) -> Interval:
    """The mean of a normal sample with its t interval.

    Example:
        >>> found = mean_interval([1.0, 2.0, 3.0])
        >>> round(found.low, 3), found.mean, round(found.high, 3)
        (-0.484, 2.0, 4.484)

    One value has an infinite interval: it says nothing about the spread.
    """
    sample = _sample(values, "values", "mean_interval")
    _check_level(level, "mean_interval")
    estimate = _Student.of(sample)
    low, high = estimate.interval(level)
    sd = estimate.error * math.sqrt(estimate.n) if estimate.n > 1 else math.nan
    return Interval(estimate.effect, low, high, estimate.n, 0.0 if math.isnan(sd) else sd, level)


def paired(
    a: Values, b: Values, *, level: float = 0.95, power: float = 0.8, resamples: int = 9_999, seed: int = 0
) -> Effect:
    """How much larger ``a`` is than ``b``, pair by pair: paired t below n = 10, BCa from 10.

    A pair is one seed or one fold seen by both.

    Example:
        >>> paired([3.0, 4.0, 6.0], [1.0, 3.0, 3.0]).effect
        2.0

    Args:
        a, b: one value a run, in the same order of pairs.
        level: of the interval; also ``1 - level`` is the size of the test whose power ``detectable`` speaks of.
        power: with which ``detectable`` is seen; 0.8 by convention (Cohen 1988).
        resamples: of the bootstrap; 9,999 as in scipy.
        seed: of the bootstrap's draws.
    """
    return _effect(estimate(a, b, resamples=resamples, seed=seed), level, power, "paired")


def unpaired(a: Values, b: Values, *, level: float = 0.95, power: float = 0.8) -> Effect:
    """How much larger the mean of ``a`` is than that of ``b``, samples of unequal spread and size (Welch 1947).

    ``detectable`` takes Welch's approximate degrees of freedom; it is exact where both spreads and sizes are equal.
    """
    return _effect(estimate(a, b, pairs=False), level, power, "unpaired")


def equivalence(a: Values, b: Values, margin: float, *, pairs: bool = True, seed: int = 0) -> Equivalence:
    """Whether ``a`` and ``b`` differ by less than ``margin``: two one-sided tests at 5 % (Schuirmann 1987).

    Example:
        >>> equivalence([1.0, 2.0, 3.1], [1.1, 2.0, 3.0], margin=1.0).p < 0.05
        True

    Args:
        margin: in the unit of the values, larger than 0, chosen before looking.
        pairs: whether the values come in pairs (t below n = 10, BCa from 10) or not (Welch).
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"`margin` of `equivalence` must be a finite number above 0. Got {margin!r}.")
    found = estimate(a, b, pairs=pairs, seed=seed)
    low, high = found.interval(0.9)
    p = max(found.above(-margin), found.below(margin))
    return Equivalence(found.effect, low, high, p, margin, found.n, found.method)


def holm(pvalues: Values) -> list[float]:
    """P-values adjusted for being several (Holm 1979): rejecting those below 5 % errs anywhere with at most 5 %.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(pvalues, dtype=float)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"`pvalues` of `holm` must be a sequence of numbers in [0, 1]. Got {pvalues!r}.")
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(value) for value in adjusted]


def estimate(
    a: Values, b: Values | None = None, *, pairs: bool = True, resamples: int = 9_999, seed: int = 0
) -> Estimate:
    """The mean of ``a``, or of ``a - b``, with the sampling distribution that our one rule gives it.

    Args:
        a: the values.
        b: what they are compared with; ``None`` for the values themselves.
        pairs: whether ``a[i]`` and ``b[i]`` belong together. Without pairs: Welch.
        resamples, seed: of the bootstrap.
    """
    first = _sample(a, "a", "estimate")
    if b is None:
        differences = first
    else:
        second = _sample(b, "b", "estimate")
        if not pairs:
            return _Student.welch(first, second)
        if len(first) != len(second):
            raise ValueError(
                f"`a` and `b` must come in pairs, as many in each. Got {len(first)} and {len(second)}: "
                "compare them unpaired, or leave out the runs that have no partner."
            )
        differences = _without_rounding(first - second, max(np.abs(first).max(), np.abs(second).max()))
    name = "paired t" if b is not None else "t"
    if len(differences) < BOOTSTRAP_FROM:
        return _Student.of(differences, name)
    return _Bootstrap.of(differences, resamples, seed)


def detectable(error: float, df: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true effect that a two-sided t test sees with this power: exact, from the noncentral t distribution.

    Example:
        >>> round(detectable(1 / 5**0.5, df=4), 3)    # n = 5 pairs whose differences have sd 1
        1.682

    Args:
        error: standard error of the effect, sd / sqrt(n) for pairs.
        df: degrees of freedom, n - 1 for pairs. With none, no effect is detectable: infinity.
    """
    _check_level(level, "detectable")
    if not 0 < power < 1:
        raise ValueError(f"`power` of `detectable` must be in (0, 1). Got {power!r}.")
    if not error >= 0:
        raise ValueError(f"`error` of `detectable` must be at least 0. Got {error!r}.")
    if not df > 0:
        return math.inf
    return error * _noncentrality(float(df), float(level), float(power))


@lru_cache(maxsize=1024)
def _noncentrality(df: float, level: float, power: float) -> float:
    """By how many standard errors the truth must differ for the test to notice with ``power``.

    The noncentral t is a shifted normal over an independent spread s = chi_df / sqrt(df), so the power is the mean of
    Phi(delta - c s) + Phi(-delta - c s) over s: one smooth integral. (scipy's `nct` returns NaN at some of
    these points.)
    """
    from scipy import optimize, special, stats

    critical = float(stats.t.ppf(0.5 + level / 2, df))
    low, high = stats.chi.ppf(1e-16, df), stats.chi.isf(1e-16, df)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    chi = (low + high) / 2 + (high - low) / 2 * nodes
    mass = weights * stats.chi.pdf(chi, df)
    mass /= mass.sum()
    spread = chi / math.sqrt(df)

    def missing(shift: float) -> float:
        seen = special.ndtr(shift - critical * spread) + special.ndtr(-shift - critical * spread)
        return float(mass @ seen) - power

    if missing(0.0) >= 0:  # a test of size 1 - level already rejects that often
        return 0.0
    reach = critical + 1.0
    while missing(reach) < 0:
        reach *= 2
    return float(optimize.brentq(missing, 0.0, reach, xtol=1e-12))


@dataclass(frozen=True)
class _Student:
    """A mean whose error is estimated with ``df`` degrees of freedom; without any, it is not known at all."""

    effect: float
    error: float
    df: float
    n: int
    method: str

    @classmethod
    def of(cls, values: NDArray[np.float64], method: str = "t") -> _Student:
        n = len(values)
        error = _sd(values) / math.sqrt(n) if n > 1 else math.inf
        return cls(_mean(values), error, n - 1, n, method)

    @classmethod
    def welch(cls, a: NDArray[np.float64], b: NDArray[np.float64]) -> _Student:
        n = min(len(a), len(b))
        effect = _mean(a) - _mean(b)
        if n < 2:
            return cls(effect, math.inf, 0, n, "Welch t")
        left, right = _sd(a) ** 2 / len(a), _sd(b) ** 2 / len(b)
        both = left + right
        if both == 0:
            return cls(effect, 0.0, len(a) + len(b) - 2, n, "Welch t")
        df = 1 / ((left / both) ** 2 / (len(a) - 1) + (right / both) ** 2 / (len(b) - 1))
        return cls(effect, math.sqrt(both), df, n, "Welch t")

    def interval(self, level: float) -> tuple[float, float]:
        from scipy import stats

        if not self.df:
            return -math.inf, math.inf
        reach = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.error
        return self.effect - reach, self.effect + reach

    def above(self, value: float) -> float:
        return self._beyond(self.effect - value)

    def below(self, value: float) -> float:
        return self._beyond(value - self.effect)

    def detectable(self, level: float, power: float) -> float:
        return detectable(self.error, self.df, level=level, power=power)

    def _beyond(self, distance: float) -> float:
        from scipy import stats

        if not self.df or distance == 0:
            return 0.5
        if self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stats.t.sf(distance / self.error, self.df))


@dataclass(frozen=True, eq=False)
class _Bootstrap:
    """The bias-corrected and accelerated bootstrap of a mean (Efron 1987).

    Its one-sided p at a value is the level at which the interval's end falls on that value, and at least one in the
    number of resamples.
    ``bias`` is z0, ``acceleration`` is a; with no spread at all, the plain t with zero error serves.
    """

    effect: float
    means: NDArray[np.float64]  # of the resamples, ascending
    bias: float
    acceleration: float
    grain: float  # what rounding may part two equal means by
    student: _Student
    n: int
    method: str = "BCa bootstrap"

    @classmethod
    def of(cls, values: NDArray[np.float64], resamples: int, seed: int) -> Estimate:
        from scipy import stats

        if resamples < 99:
            raise ValueError(f"`resamples` of the bootstrap must be at least 99. Got {resamples!r}.")
        n, student = len(values), _Student.of(values, cls.method)
        if student.error == 0:
            return student
        rng = np.random.default_rng(derived_seed(seed, "bootstrap"))
        means = np.sort(values[rng.integers(0, n, (resamples, n))].mean(axis=1))
        grain = 2 * n * float(np.finfo(np.float64).eps * np.abs(values).max())
        share = _share(means, student.effect, grain)
        centred = (values - student.effect) / np.abs(values - student.effect).max()
        cubes, squares = float((centred**3).sum()), float((centred**2).sum())
        return cls(
            effect=student.effect,
            means=means,
            bias=float(stats.norm.ppf(share)),
            acceleration=cubes / (6 * squares**1.5),
            grain=grain,
            student=student,
            n=n,
        )

    def interval(self, level: float) -> tuple[float, float]:
        from scipy import special

        tails = np.array([0.5 - level / 2, 0.5 + level / 2])
        moved = self.bias + special.ndtri(tails)
        shares = special.ndtr(self.bias + moved / (1 - self.acceleration * moved))
        low, high = np.quantile(self.means, shares)
        return float(low), float(high)

    def above(self, value: float) -> float:
        from scipy import special

        return max(float(special.ndtr(self._tail(value))), 1 / (len(self.means) + 1))

    def below(self, value: float) -> float:
        from scipy import special

        return max(float(special.ndtr(-self._tail(value))), 1 / (len(self.means) + 1))

    def detectable(self, level: float, power: float) -> float:
        return self.student.detectable(level, power)

    def _tail(self, value: float) -> float:
        """The normal quantile of the level whose interval ends at ``value``: `interval`, solved backwards."""
        from scipy import special

        moved = float(special.ndtri(_share(self.means, value, self.grain))) - self.bias
        stretch = 1 + self.acceleration * moved
        return moved / stretch - self.bias if stretch > 0 else math.copysign(math.inf, moved)


def _share(means: NDArray[np.float64], value: float, grain: float) -> float:
    """The share of the sorted resamples below ``value``, ties counted half; never 0 or 1, which no count shows."""
    count = len(means)
    below = (np.searchsorted(means, value - grain, "left") + np.searchsorted(means, value + grain, "right")) / 2
    return float(min(max(below / count, 1 / (count + 1)), count / (count + 1)))


def _effect(found: Estimate, level: float, power: float, owner: str) -> Effect:
    _check_level(level, owner)
    low, high = found.interval(level)
    p = min(1.0, 2 * min(found.above(0.0), found.below(0.0)))
    return Effect(found.effect, low, high, p, found.detectable(level, power), found.n, found.method, level)


def _without_rounding(differences: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Differences that are equal but for the last bits of what was subtracted become equal: rounding is no spread."""
    if np.ptp(differences) <= 8 * np.finfo(np.float64).eps * scale:
        return np.full_like(differences, differences[0])
    return differences


def _mean(values: NDArray[np.float64]) -> float:
    """The mean; of equal values exactly that value, so that no spread stays no spread."""
    return float(values[0] + (values - values[0]).mean())


def _sd(values: NDArray[np.float64]) -> float:
    return float((values - values[0]).std(ddof=1))


def _sample(values: Values, name: str, owner: str) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"`{name}` of `{owner}` must be a sequence of at least one number. Got shape {sample.shape}.")
    if not np.isfinite(sample).all():
        raise ValueError(f"`{name}` of `{owner}` must be finite. Got {values!r}: leave out diverged runs, and say so.")
    return sample


def _check_level(level: float, owner: str) -> None:
    if not 0 < level < 1:
        raise ValueError(f"`level` of `{owner}` must be in (0, 1). Got {level!r}.")
