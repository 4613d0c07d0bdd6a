"""How early a wiring came about: what figure 3 of Van Gelder et al. (2020) shows, as numbers, from one finished run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from wirings.analysis.degrees import evolutions, gini, spearman
from wirings.analysis.overlap import hamming
from wirings.core.wiring import Wiring
from wirings.studies.measurement import Lab, Measurement
from wirings.studies.views.structure import Track

EARLY = 1.0
"""The early moment of the paper, in epochs."""

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)
"""Moments of the first epoch that are told; after it every epoch is."""


@dataclass(frozen=True, kw_only=True)
class Emergence(Measurement):
    """When the wiring of a run came about: its way from the first to the last, and the in-degrees on the way.

    Of the whole network and of each moment: the share of the net change (Hamming distance from first to last) and of
    the path (every change that was seen from look to look) that lay behind. Of each layer also the rank correlation of
    in-degrees with the last ones, their Gini coefficient, units without inputs, and the amplification after `EARLY`.

    Args:
        run: the id of a run whose ``history`` looks at least ten times an epoch, or once an epoch: then the path is
            coarse and the moments within the first epoch are left out.
        units: how many units of each layer are traced, evenly from the fewest to the most inputs after `EARLY`; with
            any, the in-degrees of all units at `EARLY` and at the end are told too.
    """

    kind: ClassVar[str] = "emergence"
    drawn: ClassVar[tuple[str, ...]] = ("traces", "units", "degrees")
    run: str
    units: int = 0

    def measure(self, lab: Lab) -> dict[str, Any]:
        track = Track(lab.record(self.run))
        looks = moments(track.epochs)
        early = track.nearest(EARLY)
        told = evolutions(track.wirings, early=early)
        steps = [hamming(a, b) for a, b in zip(track.wirings, track.wirings[1:], strict=False)]
        behind = np.concatenate([[0], np.cumsum(steps)])
        return {
            "epochs": [round(track.epochs[i], 3) for i in looks],
            "early": looks.index(early),
            "net": net_shares([track.wirings[i] for i in looks]),
            "path": [_plain(_ratio(float(behind[i]), float(behind[-1]))) for i in looks],
            "detour": _plain(_ratio(float(behind[-1]), hamming(track.wirings[0], track.wirings[-1]))),
            "moved": hamming(track.wirings[0], track.wirings[-1]) / (2 * track.wirings[-1].nnz),
            "layers": {
                name: {
                    "density": topology.density,
                    "net_share": _plain(told[name].net_share),
                    "path_share": _plain(told[name].path_share),
                    "spearman": _ranks(track.degrees(name)[looks]),
                    "amplification": _plain(told[name].amplification),
                    "gini": [gini(degrees) for degrees in track.degrees(name)[looks]],
                    "dead": [int((degrees == 0).sum()) for degrees in track.degrees(name)[looks]],
                    **self._traces(track.degrees(name), looks, early),
                }
                for name, topology in track.wirings[-1].items()
            },
        }

    def _traces(self, degrees: np.ndarray, looks: Sequence[int], early: int) -> dict[str, Any]:
        if not self.units:
            return {}
        ranked = np.argsort(degrees[early], kind="stable")
        chosen = ranked[np.linspace(0, len(ranked) - 1, min(self.units, len(ranked))).round().astype(int)]
        return {
            "degrees": [degrees[early].tolist(), degrees[-1].tolist()],
            "units": chosen.tolist(),
            "traces": degrees[looks][:, chosen].T.tolist(),
        }


def moments(epochs: Sequence[float]) -> list[int]:
    """Which looks are told: those nearest to `FRACTIONS` where the run looked there, then one an epoch.

    Example:
        >>> moments([0, 0.1, 0.2, 0.5, 0.9, 1.0, 1.5, 2.0])
        [0, 1, 2, 3, 5, 7]
    """
    wanted = [*FRACTIONS, *range(1, round(epochs[-1]) + 1)]
    near = [min(range(len(epochs)), key=lambda i, at=at: abs(epochs[i] - at)) for at in wanted]  # type: ignore[misc]
    found = {i for i, at in zip(near, wanted, strict=True) if abs(epochs[i] - at) <= 0.06}
    return sorted(found | {0, len(epochs) - 1})


def net_shares(wirings: Sequence[Wiring]) -> list[float | None]:
    """How much of the way from the first to the last of these wirings lay behind at each: 0 at the first, 1 at the end.

    All ``None`` where the wiring stood still. Below 0 where a wiring was farther from the last than the first was.
    """
    whole = hamming(wirings[0], wirings[-1])
    return [_plain(1 - _ratio(hamming(wiring, wirings[-1]), whole)) for wiring in wirings]


# ---------------------------------------------------------------------- statistics of the claims, of one result


def net_share(result: Mapping[str, Any]) -> float | None:
    """Share of the network's net change that lay behind after `EARLY`."""
    return result["net"][result["early"]]  # type: ignore[no-any-return]


def rank_kept(result: Mapping[str, Any]) -> float | None:
    """Rank correlation of in-degrees after `EARLY` with the last ones: the median over layers where both vary."""
    found = [layer["spearman"][result["early"]] for layer in result["layers"].values()]
    return _over(found, lambda values: float(np.median(values)))


def amplified(result: Mapping[str, Any]) -> float | None:
    """The amplification that at least 80 % of the layers reach: of three layers the least, of six the second least."""
    found = [layer["amplification"] for layer in result["layers"].values()]
    return _over(found, lambda values: float(np.quantile(values, 0.2, method="lower")))


def _over(values: Sequence[float | None], of: Any) -> float | None:  # Any: list of numbers -> number
    known = [value for value in values if value is not None]
    return of(known) if known else None


def _ranks(degrees: np.ndarray) -> list[float | None]:
    return [_plain(spearman(row, degrees[-1])) for row in degrees]


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _plain(x: float) -> float | None:
    """A number that JSON can hold."""
    return float(x) if math.isfinite(x) else None


__all__ = ["EARLY", "FRACTIONS", "Emergence", "amplified", "moments", "net_share", "net_shares", "rank_kept"]
