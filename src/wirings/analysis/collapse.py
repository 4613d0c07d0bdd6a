"""Layer collapse: a layer without connections cuts a chain in two, however many connections the others keep.

How far a pruner can go before that happens is asked in :mod:`wirings.analysis.compression`.
"""

from __future__ import annotations

from typing import Literal

from wirings.core.errors import WiringError
from wirings.core.wiring import Wiring

State = Literal["alive", "cut off", "empty"]
"""Some connection lies on a path; connections, but none on a path; no connection at all."""


def states(wiring: Wiring, effective: Wiring) -> dict[str, State]:
    """Weight name -> what has become of it.

    Example:
        >>> wiring = Wiring({"a": Topology.empty((2, 2)), "b": Topology.full((2, 2))})
        >>> states(wiring, effective(wiring))
        {'a': 'empty', 'b': 'cut off'}

    Args:
        wiring: of a network.
        effective: its part that lies on paths, by :func:`wirings.analysis.paths.effective` or ``effective_wiring``.
    """
    _check(wiring, effective)
    return {name: "alive" if effective[name].nnz else "cut off" if t.nnz else "empty" for name, t in wiring.items()}


def dead_share(wiring: Wiring, effective: Wiring) -> dict[str, float]:
    """Weight name -> share of its connections that lie on no path; 0 where it has none."""
    _check(wiring, effective)
    return {name: 1 - effective[name].nnz / t.nnz if t.nnz else 0.0 for name, t in wiring.items()}


def _check(wiring: Wiring, effective: Wiring) -> None:
    effective.check(wiring.shapes, whose="the wiring")
    for name, t in wiring.items():
        if name not in effective or not effective[name] <= t:
            raise WiringError(f"`effective` must be a part of the wiring and name its weights. `{name}` is not so.")
