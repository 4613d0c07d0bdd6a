"""Every device chooses, draws and counts alike: parametrised over the devices that are there."""

from __future__ import annotations

import math

import pytest
import torch

from wirings.core import topology as topology_module
from wirings.core.forms import NM, Block, ConstantFanIn, Form, Unstructured
from wirings.core.select import top, top_global, top_mask
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.controls import inverted, permuted_units, rewired_degrees, shuffled, shuffled_within_rows
from wirings.makers.magnitude import lamp, magnitude

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
pytestmark = pytest.mark.parametrize("device", DEVICES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("k", [1, 10, 500, 990, 999])
def test_selection_with_ties(device: str, dtype: torch.dtype, k: int) -> None:
    scores = torch.randint(-5, 6, (1000,), generator=generator()).to(dtype)
    expected = scores.double().sort(descending=True, stable=True).indices[:k].sort().values
    chosen = top_mask(scores.to(device), k)
    assert chosen.device.type == device
    assert torch.equal(chosen.nonzero().flatten().cpu(), expected)
    fair = top_mask(scores.to(device), k, ties=generator(1))
    assert torch.equal(fair.cpu(), top_mask(scores, k, ties=generator(1)))


def test_selection_refuses_nan(device: str) -> None:
    scores = torch.arange(9.0, device=device)
    scores[2] = math.nan
    for k in (1, 5, 8):
        with pytest.raises(ValueError, match=r"cannot rank NaN"):
            top_mask(scores, k)


def test_selection_works_where_only_repeatable_kernels_are_allowed(device: str) -> None:
    scores = torch.rand(1000, generator=generator()).to(device)
    torch.use_deterministic_algorithms(True)
    try:
        for k in (10, 900):
            assert int(top_mask(scores, k).sum()) == k
            assert top(scores, k, Topology.full((10, 100), device=device)).index.numel() == k
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("form", [Unstructured(), NM(2, 4), Block(2, 2), ConstantFanIn()], ids=repr)
def test_forms(device: str, form: Form) -> None:
    scores = torch.rand(8, 8, 3, 3, generator=generator())
    there = form.top(scores.to(device), 144, Topology.full(scores.shape, device=device))
    assert there.device.type == device
    assert there.to("cpu") == form.top(scores, 144, Topology.full(scores.shape))
    tied = form.top(
        torch.ones_like(scores).to(device), 144, Topology.full(scores.shape, device=device), ties=generator(2)
    )
    assert tied.to("cpu") == form.top(torch.ones_like(scores), 144, Topology.full(scores.shape), ties=generator(2))


@pytest.mark.parametrize("big", [False, True])
def test_topologies(device: str, big: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if big:
        monkeypatch.setattr(topology_module, "_ALGEBRA_BY_MASK_UP_TO", 0)
    a, b = (Topology.full((30, 4, 3, 3)).sample(300, generator(seed)) for seed in (0, 1))
    x, y = a.to(device), b.to(device)
    assert x.device.type == y.device.type == device
    assert x.to(device) is x
    for there, here in [(x | y, a | b), (x & y, a & b), (x - y, a - b), (~x, ~a), (~x | y, ~a | b), (~x - ~y, ~a - ~b)]:
        assert there.device.type == device
        assert there == here  # and equality itself crosses devices
        assert here == there
        assert there.fingerprint == here.fingerprint
        assert torch.equal(there.in_degrees.cpu(), here.in_degrees)
        assert torch.equal(there.out_degrees.cpu(), here.out_degrees)
        assert there.sample(50, generator(3)) == here.sample(50, generator(3))
    assert x | b == a | b  # the left one's device counts
    assert (x | b).device.type == device


def test_wirings_and_controls(device: str) -> None:
    weights = {"fc1": torch.randn(20, 12, generator=generator()), "fc2": torch.randn(5, 20, generator=generator(1))}
    there = {name: w.to(device) for name, w in weights.items()}
    for make in (magnitude, lamp):
        assert make(there, 0.2) == make(weights, 0.2)
    wiring, moved = magnitude(weights, 0.2), magnitude(there, 0.2)
    for control in (shuffled, shuffled_within_rows, rewired_degrees, inverted, permuted_units):
        assert control(moved, generator()) == control(wiring, generator())
    scores = {name: w.abs() for name, w in there.items()}
    assert top_global(scores, 30, Wiring.full({n: tuple(w.shape) for n, w in weights.items()})).nnz == 30
