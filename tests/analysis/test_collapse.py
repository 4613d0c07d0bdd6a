"""Layer collapse."""

from __future__ import annotations

import pytest

from wirings.analysis.collapse import dead_share, states
from wirings.analysis.paths import effective
from wirings.core.errors import WiringError
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring


def test_an_empty_layer_cuts_the_others_off() -> None:
    wiring = Wiring({"a": Topology.empty((2, 2)), "b": Topology.full((2, 2))})
    assert states(wiring, effective(wiring)) == {"a": "empty", "b": "cut off"}
    assert dead_share(wiring, effective(wiring)) == {"a": 0.0, "b": 1.0}


def test_a_layer_with_a_path_lives() -> None:
    wiring = Wiring({"fc1": Topology.at((2, 2), [0, 3]), "fc2": Topology.at((1, 2), [0])})
    assert states(wiring, effective(wiring)) == {"fc1": "alive", "fc2": "alive"}
    assert dead_share(wiring, effective(wiring)) == {"fc1": 0.5, "fc2": 0.0}


def test_the_effective_part_is_a_part() -> None:
    wiring = Wiring({"a": Topology.at((2, 2), [0])})
    for other in (Wiring({"a": Topology.full((2, 2))}), Wiring({})):
        with pytest.raises(WiringError, match=r"`effective` must be a part of the wiring"):
            states(wiring, other)
