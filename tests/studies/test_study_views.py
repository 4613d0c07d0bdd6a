"""Words, tracks and histograms: the numbers that studies draw."""

from __future__ import annotations

import numpy as np
import pytest

from wirings.core.topology import Topology
from wirings.studies import words
from wirings.studies.views.structure import histogram, histogram_edges


@pytest.mark.parametrize(
    ("density", "said"),
    [
        (1.0, "0 %"),
        (0.1, "90 %"),
        (0.05, "95 %"),
        (0.02, "98 %"),
        (0.045, "95.5 %"),
        (0.0004, "99.96 %"),
        (0.1000004, "90 %"),
    ],
)
def test_sparsity_is_told_as_people_say_it(density: float, said: str) -> None:
    assert words.sparsity(density) == said


def test_histograms_count_every_unit_hubs_too() -> None:
    degrees = np.array([1] * 290 + [5] * 9 + [700])
    edges, told = histogram_edges([degrees])
    (series,) = histogram(None, degrees, edges, "rigl")
    assert sum(series.y) == 300
    assert edges[-1] < 30
    assert "the largest has 700" in told


def test_histograms_without_hubs_say_nothing_of_them() -> None:
    edges, told = histogram_edges([np.array([1, 2, 3])])
    assert (edges, told) == ((0.0, 1.0, 2.0, 3.0, 4.0), "")
    before = Topology.at((3, 2), [0, 1, 2])
    grey, coloured = histogram(before, [1, 2, 3], edges, "set")
    assert (grey.y, coloured.y) == ((1.0, 1.0, 1.0, 0.0), (0.0, 1.0, 1.0, 1.0))
