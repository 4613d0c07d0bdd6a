"""Degrees: how many connections each unit has, how unequal they are, and how that came about during a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from wirings.analysis.overlap import hamming, path_length
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

Ints = NDArray[np.int64]
Count = Literal["elements", "channels"]
"""What one connection of a convolution is: a kernel element, or a pair of channels with at least one."""


def in_degrees(wiring: Wiring, *, count: Count = "elements") -> dict[str, Ints]:
    """Weight name -> connections that enter each output unit, shape ``(out,)``.

    Example:
        >>> in_degrees(Wiring({"fc": Topology.at((2, 3), [0, 1, 5])}))["fc"].tolist()
        [2, 1]

    Args:
        wiring: of any network.
        count: for convolutions: ``"elements"`` counts kernel elements, ``"channels"`` distinct input channels.
    """
    return {name: _told(t, count).in_degrees.cpu().numpy() for name, t in wiring.items()}


def out_degrees(wiring: Wiring, *, count: Count = "elements") -> dict[str, Ints]:
    """Weight name -> connections that leave each input unit, shape ``(in,)``; see :func:`in_degrees`."""
    return {name: _told(t, count).out_degrees.cpu().numpy() for name, t in wiring.items()}


def distribution(degrees: ArrayLike) -> dict[int, int]:
    """Degree -> how many units have it, ascending, without the degrees that nobody has.

    Example:
        >>> distribution([2, 1, 2])
        {1: 1, 2: 2}
    """
    values, counts = np.unique(np.asarray(degrees, dtype=np.int64), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def gini(values: ArrayLike) -> float:
    """How unequally something is shared out: 0 where all have the same, ``1 - 1/n`` where one has everything.

    Half the mean absolute difference of two units, over the mean. 0 where nobody has anything.

    Example:
        >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 8])
        (0.0, 0.75)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n, total = len(ordered), ordered.sum()
    if n == 0 or total == 0:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float(((2 * ranks - n - 1) * ordered).sum() / (n * total))


def concentration(degrees: ArrayLike, *, top: float = 0.1) -> float:
    """Share of all connections that belong to the best connected units.

    Example:
        >>> concentration([7, 1, 1, 1, 0, 0, 0, 0, 0, 0], top=0.1)
        0.7

    Args:
        degrees: of the units of one layer.
        top: which share of the units counts as best connected, in (0, 1]; at least one unit.
    """
    if not 0 < top <= 1:
        raise ValueError(f"`top` of `concentration` must be in (0, 1]. Got {top!r}.")
    ordered = np.sort(np.asarray(degrees, dtype=np.float64))[::-1]
    total = ordered.sum()
    units = max(round(top * len(ordered)), 1)
    return float(ordered[:units].sum() / total) if total else 0.0


@dataclass(frozen=True)
class DeadUnits:
    """Units of one weight that lack connections: outputs that nothing enters, inputs that nothing leaves."""

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]


def dead_units(wiring: Wiring) -> dict[str, DeadUnits]:
    """Weight name -> its output units without any connection, and its inputs without any.

    A unit may have connections and still be dead because the units that they come from are: pass the effective
    wiring (:func:`wirings.analysis.paths.effective`) to count those too.
    """
    found = {}
    for name, t in wiring.items():
        outputs = np.flatnonzero(t.in_degrees.cpu().numpy() == 0)
        inputs = np.flatnonzero(t.out_degrees.cpu().numpy() == 0)
        found[name] = DeadUnits(tuple(outputs.tolist()), tuple(inputs.tolist()))
    return found


def dead_logits(logits: Tensor) -> tuple[int, ...]:
    """Classes whose output is the same for every input, such as outputs behind a ReLU that never opens.

    Args:
        logits: the network's outputs for at least two inputs, shape ``(n, classes)``.
    """
    if logits.ndim != 2 or len(logits) < 2:
        raise ValueError(f"`logits` of `dead_logits` must have shape (n >= 2, classes). Got {tuple(logits.shape)}.")
    still = logits.amax(0) == logits.amin(0)
    return tuple(still.nonzero().flatten().tolist())


@dataclass(frozen=True)
class Evolution:
    """When the structure of one weight came about.

    Args:
        net_share: share of the way from the first to the last topology that lay behind at the early moment:
            ``1 - hamming(early, last) / hamming(first, last)``. Negative if the early topology was farther off.
        path_share: share of all changes, also those taken back later, that had been made by then.
        spearman: rank correlation of early and last in-degrees.
        amplification: slope of ``last - early`` against ``early - mean(early)``: above 0, rich units became richer.
        gini: Gini coefficient of the in-degrees at every moment.

    A ratio or slope that is not defined (nothing changed, or all degrees are equal) is NaN.
    """

    net_share: float
    path_share: float
    spearman: float
    amplification: float
    gini: tuple[float, ...]


def evolution(history: Sequence[Topology], *, early: int) -> Evolution:
    """How one weight's topology went from first to last, seen from an early moment (the end of the first epoch, say).

    The statistics of Van Gelder et al. 2020, figure 3, made testable.

    Args:
        history: the topologies of one weight at several moments, in order.
        early: which of them is the early moment; neither the first nor beyond the last.
    """
    if not 0 < early < len(history):
        raise ValueError(f"`early` of `evolution` must be in [1, {len(history) - 1}]. Got {early!r}.")
    first, then, last = history[0], history[early], history[-1]
    degrees = [t.in_degrees.cpu().numpy() for t in (then, last)]
    return Evolution(
        net_share=1 - _ratio(hamming(then, last), hamming(first, last)),
        path_share=_ratio(path_length(history[: early + 1]), path_length(history)),
        spearman=spearman(*degrees),
        amplification=slope(degrees[0] - degrees[0].mean(), degrees[1] - degrees[0]),
        gini=tuple(gini(t.in_degrees.cpu().numpy()) for t in history),
    )


def evolutions(history: Sequence[Mapping[str, Topology]], *, early: int) -> dict[str, Evolution]:
    """Weight name -> :func:`evolution`, from the wirings of a network at several moments."""
    if not history:
        raise ValueError("`history` of `evolutions` must hold at least two wirings. Got none.")
    return {name: evolution([wiring[name] for wiring in history], early=early) for name in history[0]}


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Rank correlation, equal values sharing their mean rank; NaN where one side does not vary.

    Example:
        >>> spearman([1, 2, 3], [10, 100, 1000])
        1.0
    """
    a, b = _ranks(np.asarray(x, dtype=np.float64)), _ranks(np.asarray(y, dtype=np.float64))
    a, b = a - a.mean(), b - b.mean()
    return _ratio(float(a @ b), math.sqrt(float(a @ a) * float(b @ b)))


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Least-squares slope of ``y`` against ``x``; NaN where ``x`` does not vary."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    a, b = a - a.mean(), b - b.mean()
    return _ratio(float(a @ b), float(a @ a))


def _told(topology: Topology, count: Count) -> Topology:
    if count == "elements" or len(topology.shape) <= 2:
        return topology
    if count != "channels":
        raise ValueError(f"`count` must be 'elements' or 'channels'. Got {count!r}.")
    return Topology.of(topology.mask.flatten(2).any(2))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, the mean of them for equal values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[place]
    return ranks


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan
