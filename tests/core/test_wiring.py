"""Wirings: a mapping with an algebra, and files that are checked before they are believed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from wirings.core.errors import WiringError
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring


@pytest.fixture
def wiring() -> Wiring:
    return Wiring(
        {
            "conv.weight": Topology.at((2, 3, 2, 2), [0, 5, 7, 23]),
            "fc.weight": Topology.at((40, 50), [3, 1999]),
            "dense.weight": Topology.full((5, 7)),
            "nearly.weight": ~Topology.at((30, 30), [17]),
            "none.weight": Topology.empty((3, 4)),
        }
    )


def test_it_counts_over_all_weights() -> None:
    wiring = Wiring({"a": Topology.at((2, 3), [0, 4]), "b": Topology.full((2,))})
    assert (wiring.nnz, wiring.numel, wiring.density) == (4, 8, 0.5)
    assert wiring.counts == {"a": 2, "b": 2}
    assert wiring.shapes == {"a": (2, 3), "b": (2,)}
    assert repr(wiring) == "Wiring(2 weights, 4 of 8 connections, density 0.5)"
    assert Wiring({}).density == 0.0
    assert Wiring.full({"a": (2, 3)}).nnz == 6


def test_its_algebra_goes_weight_by_weight() -> None:
    a = Wiring({"x": Topology.at((4,), [0, 1])})
    b = Wiring({"x": Topology.at((4,), [1, 2])})
    assert (a | b)["x"].index.tolist() == [0, 1, 2]
    assert (a & b)["x"].index.tolist() == [1]
    assert (a - b)["x"].index.tolist() == [0]
    assert (~a)["x"].index.tolist() == [2, 3]
    assert a & b <= a
    assert not a <= b
    with pytest.raises(WiringError, match=r"Two wirings must name the same weights. Only one names `x`"):
        a | Wiring({"y": b["x"]})


def test_equality_ignores_order_and_path(wiring: Wiring, tmp_path: Path) -> None:
    turned = Wiring(dict(reversed(list(wiring.items()))), path=tmp_path / "elsewhere")
    assert turned == wiring
    assert hash(turned) == hash(wiring)
    assert turned.fingerprint == wiring.fingerprint
    assert wiring != Wiring({"fc.weight": wiring["fc.weight"]})
    assert wiring != {"fc.weight": 3}


def test_a_mask_is_not_a_topology() -> None:
    with pytest.raises(TypeError, match=r"`a` is a Tensor; Topology.of takes a mask"):
        Wiring({"a": torch.ones(2)})  # type: ignore[dict-item]


def test_a_wiring_for_another_model_is_refused(wiring: Wiring) -> None:
    wiring.check(wiring.shapes)
    with pytest.raises(WiringError, match=r"names `conv.weight`, which the network does not have. Its weights: fc"):
        wiring.check({"fc": (1, 2)})
    with pytest.raises(WiringError, match=r"`conv.weight` has shape \(2, 3, 2, 2\), but that of net has \(2, 3\)"):
        wiring.check({"conv.weight": (2, 3)}, whose="net")


def test_a_saved_wiring_comes_back_equal(wiring: Wiring, tmp_path: Path) -> None:
    path = wiring.save(tmp_path / "deep" / "a.wiring")
    again = Wiring.load(path)
    assert again == wiring
    assert list(again) == list(wiring)
    assert again.path == path == wiring.path
    assert [p.name for p in path.parent.iterdir()] == ["a.wiring"]
    assert {key.partition(":")[0] for key in load_file(path)} == {"bits", "index", "free"}


def test_a_huge_layer_is_saved_by_its_smaller_side(tmp_path: Path) -> None:
    few = Topology.at((10**6, 10**6), [3, 10**12 - 1])
    wiring = Wiring({"few": few, "many": ~few, "all": Topology.full((10**6, 10**6))})
    path = wiring.save(tmp_path / "huge")
    assert path.stat().st_size < 2000
    assert Wiring.load(path) == wiring


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.sets(st.integers(0, 63)), max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_wiring_survives_its_file(tmp_path: Path, sets: dict[str, set[int]]) -> None:
    wiring = Wiring({name: Topology.at((8, 8), sorted(chosen)) for name, chosen in sets.items()})
    assert Wiring.load(wiring.save(tmp_path / "w")) == wiring


def test_a_file_cut_anywhere_is_refused_in_words(wiring: Wiring, tmp_path: Path) -> None:
    whole = wiring.save(tmp_path / "w").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(WiringError, match=r"cut is (damaged|not a wiring)"):
            Wiring.load(tmp_path / "cut")


def test_a_flipped_bit_is_noticed_or_harmless(wiring: Wiring, tmp_path: Path) -> None:
    whole = wiring.save(tmp_path / "w").read_bytes()
    refused = 0
    for place in range(len(whole)):
        bad = bytearray(whole)
        bad[place] ^= 1 << place % 8
        (tmp_path / "bad").write_bytes(bytes(bad))
        try:
            assert Wiring.load(tmp_path / "bad") == wiring  # padding bits, spaces
        except WiringError as error:
            refused += 1
            assert "bad" in str(error)  # noqa: PT017
    assert refused > 0.9 * len(whole)


def rewritten(path: Path, tensors: dict[str, np.ndarray] | None = None, **metadata: str) -> Path:
    """A copy of a wiring's file with other tensors or metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        said = dict(file.metadata())
    other = path.with_name("other")
    save_file(load_file(path) if tensors is None else tensors, other, said | metadata)
    return other


