"""The gallery: every wiring is whole, fits its network, and is found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import wirings as wr
from wirings.core.errors import WiringError
from wirings.gallery import load_wiring, wiring_names
from wirings.models import build

SHAPES = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}


@pytest.mark.parametrize("name", wiring_names())
def test_a_wiring_of_the_gallery_is_whole_and_as_sparse_as_its_name_says(name: str) -> None:
    wiring = load_wiring(name)
    assert wiring.shapes == SHAPES
    assert wiring.density == pytest.approx(1 - int(name.split("-")[-2]) / 100, abs=5e-4)


def test_the_gallery_has_every_method_at_two_sparsities() -> None:
    methods = {name.removeprefix("lenet300-mnist-").rsplit("-", 2)[0] for name in wiring_names()}
    assert methods >= {"static", "set", "rigl", "dnw", "gradual", "top-kast", "granet", "mest", "srigl", "snfs"}
    assert len(wiring_names()) == 2 * len(methods)


def test_a_wiring_of_the_gallery_can_be_trained_in_a_run() -> None:
    wiring = wr.load_wiring("lenet300-mnist-rigl-98-s0")
    wiring.check({n: tuple(p.shape) for n, p in build("lenet-300-100").named_parameters() if n in wiring})
    run = wr.Run(method=wr.Static(begin=wiring))
    assert wr.Run.from_toml(run.to_toml()).method.begin == wiring  # type: ignore[union-attr]


def test_a_file_is_loaded_by_its_path_and_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    mine = wr.Wiring({"fc": wr.Topology.at((2, 3), [0, 4])})
    mine.save(tmp_path / "mine.safetensors")
    assert load_wiring(tmp_path / "mine.safetensors") == mine
    with pytest.raises(WiringError, match=r"neither a file nor a wiring of the gallery. Did you mean '.*rigl-95-s0'"):
        load_wiring("lenet300-mnist-rigel-95-s0")
    with pytest.raises(WiringError, match="neither a file"):
        load_wiring("../gallery/lenet300-mnist-rigl-95-s0")
