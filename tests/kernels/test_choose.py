"""Which kernels should run a layer: from made calibrations, and from rules where there is none."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wirings.core.topology import Topology
from wirings.kernels import native
from wirings.kernels.calibration import Calibration, Key, saved
from wirings.kernels.choose import break_even, break_even_table, choose
from wirings.kernels.work import Work, features

KEY = Key(processor="abacus", isa="beads", torch="0", threads=1)
LENGTHS = {
    "sparse linear": 6,
    "sparse chain": 6,
    "sparse linear few": 4,
    "sparse conv": 7,
    "sparse conv winograd": 6,
    "sparse conv few": 5,
    "dense linear": 6,
    "dense linear few": 5,
    "dense conv": 6,
    "dense conv few": 6,
}


def made(sparse: float = 3e-12, dense: float = 1e-12, update: float = 0.0) -> Calibration:
    """A machine on which only multiply-adds cost something, and the sparse ones so much more."""
    costs: dict[str, tuple[float, ...]] = {"update": (0.0, update, 0.0), "half linear": (4.0,)}
    for family, length in LENGTHS.items():
        each = sparse if family.startswith("sparse") else dense
        for product in ("infer", "train", "first"):
            times = {"infer": 1, "train": 3, "first": 2}[product]
            costs[f"{family} {product}"] = (0.0, times * each, *[0.0] * (length - 2))
    return Calibration(key=KEY, date="2026-11-21T00:00:00", costs=costs)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path))


@pytest.mark.parametrize("kernel", ["sparse", "dense"])
@pytest.mark.parametrize(
    "work",
    [
        Work(shape=(10, 20), nnz=7, batch=16),
        Work(shape=(10, 20), nnz=7, batch=16, chained=True),
        Work(shape=(10, 20), nnz=7, batch=1),
        Work(shape=(10, 20, 3, 3), nnz=7, batch=1, image=(5, 5)),
        Work(shape=(10, 20, 3, 3), nnz=7, batch=16, image=(5, 5)),
        Work(shape=(64, 64, 3, 3), nnz=30_000, batch=16, image=(32, 32)),
    ],
)
def test_every_family_has_as_many_kinds_of_work_as_costs(work: Work, kernel: str) -> None:
    family, amounts = features(work, kernel)  # type: ignore[arg-type]
    assert len(amounts) == LENGTHS[family]
    assert amounts[0] == 1.0
    assert all(a >= 0 for a in amounts)


def test_the_faster_kernels_are_chosen_and_both_times_are_told() -> None:
    few, many = (choose(((100, 100), nnz), batch=128, calibration=made()) for nnz in (1000, 5000))
    assert few.kernel == "sparse"
    assert few.sparse_ms == pytest.approx(1000 * 128 * 9e-9)
    assert few.dense_ms == pytest.approx(10_000 * 128 * 3e-9)
    assert few.gain == pytest.approx(10 / 3)
    assert "90 % sparse at batch 128: a training step takes 1.15 us sparse and 3.84 us dense" in few.why
    assert "sparse is 3.3 times faster (this machine's calibration of 2026-11-21, beads, 1 thread(s))" in few.why
    assert many.kernel == "dense"
    assert "sparse is 1.5 times slower" in many.why


def test_an_update_counts_every_number_that_is_held() -> None:
    told = choose(((100, 100), 100), batch=16, calibration=made(0.0, 0.0, update=1e-9))
    assert (told.sparse_ms, told.dense_ms) == (pytest.approx(1e-4), pytest.approx(1e-2))
    assert choose(((100, 100), 100), 16, purpose="infer", calibration=made(0.0, 0.0, 1e-9)).sparse_ms == 0


def test_a_topology_is_as_good_as_its_shape_and_count() -> None:
    topology = Topology.full((64, 64, 3, 3)).sample(1000, torch.Generator())
    told = choose(topology, 32, purpose="infer", image=(8, 8), padding=1, calibration=made())
    assert told == choose(((64, 64, 3, 3), 1000), 32, purpose="infer", image=(8, 8), padding=1, calibration=made())
    assert told.sparse_ms == pytest.approx(1000 * 64 * 32 * 3e-9)


def test_half_precision_makes_dense_faster_and_not_sparse() -> None:
    whole, half = (choose(((100, 100), 1000), 128, dtype, calibration=made()) for dtype in _DTYPES)
    assert half.sparse_ms == whole.sparse_ms
    assert half.dense_ms == pytest.approx(whole.dense_ms / 4)
    assert half.kernel == "dense"
    assert "4 times as fast as in float32" in half.why


_DTYPES = (torch.float32, torch.bfloat16)


def test_nothing_missing_stays_dense_and_so_does_another_device() -> None:
    assert choose(((3, 4), 12), calibration=made()).why == "no connection is missing"
    told = choose(((3, 4), 1), device="cuda", calibration=made())
    assert told.kernel == "dense"
    assert "on cuda plain torch serves" in told.why


@pytest.mark.parametrize(
    ("shape", "density", "batch", "purpose", "kernel"),
    [
        ((1000, 1000), 0.44, 128, "train", "sparse"),
        ((1000, 1000), 0.46, 128, "train", "dense"),
        ((1000, 1000), 0.41, 128, "infer", "dense"),
        ((1000, 1000), 0.49, 1, "infer", "sparse"),
        ((10, 10, 10, 10), 0.34, 16, "train", "sparse"),
        ((10, 10, 10, 10), 0.36, 16, "train", "dense"),
        ((10, 10, 10, 10), 0.06, 1, "train", "dense"),
        ((10, 10, 10, 10), 0.29, 1, "infer", "sparse"),
        ((10, 10, 10, 10), 0.31, 1, "infer", "dense"),
    ],
)
def test_without_a_calibration_rules_serve_and_say_so(
    shape: tuple[int, ...], density: float, batch: int, purpose: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "isa", lambda: "avx512")
    nnz = round(density * Work(shape=shape, nnz=0, batch=1, image=(20, 20)).numel)
    told = choose((shape, nnz), batch, purpose=purpose, image=(20, 20))  # type: ignore[arg-type]
    assert told.kernel == kernel
    assert "this machine was not measured: `wirings doctor --calibrate` does" in told.why
    assert told.gain is None


def test_without_compiled_kernels_hardly_anything_is_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "isa", lambda: "torch")
    told = choose(((100, 100), 500), 128)
    assert told.kernel == "dense"
    assert "no compiled kernels" in told.why


def test_a_calibration_is_kept_for_this_machine_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved() is None
    calibration = Calibration(key=Key.here(), date="2026-11-21", costs=made().costs, seconds=1.5)
    path = calibration.save()
    assert saved() == calibration
    assert choose(((100, 100), 1000), 128).sparse_ms == pytest.approx(1000 * 128 * 9e-9)
    monkeypatch.setattr(native, "isa", lambda: "another")
    assert Key.here().path != path
    assert saved() is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: "{",
        lambda told: json.dumps({**told, "costs": {"update": [float("nan")]}}),
        lambda told: json.dumps({**told, "costs": {"update": [-1.0]}}),
        lambda told: json.dumps({k: v for k, v in told.items() if k != "costs"}),
        lambda told: json.dumps([]),
    ],
)
def test_a_damaged_calibration_is_left_out(spoil: object, caplog: pytest.LogCaptureFixture) -> None:
    path = Calibration(key=KEY, date="", costs=made().costs).save()
    path.write_text(spoil(json.loads(path.read_text())))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING, "wirings"):
        assert saved(KEY) is None
    assert "cannot be read" in caplog.text


def test_a_calibration_of_another_format_is_passed_over() -> None:
    path = Calibration(key=KEY, date="", costs=made().costs).save()
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    assert saved(KEY) is None


@given(ratio=st.floats(1.2, 50))
def test_break_even_is_where_both_take_as_long(ratio: float) -> None:
    work = Work(shape=(1000, 1000), nnz=0, batch=128)
    density = break_even(work, "train", made(sparse=ratio * 1e-12))
    assert density == pytest.approx(1 / ratio, rel=1e-4)


def test_break_even_may_be_everywhere_or_nowhere() -> None:
    work = Work(shape=(100, 100), nnz=0, batch=128)
    assert break_even(work, "infer", made(sparse=1e-13)) == 1.0
    slow = made()
    slow = Calibration(key=KEY, date="", costs={**slow.costs, "sparse linear infer": (1.0, *[0.0] * 5)})
    assert break_even(work, "infer", slow) is None
    table = break_even_table(made())
    assert {row.batch for row in table} == {1, 16, 128}
    assert [row.purpose for row in table[:2]] == ["train", "infer"]
    assert table[4].sparsity == pytest.approx(2 / 3, abs=1e-4)  # linear, batch 128


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"topology": ((3, 4), 13)}, r"`nnz` of a weight \(3, 4\) must be in \[0, 12\]. Got 13."),
        ({"topology": ((3, 4), 1), "batch": 0}, "`batch` must be at least 1. Got 0."),
        ({"topology": ((3,), 1)}, r"`shape` must be \(out, in\)"),
        ({"topology": ((3, 4, 3, 3), 1)}, "`image` of `choose` must be said for a convolution"),
        ({"topology": ((3, 4, 3, 3), 1), "image": (2, 2)}, "no convolution has a weight"),
        ({"topology": ((3, 4), 1), "purpose": "both"}, "`purpose` of `choose` must be 'train' or 'infer'. Got 'both'."),
    ],
)
def test_impossible_layers_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        choose(**arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`dtype` of `choose` must be one of float32, float64.* Got torch.int8."):
        choose(((3, 4), 1), dtype=torch.int8)
