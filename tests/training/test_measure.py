"""What every run records beside its accuracy, against numbers made by hand."""

from __future__ import annotations

import pytest
import torch
from small_run import STEPS, run
from test_train import METHODS
from torch import Tensor, nn

from wirings.analysis.degrees import in_degrees
from wirings.analysis.overlap import jaccard
from wirings.analysis.paths import effective
from wirings.core.schedules import Every
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.random import ErdosRenyi
from wirings.methods.dnw import DNW
from wirings.methods.drop_grow import RigL
from wirings.methods.static import Static
from wirings.training import Record, train

IMAGES = 216 * 3  # three epochs
DENSE = 2 * (36 * 16 + 16 * 8 + 8 * 3)
"""Operations of a dense forward pass for one image."""


class Odd(nn.Module):
    """A network whose forward pass fails on a single image, as batch statistics may."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.only = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise RuntimeError("one image is not enough")
        return self.only(x.flatten(1))


def test_structure_is_that_of_the_wiring(tmp_path) -> None:
    record = train(run(method=RigL(begin=ErdosRenyi(0.15), when=Every(8))), tmp_path)
    history = dict(record.history())
    final, row = record.wiring, record.metrics[-1]
    on_paths = effective(final)
    assert row["density"] == record.density == final.density == pytest.approx(0.15, abs=1e-3)
    assert row["effective_density"] == record.effective_density == on_paths.density
    assert list(row["layers"]) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    entering = in_degrees(final)["fc1.weight"]
    assert row["layers"]["fc1.weight"] == {
        "density": final["fc1.weight"].density,
        "effective_density": on_paths["fc1.weight"].density,
        "dead_units": int((on_paths["fc1.weight"].in_degrees == 0).sum()),
        "in_degree": [entering.min(), entering.mean(), entering.max()],
    }
    assert row["dead_units"] == sum(int((t.in_degrees == 0).sum()) for t in on_paths.values())
    assert record.metrics[0]["overlap"] is None
    assert record.results["connections"] == final.nnz
    union = history[0]
    for wiring in history.values():
        union = union | wiring
    assert record.metrics[0]["explored"] == history[0].density
    assert row["explored"] >= union.density > history[0].density


def test_overlap_is_with_the_row_before(tmp_path) -> None:
    record = train(run(method=METHODS["set"], history={"kind": "every", "n": 8}), tmp_path)
    history = dict(record.history())
    for before, row in zip(record.metrics, record.metrics[1:], strict=False):
        assert row["overlap"] == jaccard(history[before["step"]], history[row["step"]]) < 1


def test_dense_training_costs_three_forward_passes(tmp_path) -> None:
    record = train(run(), tmp_path)
    assert record.training_flops == 3 * DENSE * IMAGES
    assert record.results["forward_flops"] == DENSE
    assert (record.density, record.effective_density, record.results["explored"]) == (1.0, 1.0, 1.0)


def sparse_forward(record: Record) -> float:
    macs = {"fc1.weight": 1, "fc2.weight": 1, "fc3.weight": 1}
    return sum(2 * record.wiring[name].nnz for name in macs)


def test_static_training_costs_three_sparse_ones(tmp_path) -> None:
    record = train(run(method=Static(begin=ErdosRenyi(0.25))), tmp_path)
    assert record.training_flops == pytest.approx(3 * sparse_forward(record) * IMAGES)
    assert record.results["dense_training_flops"] == 3 * DENSE * IMAGES


def test_rigl_pays_for_the_gradients_it_hears(tmp_path) -> None:
    record = train(run(method=RigL(begin=ErdosRenyi(0.25), when=Every(8))), tmp_path)
    sparse = sparse_forward(record)
    heard = 3 * 20  # steps 8, 16 and 24 are the last of their epochs: 216 - 7 * 28 images
    assert record.results["dense_gradient_steps"] == 3
    assert record.training_flops == pytest.approx(3 * sparse * IMAGES + heard * (DENSE - sparse))


def test_frozen_dnw_makes_no_dense_gradient_after_freezing(tmp_path) -> None:
    full = train(run(method=DNW(density=0.25)), tmp_path)
    frozen = train(run(method=DNW(density=0.25, freeze_at=8)), tmp_path)
    assert full.results["dense_gradient_steps"] == STEPS
    assert frozen.results["dense_gradient_steps"] == 8
    costs = [row["training_flops"] for row in frozen.metrics]
    sparse = sparse_forward(frozen)
    assert costs[1] == pytest.approx(216 * (2 * sparse + DENSE))
    assert costs[3] - costs[2] == pytest.approx(216 * 3 * sparse)


def test_measuring_goes_on_after_a_resume(tmp_path, monkeypatch) -> None:
    from test_train import interrupt

    mine = run(method=METHODS["gradual"])
    interrupt(mine, tmp_path / "stopped", 13, monkeypatch)
    whole, stopped = (train(mine, tmp_path / name) for name in ("whole", "stopped"))
    assert whole.metrics == stopped.metrics
    assert whole.results == stopped.results


def test_what_cannot_be_measured_does_not_stop_a_run(tmp_path) -> None:
    record = train(run(model="test_measure:Odd", model_settings={}, method=METHODS["set"]), tmp_path)
    assert record.finished
    assert record.results["training_flops"] is None
    assert record.results["effective_density"] is None
    assert record.results["missing"] == {
        "training_flops": "RuntimeError: one image is not enough",
        "effective_density": "RuntimeError: one image is not enough",
    }


def test_dead_logits_are_counted(tmp_path) -> None:
    wiring = Wiring(
        {
            "fc1.weight": Topology.full((16, 36)),
            "fc2.weight": Topology.full((8, 16)),
            "fc3.weight": Topology.at((3, 8), range(8)),  # two of three classes have no connection
        }
    )
    wiring.save(tmp_path / "wiring.safetensors")
    record = train(run(method=Static(begin=wiring)), tmp_path)
    assert record.results["dead_logits"] == 2
    assert [row["dead_logits"] for row in record.metrics] == [2, 2, 2, 2]
    assert record.metrics[-1]["layers"]["fc3.weight"]["dead_units"] == 2


def test_wirings_on_paths_are_told_apart(tmp_path) -> None:
    loose = Wiring(
        {
            "fc1.weight": Topology.at((16, 36), [0]),  # enters unit 0
            "fc2.weight": Topology.at((8, 16), [1]),  # leaves unit 1
            "fc3.weight": Topology.full((3, 8)),
        }
    )
    loose.save(tmp_path / "wiring.safetensors")
    record = train(run(method=Static(begin=loose)), tmp_path)
    assert record.effective_density == 0
    assert record.density == 26 / 728
    assert torch.equal(record.wiring["fc1.weight"].index, torch.tensor([0]))
