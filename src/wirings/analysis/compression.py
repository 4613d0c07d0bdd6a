"""Critical compression: how far a pruner can go before a layer loses its last connection, found without training.

Compressions are told as exponents e: ``density = 10 ** -e``, as on the axes of Tanaka et al. 2020.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from wirings.core.wiring import Shapes, Wiring
from wirings.makers.scoring import CollapseWarning


@dataclass(frozen=True)
class Critical:
    """The largest compression at which every layer still had a connection.

    Args:
        exponent: of the largest compression tried at which no layer had collapsed.
        beyond: the smallest one tried at which one had; ``None`` where the maximal compression was reached.
        collapsed: the layers that had lost every connection at ``beyond``, in the order of the network.
        tried: exponent -> how many layers had collapsed.
    """

    exponent: float
    beyond: float | None
    collapsed: tuple[str, ...]
    tried: Mapping[float, int]


def maximal_compression(shapes: Shapes) -> float:
    """The exponent of the largest compression without layer collapse: one connection in every layer.

    Example:
        >>> round(maximal_compression({"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}), 3)
        4.948
    """
    return math.log10(sum(math.prod(shape) for shape in shapes.values()) / len(shapes))


def collapsed(wiring: Wiring) -> list[str]:
    """The weights without any connection, in the order of the network."""
    return [name for name, topology in wiring.items() if topology.nnz == 0]


def critical_compression(
    wire: Callable[[float], Wiring], shapes: Shapes, *, tolerance: float = 0.25, low: float = 0.0
) -> Critical:
    """The critical compression of any pruner, by bisection over the exponents ``low, low + tolerance, ...``.

    It takes it that a pruner which collapses at one compression collapses at every larger one.

    Example:
        >>> found = critical_compression(lambda density: synflow(model, (1, 3, 32, 32), density), shapes)

    Args:
        wire: density -> wiring.
        shapes: of the prunable weights; they give the maximal compression.
        tolerance: the grid's step; the published exponents have 0.25.
        low: an exponent at which nothing collapses; 0 is the dense network.

    Raises:
        ValueError: if a layer has collapsed at ``low`` already.
    """
    if not tolerance > 0:
        raise ValueError(f"`tolerance` of `critical_compression` must be positive. Got {tolerance!r}.")
    tried: dict[float, list[str]] = {}

    def dead(step: int) -> list[str]:
        exponent = low + step * tolerance
        if exponent not in tried:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CollapseWarning)  # collapse is what is looked for
                tried[exponent] = collapsed(wire(10**-exponent))
        return tried[exponent]

    if dead(0):
        raise ValueError(f"`low` of `critical_compression` must be below collapse. `{dead(0)[0]}` is empty at {low}.")
    good, bad = 0, math.floor((maximal_compression(shapes) - low) / tolerance + 1e-9) + 1
    top = bad
    while bad - good > 1:
        middle = (good + bad) // 2
        if dead(middle):
            bad = middle
        else:
            good = middle
    counts = {exponent: len(names) for exponent, names in sorted(tried.items())}
    if bad == top:
        return Critical(low + good * tolerance, None, (), counts)
    beyond = low + bad * tolerance
    return Critical(low + good * tolerance, beyond, tuple(tried[beyond]), counts)


def critical_of_scores(scores: Mapping[str, Tensor]) -> tuple[float, str]:
    """The exact critical exponent of pruning once by global scores, and the layer that dies next.

    Every layer lives as long as its best connection is kept; the one whose best ranks lowest dies first.

    Example:
        >>> exponent, first = critical_of_scores({"a": torch.tensor([9.0, 8.0, 7.0]), "b": torch.tensor([1.0, 7.5])})
        >>> round(5 / 10**exponent), first
        (3, 'b')
    """
    best = {name: float(score.max()) for name, score in scores.items()}
    first = min(reversed(list(best)), key=lambda name: best[name])  # of equals, the last is kept last
    # ties at the threshold go to the lower index, so equals in layers before it are kept earlier
    names = list(scores)
    needed = 1 + sum(
        int((score >= best[first]).sum() if names.index(name) < names.index(first) else (score > best[first]).sum())
        for name, score in scores.items()
    )
    return math.log10(sum(score.numel() for score in scores.values()) / needed), first
