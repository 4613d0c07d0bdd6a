"""Forecasts: arithmetic on made calibrations, what passes through a network, and memory as it is really held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from wirings.analysis import calibrate
from wirings.analysis.calibrate import fitted, measure
from wirings.analysis.forecast import PURPOSES, forecast, measured, report, sparse_bytes
from wirings.analysis.traffic import Kind
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.kernels.calibration import Calibration, Key
from wirings.kernels.native import available
from wirings.kernels.work import Work
from wirings.models import build
from wirings.sparse import SparseConv2d, SparseLinear

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


def made(sparse: float = 3e-9, dense: float = 1e-9, other: float = 0.0, update: float = 0.0) -> Calibration:
    """Milliseconds are: sparse multiply-adds times 3e-6, dense ones times 1e-6; a training step thrice that."""
    costs: dict[str, tuple[float, ...]] = {"update": (0.0, update, 0.0)}
    for family, length in LENGTHS.items():
        each = sparse if family.startswith("sparse") else dense
        for product, times in {"infer": 1, "train": 3, "first": 2}.items():
            costs[f"{family} {product}"] = (0.0, times * each, *[0.0] * (length - 2))
    for kind in (*(f"{kind} {purpose}" for kind in get_args(Kind) for purpose in PURPOSES), "loss train"):
        costs[kind] = (0.0, other, 0.0)
    return Calibration(key=KEY, date="2026-11-21", costs=costs)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 10))


def test_a_network_is_the_sum_of_its_layers_and_of_what_stands_between_them() -> None:
    wiring = Wiring({"0.weight": Topology.at((30, 20), range(60)), "2.weight": Topology.at((10, 30), range(30))})
    found = forecast(two_layers(), (1, 20), wiring, batch=16, calibration=made(other=1e-6, update=1e-6))
    first, second = found.layers
    assert (first.first, second.first) == (True, False)
    assert first.ms["dense infer"] == pytest.approx(600 * 16 * 1e-6)
    assert first.ms["sparse infer"] == pytest.approx(60 * 16 * 3e-6)
    assert first.ms["dense train"] == pytest.approx(2 * 600 * 16 * 1e-6 + 600 * 1e-3)
    assert second.ms["sparse train"] == pytest.approx(3 * 30 * 16 * 3e-6 + 30 * 1e-3)
    assert found.density == pytest.approx(0.1)
    # between them: the tanh of 16 x 30 numbers; in training also the loss of 16 x 10, and two biases' updates
    assert found.rest_ms["dense infer"] == pytest.approx(16 * 30 * 1e-3)
    assert found.rest_ms["dense train"] == pytest.approx((16 * 30 + 16 * 10 + 40) * 1e-3)
    assert found.ms("sparse", "infer") == pytest.approx(90 * 16 * 3e-6 + 0.48)
    assert found.gain("infer") == pytest.approx(found.ms("dense", "infer") / found.ms("sparse", "infer"))
    assert first.gain("infer") == pytest.approx(10 / 3)
    assert first.kernel("infer") == "sparse"
    assert json.loads(json.dumps(found.as_dict()))["layers"][0]["train"] == "sparse"


def test_linear_layers_in_a_row_are_a_chain_with_their_relus() -> None:
    net = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20))
    found = forecast(net, (1, 20), 0.5, batch=8, calibration=made(other=1e-6))
    assert [layer.works[0].chained for layer in found.layers] == [True, True, False]
    saved = found.rest_ms["dense infer"] - found.rest_ms["sparse infer"]
    assert saved == pytest.approx(8 * 20 * 1e-3)  # the ReLU that is part of its product


def test_convolutions_norms_and_repeated_layers_are_seen() -> None:
    found = forecast(build("resnet-20", image_shape=(3, 32, 32)), (1, 3, 32, 32), 0.1, batch=2, calibration=made())
    stem = found.layers[0].works[0]
    assert (stem.shape, stem.image, stem.padding, stem.batch) == ((16, 3, 3, 3), (32, 32), 1, 2)
    assert found.layers[0].first
    assert not any(layer.first for layer in found.layers[1:])
    assert found.layers[1].ms["dense infer"] == pytest.approx(16 * 16 * 9 * 1024 * 2 * 1e-6)
    assert len(found.layers) == 20

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.same(self.same(x))
            return result

    once = forecast(nn.Linear(5, 5), (4, 5), 0.4, calibration=made()).layers[0]
    twice = forecast(Twice(), (4, 5), 0.4, calibration=made()).layers[0]
    assert len(twice.works) == 2
    assert twice.ms["sparse infer"] == pytest.approx(2 * once.ms["sparse infer"])


def test_what_stays_dense_says_why_and_costs_the_same_either_way() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, dilation=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    found = forecast(net, (2, 4, 8, 8), 0.1, calibration=made())
    conv, linear = found.layers
    assert "dilation" in conv.reason
    assert conv.gain("train") is None
    assert conv.kernel("train") == "dense"
    assert "sparse train" not in conv.ms
    assert linear.reason == ""
    assert found.density == pytest.approx(0.1, abs=0.01)
    assert found.bytes("sparse", "train") == conv.bytes["dense train"] + linear.bytes["sparse train"]


def test_the_model_is_left_as_it_was_and_a_full_layer_runs_on_dense_kernels() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = forecast(net, (3, 6), 1.0, calibration=made())
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not net[0]._forward_hooks
    assert found.layers[0].ms["sparse train"] == found.layers[0].ms["dense train"]


@pytest.mark.parametrize("purpose", ["infer", "train"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_memory_is_what_a_layer_really_holds(kind: str, purpose: str) -> None:
    if kind == "conv" and purpose == "train" and not available():
        pytest.skip("no compiled kernels: the reference keeps no transpose of a convolution")
    rng = torch.Generator()
    layer: SparseLinear | SparseConv2d
    if kind == "linear":
        layer = SparseLinear.from_topology(Topology.full((50, 70)).sample(99, rng), bias=False)
        work = Work(shape=(50, 70), nnz=99, batch=1)
    else:
        some = Topology.full((8, 6, 3, 3)).sample(50, rng)
        layer = SparseConv2d.from_topology(some, bias=False, stride=2, padding=1)
        work = Work(shape=(8, 6, 3, 3), nnz=50, batch=1, image=(8, 8), stride=2, padding=1)
    index = layer.index
    held = [layer.values, layer.pointer, layer.column, index.pointer, index.column]
    if purpose == "train":
        turned = index.by_input if kind == "conv" else index.transposed
        held += [*turned, layer.values, layer.values]  # the gradient and a momentum are as large as the values
    assert sparse_bytes(work, purpose) == sum(t.numel() * t.itemsize for t in held)  # type: ignore[arg-type]


def test_a_report_chooses_for_every_weight_of_a_wiring(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path))
    wiring = Wiring({"0.weight": Topology.at((30, 20), range(30)), "2.weight": Topology.at((10, 30), range(290))})
    found = report(two_layers(), wiring, (1, 20), 128, calibration=made())
    assert {name: choice.kernel for name, choice in found.items()} == {"0.weight": "sparse", "2.weight": "dense"}
    assert found["0.weight"].sparse_ms == pytest.approx(2 * 30 * 128 * 3e-6)
    assert "was not measured" in report(two_layers(), wiring, (1, 20), 128)["0.weight"].why


def test_what_is_measured_stands_beside_what_was_forecast() -> None:
    found = measured(
        two_layers(), (1, 20), forecast(two_layers(), (1, 20), 0.2, batch=4, calibration=made()), 0.2, rounds=1
    )
    assert set(found.measured_ms) == {"dense train", "dense infer", "sparse train", "sparse infer"}
    assert all(ms > 0 for ms in found.measured_ms.values())
    assert set(found.measured_layers) == {"0.weight", "2.weight"}
    assert found.as_dict()["network"]["sparse train"]["measured_ms"] == found.measured_ms["sparse train"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shape": (0, 20)}, r"`shape` of `forecast` must be the sizes of an input batch. Got \(0, 20\)."),
        ({"shape": ()}, "`shape` of `forecast` must be the sizes"),
        ({"shape": (1, 20), "batch": 0}, "`batch` of `forecast` must be at least 1. Got 0."),
        ({"shape": (1, 20), "density": 1.5}, r"`density` of `forecast` must be in \(0, 1\]. Got 1.5."),
        ({"shape": (1, 20), "density": float("nan")}, "`density` of `forecast`"),
        ({"shape": (1, 20), "density": Wiring({"x": Topology.full((2, 2))})}, "is a wiring of another network: `x`"),
    ],
)
def test_impossible_questions_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        forecast(two_layers(), calibration=made(), **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no linear layer or convolution that ran"):
        forecast(nn.ReLU(), (1, 20), calibration=made())


def test_costs_are_found_again_from_times_and_none_is_below_zero() -> None:
    rng = torch.Generator().manual_seed(0)
    amounts = (torch.rand(20, 3, generator=rng, dtype=torch.float64) * torch.tensor([1.0, 1e6, 1e3])).tolist()
    samples = [(a, 1e-5 * a[0] + 2e-9 * a[1] + 0.0 * a[2]) for a in amounts]
    costs, worst = fitted(samples)
    assert costs == pytest.approx((1e-5, 2e-9, 0.0), abs=1e-12)
    assert worst < 1e-6
    assert min(fitted([([1.0, 1.0], 2.0), ([1.0, 2.0], 1.0)])[0]) >= 0


def test_measuring_fits_every_family_that_was_run(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrate, "_BLOCK", 1e-5)
    linear = [Work(shape=(16, 16), nnz=0, batch=b) for b in (1, 16)]
    conv = [Work(shape=(4, 4, 3, 3), nnz=0, batch=b, image=(6, 6), padding=1) for b in (1, 16)]
    conv.append(Work(shape=(48, 48, 3, 3), nnz=0, batch=16, image=(8, 8), padding=1))
    made_here = measure(linear, conv, rounds=1, densities=(0.1, 0.3))
    assert {f"{f} {p}" for f in LENGTHS for p in ("infer", "train", "first")} <= set(made_here.costs)
    assert {"update", "loss train", "norm infer", "half conv"} <= set(made_here.costs)
    for family, length in LENGTHS.items():
        assert len(made_here.costs[f"{family} train"]) == length
    monkeypatch.setattr(calibrate, "measure", lambda: made_here)
    assert calibrate.calibrated() is made_here
    assert calibrate.calibrated() == made_here  # from its file
    assert forecast(two_layers(), (1, 20), 0.1).calibration == made_here
