"""Conservation of saliency: what flows into a unit flows out of it, and every cut of the network carries the same.

Tanaka, Kunin, Yamins & Ganguli 2020, theorems 1 and 2: any score of the form ``dR/dw * w`` is conserved at units whose
activation is homogeneous. Here are the sums; the scores come from a scorer (`synflow_scores`, `snip_scores` ...) or
from anywhere else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from wirings.core.wiring import Shapes
from wirings.makers.scoring import CollapseWarning, Masks, Pace, Scorer, Scores, prune


@dataclass(frozen=True)
class UnitFlow:
    """Scores summed over what enters and over what leaves each hidden unit of one layer.

    Args:
        incoming: shape (units,); the bias counts as entering.
        outgoing: shape (units,).
    """

    incoming: Tensor
    outgoing: Tensor

    @property
    def error(self) -> float:
        """The largest difference between the two, relative to the largest sum; 0 where all are zero."""
        largest = max(float(self.incoming.abs().max()), float(self.outgoing.abs().max()))
        return float((self.incoming - self.outgoing).abs().max()) / largest if largest else 0.0


def unit_flow(scores: Scores, entering: str, leaving: str) -> UnitFlow:
    """The flow through the units between two layers, of which the second alone reads the first.

    Example:
        >>> scores = {"a.weight": torch.tensor([[1.0, 2.0], [6.0, 0.0]]), "b.weight": torch.tensor([[3.0, 6.0]])}
        >>> unit_flow(scores, "a.weight", "b.weight")
        UnitFlow(incoming=tensor([3., 6.], dtype=torch.float64), outgoing=tensor([3., 6.], dtype=torch.float64))

    Args:
        scores: of both weights, and of the first one's bias where it has one. Signed scores stay signed.
        entering: the weight whose outputs the units are.
        leaving: the weight that reads them. A linear layer after a flattened convolution reads each channel's pixels.

    Raises:
        ValueError: if the second layer does not read as many units as the first one writes.
    """
    first, second = scores[entering].double(), scores[leaving].double()
    units = first.shape[0]
    incoming = first.flatten(1).sum(1)
    bias = entering.removesuffix("weight") + "bias"
    if bias in scores:
        incoming = incoming + scores[bias].double()
    if second.ndim < 2 or second.shape[1] % units:
        raise ValueError(
            f"`leaving` of `unit_flow` must read the {units} units that `{entering}` writes. "
            f"`{leaving}` has shape {tuple(second.shape)}."
        )
    outgoing = second.transpose(0, 1).reshape(units, -1).sum(1)
    return UnitFlow(incoming, outgoing)


def unit_flows(scores: Scores, pairs: Sequence[tuple[str, str]] | None = None) -> dict[tuple[str, str], UnitFlow]:
    """:func:`unit_flow` of many pairs; by default of all weights in a row, as in a network without branches."""
    weights = [name for name, score in scores.items() if score.ndim >= 2]
    return {pair: unit_flow(scores, *pair) for pair in (pairs or list(pairwise(weights)))}


def flow_correlation(flows: Mapping[tuple[str, str], UnitFlow]) -> float:
    """Pearson's correlation of incoming and outgoing over all units (figure 3: SynFlow 1, magnitude 0.74, random 0)."""
    both = torch.stack(
        [torch.cat([f.incoming for f in flows.values()]), torch.cat([f.outgoing for f in flows.values()])]
    )
    return float(torch.corrcoef(both)[0, 1])


def layer_totals(scores: Scores) -> dict[str, float]:
    """Scores summed over each weight, its bias included where it was scored."""
    totals: dict[str, float] = {}
    for name, score in scores.items():
        weight = name.removesuffix("bias") + "weight"
        owner = weight if name.endswith("bias") and weight in scores else name
        totals[owner] = totals.get(owner, 0.0) + float(score.double().sum())
    return totals


def cut_spread(totals: Mapping[str, float]) -> float:
    """``(max - min) / max |total|`` over layers, each of which is a cut: 0 where flow is conserved."""
    values = list(totals.values())
    largest = max(abs(v) for v in values)
    return (max(values) - min(values)) / largest if largest else 0.0


def size_slope(scores: Scores) -> float:
    """The slope of log average score against log 1/size over layers; 1 where totals are equal (figure 4).

    The figure's published slopes: random 0, magnitude 0.20, SNIP 0.56, GraSP 1.02, SynFlow 1.00.
    """
    totals = layer_totals(scores)
    sizes = {name: 0 for name in totals}
    for name, score in scores.items():
        weight = name.removesuffix("bias") + "weight"
        sizes[weight if name.endswith("bias") and weight in scores else name] += score.numel()
    x = torch.tensor([-math.log(sizes[name]) for name in totals], dtype=torch.float64)
    y = torch.tensor([math.log(abs(total) / sizes[name]) for name, total in totals.items()], dtype=torch.float64)
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


def score_to_flow(
    score: Scorer, shapes: Shapes, density: float, *, rounds: int, schedule: Pace = "exponential"
) -> list[float]:
    """For each round: the scores of what is removed, over the total flow. Below 1, no layer can lose all it has.

    The sufficient condition of theorem 3 (figure 7). The total flow is the largest layer total, which in a network with
    a first or last layer that nothing goes around is that layer's.

    Args:
        score: masks -> scores, e.g. ``Flow(model, shape, weights).scores``.
        shapes, density, rounds, schedule: see :func:`wirings.makers.scoring.prune`.
    """
    ratios: list[float] = []

    def watch(number: int, scores: Scores, before: Masks, after: Masks) -> None:
        flow = max(layer_totals(scores).values())
        # prune removes the lowest of what is left, and what was removed before scores nothing
        removed = sum(float(scores[name][before[name] & ~after[name]].sum()) for name in scores)
        ratios.append(removed / flow if flow else math.inf)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # whether layers collapse is what is asked here
        prune(score, shapes, density, owner="score_to_flow", rounds=rounds, schedule=schedule, watch=watch)
    return ratios
