"""Published claims and what our runs say about them: a verdict never says more than its interval.

A `Claim` is fixed before the first run: statistic, threshold, direction and n. `judge` reads the runs and gives a
`Verdict`; `judge_all` corrects the verdicts of one study for being several (Holm 1979).

**How a word is found.** The first row that fits decides. The interval is the 95 % one of `statistics.estimate`; "the
claimed effect" is the claim's ``effect``, else the distance of ``published`` from the threshold.

====  ===================================================================  ===================================
row   what was found                                                       word
====  ===================================================================  ===================================
1     no values                                                            unjudged
2     fewer values than the claim's n                                      underpowered, whatever the interval
3     an exact claim (no sampling error), every value meets it             reproduced
4     an exact claim, some value does not meet it                          not reproduced
5     the whole interval meets the claim                                   reproduced
6     no point of the interval meets the claim                             not reproduced
7     the interval holds the threshold and leaves out the claimed effect,  not reproduced
      which is detectable at this n and spread
8     anything else: the interval does not decide                          underpowered
9     a decision of rows 5 to 7 that Holm's correction does not keep       underpowered
====  ===================================================================  ===================================

At a reduced scale "reproduced" reads "holds at reduced scale", "not reproduced" "does not hold at reduced scale".
Equivalences ("within") take rows 5, 6 and 8: the 95 % interval must lie inside the margin, which is two one-sided tests
at 2.5 % each. The verdict's p is two-sided everywhere (twice the one-sided p of its decision), so it falls below 5 %
exactly where the printed interval decides (for the bootstrap up to its resolution).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from wirings.analysis.statistics import Estimate, estimate, holm

Direction = Literal["above", "below", "within"]
Scale = Literal["paper", "reduced"]
Word = Literal[
    "reproduced",
    "not reproduced",
    "holds at reduced scale",
    "does not hold at reduced scale",
    "underpowered",
    "unjudged",
]

LEVEL = 0.95
POWER = 0.8
COLUMNS = ("id", "scale", "net", "data", "n", "effect", "low", "high", "detectable", "verdict", "run_ids")
"""The columns of ``results/claims.csv``, in order."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of a paper, made testable before the first run.

    Example:
        >>> claim = Claim(
        ...     id="S0.1b",
        ...     sentence="DNW beats a random wiring.",
        ...     statistic="accuracy(DNW) - accuracy(random), in points, paired by seed",
        ...     threshold=0.0,
        ...     direction="above",
        ...     n=5,
        ...     effect=0.5,
        ... )

    Args:
        id: as in the list of claims, e.g. ``"S0.1b"``.
        sentence: what is claimed, in words.
        statistic: what is measured, with its unit.
        threshold: what the statistic must pass; for ``"within"`` the margin around ``target``.
        direction: ``"above"`` or ``"below"`` the threshold, or ``"within"`` the threshold of the target.
        n: values (pairs, seeds) without which no verdict is given; at least 5 for a difference, 10 for an
            equivalence, by our own rule; 1 for an exact claim.
        published: the statistic as the paper gives it, where it does.
        effect: the smallest effect, counted from the threshold, that would make the claim worth its sentence; by
            default the published one. Without either, only an interval wholly on the wrong side refutes the claim.
        target: the centre of ``"within"``; 0 for a difference.
        exact: the statistic has no sampling error (a count, an identity, a hash): values are compared one by one.
    """

    id: str
    sentence: str
    statistic: str
    threshold: float
    direction: Direction
    n: int
    published: float | None = None
    effect: float | None = None
    target: float = 0.0
    exact: bool = False

    def __post_init__(self) -> None:
        if self.direction not in ("above", "below", "within"):
            raise ValueError(f'`direction` of `Claim` must be "above", "below" or "within". Got {self.direction!r}.')
        for name in ("threshold", "target", "published", "effect"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"`{name}` of `Claim` must be a finite number. Got {value!r}.")
        if self.direction == "within" and (self.threshold < 0 or (self.threshold == 0 and not self.exact)):
            raise ValueError(f'`threshold` of a `Claim` "within" must be above 0, a margin. Got {self.threshold!r}.')
        if self.effect is not None and not self.effect > 0:
            raise ValueError(f"`effect` of `Claim` must be above 0, counted from the threshold. Got {self.effect!r}.")
        if not self.n >= 1:
            raise ValueError(f"`n` of `Claim` must be at least 1. Got {self.n!r}.")

    @property
    def claimed_effect(self) -> float | None:
        """How far beyond the threshold the claim puts the statistic; None where nobody says, or for an equivalence."""
        if self.direction == "within":
            return None
        if self.effect is not None or self.published is None:
            return self.effect
        beyond = (self.published - self.threshold) * (1 if self.direction == "above" else -1)
        return beyond if beyond > 0 else None

    def meets(self, value: float) -> bool:
        """Whether one value of the statistic is as claimed: strictly above or below; within or on the margin."""
        if self.direction == "above":
            return value > self.threshold
        if self.direction == "below":
            return value < self.threshold
        return abs(value - self.target) <= self.threshold


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What our runs say about a claim: a word, and the numbers that carry it.

    Args:
        effect, low, high: the statistic and its 95 % interval, as measured (not counted from the threshold); None
            without data. For an exact claim the value farthest from the claim, and the smallest and largest value.
        n: values, pairs, or the smaller of two samples.
        detectable: the smallest effect, counted from the threshold, that this n and spread show with 80 % power.
        word: reproduced, not reproduced ... (see the table above).
        reason: why, in a short sentence.
        p: two-sided, of the decision; None where nothing was tested.
        p_holm: the same after Holm's correction within a study (`judge_all`).
        method: of the interval, e.g. ``"paired t"``.
        net, data, run_ids: where the numbers come from.
    """

    claim: Claim
    effect: float | None
    low: float | None
    high: float | None
    n: int
    detectable: float | None
    word: Word
    scale: Scale
    reason: str
    p: float | None = None
    p_holm: float | None = None
    method: str = ""
    net: str = ""
    data: str = ""
    run_ids: tuple[str, ...] = ()

    def to_row(self) -> dict[str, str | int | float | None]:
        """A row of ``results/claims.csv``; run ids in one field, parted by spaces."""
        return {
            "id": self.claim.id,
            "scale": self.scale,
            "net": self.net,
            "data": self.data,
            "n": self.n,
            "effect": self.effect,
            "low": self.low,
            "high": self.high,
            "detectable": self.detectable,
            "verdict": self.word,
            "run_ids": " ".join(self.run_ids),
        }


