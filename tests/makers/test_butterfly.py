"""Butterflies are RadiX-Nets of radix two, and fold flat."""

from __future__ import annotations

import pytest
import torch

from wirings.analysis.paths import path_counts
from wirings.makers.butterfly import FlatButterfly, butterfly, flat_butterfly
from wirings.makers.radix import radix_net


@pytest.mark.parametrize("n", [2, 8, 64])
def test_a_butterfly_joins_every_pair_by_one_path(n: int) -> None:
    layers = butterfly(n)
    assert len(layers) == n.bit_length() - 1
    assert {layer.nnz for layer in layers} == {2 * n}
    assert set(path_counts(layers).flat) == {1}
    assert layers == radix_net([[2] * len(layers)], [1] * (len(layers) + 1))


def test_a_flat_butterfly_is_the_union_of_its_digits() -> None:
    t = flat_butterfly(8, 8, 8)
    for row in range(8):
        assert t.mask[row].nonzero().flatten().tolist() == sorted({row, row ^ 1, row ^ 2, row ^ 4})


@pytest.mark.parametrize(("density", "expected"), [(0.3, 5 / 16), (0.1, 7 / 64), (1.0, 1.0)])
def test_the_nearest_density_is_taken(density: float, expected: float) -> None:
    wiring = FlatButterfly(density)({"fc": (128, 256), "conv": (64, 64, 3, 3)}, torch.Generator())
    assert wiring["fc"].density == expected
    assert wiring["conv"].density == expected


def test_narrow_layers_take_as_many_blocks_as_fit() -> None:
    wiring = FlatButterfly(0.05)({"fc": (10, 100)}, torch.Generator())
    assert wiring["fc"] == flat_butterfly(10, 100, 8)


def test_other_sizes_than_powers_of_two_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`n` of `butterfly` must be a power of two, at least 2. Got 12"):
        butterfly(12)
    with pytest.raises(ValueError, match=r"must be a power of two, at most 4. Got 8"):
        flat_butterfly(4, 8, 8)
