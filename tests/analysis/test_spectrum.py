"""Spectra of layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wirings.analysis import spectrum as module
from wirings.analysis.spectrum import spectra, spectrum
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.random import ErdosRenyi


def test_a_full_layer_mixes_at_once() -> None:
    s = spectrum(Topology.full((4, 9)))
    assert (s.first, s.second) == (pytest.approx(6.0), pytest.approx(0.0, abs=1e-12))
    assert s.gap == pytest.approx(6.0)
    assert s.ratio == pytest.approx(0.0, abs=1e-12)
    assert s.regular
    assert s.is_ramanujan
    assert s.bound == pytest.approx(math.sqrt(8) + math.sqrt(3))


def test_a_layer_in_two_parts_has_no_gap() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2, :2] = mask[2:, 2:] = True
    s = spectrum(Topology.of(mask))
    assert s.ratio == pytest.approx(1.0)
    assert s.gap == pytest.approx(0.0)


def test_the_petersen_like_projective_plane_is_ramanujan() -> None:
    lines = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]  # the Fano plane
    s = spectrum(Topology.at((7, 7), [7 * row + point for row, line in enumerate(lines) for point in line]))
    assert (s.first, s.second) == (pytest.approx(3.0), pytest.approx(math.sqrt(2)))
    assert s.regular
    assert s.is_ramanujan


def test_a_convolution_counts_its_kernel() -> None:
    s = spectrum(Topology.full((3, 3, 2, 2)))
    assert s.first == pytest.approx(12.0)


@pytest.mark.parametrize("shape", [(60, 90), (30, 40, 2, 2)])
def test_the_sparse_and_the_dense_way_agree(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    topology = ErdosRenyi(0.2)({"w": shape}, torch.Generator().manual_seed(0))["w"]
    dense = spectrum(topology)
    monkeypatch.setattr(module, "_DENSE_UP_TO", 0)
    sparse = spectrum(topology)
    assert (sparse.first, sparse.second) == (pytest.approx(dense.first), pytest.approx(dense.second))
    assert (
        dense.first == pytest.approx(np.linalg.norm(topology.mask.flatten(2).sum(2).numpy(), 2))
        if (len(shape) > 2)
        else dense.first > dense.second > 0
    )


def test_a_search_that_does_not_converge_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.sparse import linalg

    def stuck(*_: object, **__: object) -> None:
        raise linalg.ArpackNoConvergence("No convergence", [], [])

    topology = ErdosRenyi(0.2)({"w": (20, 30)}, torch.Generator().manual_seed(0))["w"]
    expected = spectrum(topology)
    monkeypatch.setattr(linalg, "svds", stuck)
    monkeypatch.setattr(module, "_DENSE_UP_TO", 0)
    assert spectrum(topology) == expected
    monkeypatch.setattr(module, "_DENSE_AT_MOST", 0)
    with pytest.raises(ValueError, match=r"`spectrum` of shape \(20, 30\) did not converge"):
        spectrum(topology)


def test_thin_and_empty_layers_have_a_spectrum_too() -> None:
    assert (spectrum(Topology.empty((3, 3))).first, spectrum(Topology.empty((3, 3))).ratio) == (0.0, 1.0)
    assert not spectrum(Topology.empty((3, 3))).is_ramanujan
    thin = spectrum(Topology.full((1, 16)))
    assert (thin.first, thin.second) == (pytest.approx(4.0), 0.0)
    with pytest.raises(ValueError, match=r"needs a weight with outputs and inputs. Got shape \(3,\)"):
        spectrum(Topology.full((3,)))
    assert list(spectra(Wiring.full({"a": (2, 2), "b": (3,)}))) == ["a"]