def judge(
    claim: Claim,
    values: Sequence[float] | ArrayLike | None,
    against: Sequence[float] | ArrayLike | None = None,
    *,
    scale: Scale,
    pairs: bool = True,
    net: str = "",
    data: str = "",
    run_ids: Sequence[str] = (),
    seed: int = 0,
) -> Verdict:
    """What these values say about the claim, by the table above.

    Example:
        >>> claim = Claim(id="X", sentence="A beats B.", statistic="A - B", threshold=0.0, direction="above", n=5)
        >>> judge(claim, [71.2, 70.8, 71.5, 71.0, 71.1], [69.9, 69.8, 70.3, 70.1, 69.7], scale="reduced").word
        'holds at reduced scale'

    Args:
        values: one value of the statistic a run; None or none where the data is missing.
        against: the other side, where the statistic is the difference ``values - against``.
        scale: ``"paper"`` only where model, data and schedule are the paper's.
        pairs: whether ``values[i]`` and ``against[i]`` share their seed; without pairs, Welch.
        net, data, run_ids: kept in the verdict.
        seed: of the bootstrap.
    """
    if scale not in ("paper", "reduced"):
        raise ValueError(f'`scale` of `judge` must be "paper" or "reduced". Got {scale!r}.')
    if against is not None and claim.exact:
        raise ValueError(f"`against` of `judge` must be None for the exact claim {claim.id}. Give the differences.")
    found = Verdict(
        claim=claim, effect=None, low=None, high=None, n=0, detectable=None, word="unjudged", scale=scale,
        reason="there are no values", net=net, data=data, run_ids=tuple(run_ids),
    )  # fmt: skip
    if values is None or not np.size(values) or (against is not None and not np.size(against)):
        return found
    if claim.exact:
        return _exactly(found, np.asarray(values, dtype=float))
    return _by_interval(found, estimate(values, against, pairs=pairs, seed=seed))


