"""How a finished network's accuracy falls while ever more of its connections are taken away, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from wirings.procedures import Further, Sensitivity, sensitivity_of
from wirings.studies.measurement import Lab, Measurement

SMALLEST = tuple(n / 20 for n in range(20))
"""Shares that are removed by magnitude: 0, 5, ... 95 %."""

RANDOM = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares that are removed at random: fewer, since each is drawn ten times."""


@dataclass(frozen=True, kw_only=True)
class Removal(Measurement):
    """A curve of accuracy against the share of connections removed, of one finished run, on test images.

    Args:
        run: its id.
        order: at random, or the smallest first.
        scope: over the whole network, or the same share of each weight.
        fractions: removed.
        repeats: random draws.
        images: how many test images score, evenly spread over the set. Default: all.
        recalibrate: whether batch norms measure their statistics anew after each removal.
    """

    kind: ClassVar[str] = "removal"
    run: str
    order: Literal["random", "magnitude"] = "magnitude"
    scope: Literal["global", "local"] = "global"
    fractions: tuple[float, ...] = SMALLEST
    repeats: int = 1
    images: int | None = None
    recalibrate: bool = False

    def measure(self, lab: Lab) -> Mapping[str, Any]:
        """The curve, its area and the share at which half of what is above chance is lost."""
        curve = sensitivity_of(
            lab.record(self.run),
            further=Further(order=self.order, scope=self.scope, fractions=self.fractions, repeats=self.repeats),
            recalibrate=self.recalibrate,
            images=self.images,
            data_root=lab.data_root,
        )
        return {
            "fractions": curve.fractions,
            "scores": curve.scores,
            "chance": curve.chance,
            "auc": curve.auc,
            "q50": curve.q50,
        }


def curve_of(result: Mapping[str, Any]) -> Sensitivity:
    """What was measured, as a curve."""
    scores: Sequence[Sequence[float]] = result["scores"]
    return Sensitivity(
        fractions=tuple(result["fractions"]), scores=tuple(tuple(row) for row in scores), chance=result["chance"]
    )


__all__ = ["RANDOM", "SMALLEST", "Removal", "curve_of"]