@pytest.mark.parametrize(
    "shapes",
    [
        "[]",
        "3",
        "{",
        "null",
        '{"fc.weight": 3}',
        '{"fc.weight": [2, -2]}',
        '{"fc.weight": [2, 2.5]}',
        '{"fc.weight": [2, true]}',
        '{"fc.weight": ["2", 2]}',
        '{"fc.weight": [Infinity, 2]}',
        '{"fc.weight": [NaN]}',
        '{"fc.weight": [2, 2]}',
        '{"fc.weight": [1000000000000, 1000000000000]}',
        '{"fc.weight": [' + "9" * 400 + "]}",
        '{"fc.weight": [' + "9" * 5000 + "]}",
        '{"another": [4, 5]}',
        '{"fc.weight": [4, 5], "another": [4, 5]}',
        '{"\\ud800": [4, 5]}',
        "{}",
        "[" * 100_000,
    ],
)
def test_impossible_shapes_are_refused_in_words(shapes: str, tmp_path: Path) -> None:
    path = Wiring({"fc.weight": Topology.at((4, 5), [3, 19])}).save(tmp_path / "w")
    with pytest.raises(WiringError, match=r"other is damaged"):
        Wiring.load(rewritten(path, shapes=shapes))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"index:fc.weight": np.array([3, 20], np.int32)},
        {"index:fc.weight": np.array([3, -1], np.int64)},
        {"index:fc.weight": np.array([3, 3], np.int32)},
        {"index:fc.weight": np.array([3.0, 19.0], np.float32)},
        {"index:fc.weight": np.array([3, 19], np.int16)},
        {"index:fc.weight": np.array([3, 18], np.int32)},
        {"free:fc.weight": np.array([3, 19], np.int32)},
        {"bits:fc.weight": np.zeros(2, np.uint8)},
        {"bits:fc.weight": np.zeros(3, np.uint8)},
        {"what:fc.weight": np.zeros(3, np.uint8)},
        {"fc.weight": np.zeros(3, np.uint8)},
        {"bits:fc.weight": np.zeros(3, np.uint8), "index:fc.weight": np.array([3, 19], np.int32)},
        {"index:fc.weight": np.array([3, 19], np.int32), "index:more": np.array([3, 19], np.int32)},
    ],
)
def test_connections_that_do_not_fit_are_refused_in_words(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = Wiring({"fc.weight": Topology.at((4, 5), [3, 19])}).save(tmp_path / "w")
    with pytest.raises(WiringError, match=r"other is damaged"):
        Wiring.load(rewritten(path, tensors))


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    path = Wiring({"a": Topology.full((2,))}).save(tmp_path / "w")
    for metadata in ({"format": "weights"}, {"version": "99"}):
        with pytest.raises(WiringError, match=r"is not a wiring that this version can read"):
            Wiring.load(rewritten(path, **metadata))
    for metadata in ({"version": "one"}, {"fingerprint": "0" * 16}):
        with pytest.raises(WiringError, match=r"is damaged"):
            Wiring.load(rewritten(path, **metadata))
    (tmp_path / "text").write_text(json.dumps({"format": "wirings.wiring"}))
    with pytest.raises(WiringError, match=r"damaged or not a wiring"):
        Wiring.load(tmp_path / "text")
    save_file({"a": np.zeros(3)}, tmp_path / "weights")
    with pytest.raises(WiringError, match=r"is not a wiring"):
        Wiring.load(tmp_path / "weights")
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no wiring at"):
            Wiring.load(missing)


def test_a_failed_save_leaves_the_old_file(wiring: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wiring.save(tmp_path / "w")
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.numpy.save_file", full_disk)
    with pytest.raises(OSError, match=r"no space left"):
        Wiring({"b": Topology.full((2,))}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