def judge_all(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of one study, corrected for being several: a decision that Holm does not keep becomes underpowered.

    Exact claims and claims without data are no tests; they pass unchanged and do not count.
    """
    tested = [i for i, verdict in enumerate(verdicts) if verdict.p is not None]
    kept = list(verdicts)
    for i, adjusted in zip(tested, holm([verdicts[i].p or 0.0 for i in tested]), strict=True):
        verdict = replace(verdicts[i], p_holm=adjusted)
        if verdict.word not in ("underpowered", "unjudged") and adjusted >= 1 - LEVEL:
            reason = f"{verdict.reason}, but not after Holm's correction for {len(tested)} claims"
            verdict = replace(verdict, word="underpowered", reason=reason)
        kept[i] = verdict
    return kept


def _exactly(found: Verdict, values: np.ndarray) -> Verdict:
    """Rows 2 to 4: values without sampling error."""
    claim = found.claim
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"`values` of `judge` must be a sequence of finite numbers. Got {values!r}.")
    shortfall = {"above": -values, "below": values, "within": np.abs(values - claim.target)}[claim.direction]
    worst = float(values[int(shortfall.argmax())])
    found = replace(
        found, effect=worst, low=float(values.min()), high=float(values.max()), n=len(values), detectable=0.0,
        method="exact",
    )  # fmt: skip
    if len(values) < claim.n:
        return _with(found, None, f"{len(values)} of the {claim.n} values that the claim asks for")
    missed = sum(not claim.meets(float(value)) for value in values)
    if missed:
        return _with(found, False, f"{missed} of {len(values)} values are not as claimed")
    return _with(found, True, "every value is as claimed")


def _by_interval(found: Verdict, sample: Estimate) -> Verdict:
    """Rows 2 and 5 to 8: values that scatter."""
    claim = found.claim
    low, high = sample.interval(LEVEL)
    reach = sample.detectable(LEVEL, POWER)
    found = replace(found, effect=sample.effect, low=low, high=high, n=sample.n, detectable=reach, method=sample.method)
    if claim.direction == "within":
        left, right = claim.target - claim.threshold, claim.target + claim.threshold
        support = max(sample.above(left), sample.below(right))
        against = min(sample.below(left), sample.above(right))
        inside, outside = left < low and high < right, high < left or right < low
        missed = False
    else:
        sign = 1 if claim.direction == "above" else -1
        near, far = (low, high) if sign > 0 else (-high, -low)  # ends of the interval, the claim looking upwards
        edge = sign * claim.threshold
        support, against = sample.above(claim.threshold), sample.below(claim.threshold)
        if sign < 0:
            support, against = against, support
        inside, outside = near > edge, far < edge
        claimed = claim.claimed_effect
        missed = not inside and not outside and claimed is not None and reach <= claimed and far < edge + claimed
        if missed and claimed is not None:
            beyond = sign * (edge + claimed)
            against = sample.below(beyond) if sign > 0 else sample.above(beyond)
    found = replace(found, p=min(1.0, 2 * min(support, against)))
    if sample.n < claim.n:
        return _with(found, None, f"{sample.n} of the {claim.n} values that the claim asks for")
    if inside:
        return _with(found, True, "the whole interval is as claimed")
    if outside:
        return _with(found, False, "no point of the interval is as claimed")
    if missed:
        return _with(found, False, "the interval holds the threshold and leaves out the claimed effect")
    return _with(found, None, _why_undecided(claim, reach))


def _why_undecided(claim: Claim, reach: float) -> str:
    if claim.direction == "within":
        return "the interval reaches over the margin"
    if claim.claimed_effect is None:
        return "the interval holds the threshold, and nobody says how large an effect is claimed"
    if reach > claim.claimed_effect:
        return f"the interval holds the threshold; the claimed {claim.claimed_effect:.3g} needs more values to be seen"
    return "the interval holds both the threshold and the claimed effect"


def _with(found: Verdict, holds: bool | None, reason: str) -> Verdict:
    """The verdict with its word: what holds is called by the scale, what is not decided is underpowered."""
    words: dict[tuple[str, bool], Word] = {
        ("paper", True): "reproduced",
        ("paper", False): "not reproduced",
        ("reduced", True): "holds at reduced scale",
        ("reduced", False): "does not hold at reduced scale",
    }
    return replace(found, word="underpowered" if holds is None else words[found.scale, holds], reason=reason)
