"""Truly sparse runs: the same run as masked, from storage that holds the connections alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from small_run import run
from test_train import interrupt, same_end

from wirings.core.errors import SettingsError, WiringError
from wirings.core.files import sha256_of
from wirings.core.schedules import Cubic, Every
from wirings.makers.random import ErdosRenyi
from wirings.methods import DNW, SET, SNFS, EdgePopup, GradualMagnitude, GraNet, RigL, Static, TopKAST
from wirings.procedures import Lottery, Pruning
from wirings.procedures.lottery import lottery_runs
from wirings.sparse import SparseConv2d, SparseLayer, SparseLinear, keep_planes
from wirings.training import Record, Run, checkpoints, loop, train
from wirings.training.build import network, task
from wirings.training.check import check
from wirings.training.live import come_alive, dense_values

BEGIN = ErdosRenyi(0.3)
METHODS = {
    "static": Static(begin=BEGIN),
    "rigl": RigL(begin=BEGIN, when=Every(5, until=0.75)),
    "set": SET(begin=BEGIN, when=Every(5)),
    "dnw": DNW(density=0.3),
    "dnw, frozen": DNW(density=0.3, freeze_at=0.4),
    "gradual": GradualMagnitude(density=Cubic(final=0.2, begin=0.1, until=0.8), when=Every(4)),
    "granet": GraNet(density=Cubic(initial=0.5, final=0.2, until=0.8), when=Every(4)),
    "snfs": SNFS(begin=BEGIN, when=Every(5)),
    "top-kast": TopKAST(density=0.2, backward=0.5, when=Every(4)),
}
NETS = {
    "mlp": {},
    "conv": {"model": "resnet-20", "model_settings": {"width": 0.25}, "steps": 12, "learning_rate": 0.02},
}


def both(settings: dict[str, object], root: Path) -> tuple[Record, Record]:
    """The run masked and truly sparse, in float64."""
    masked = run(dtype="float64", history=Every(1), **settings)
    return train(masked, root), train(dataclasses.replace(masked, execution="sparse"), root)


CASES = [(name, "mlp") for name in METHODS] + [
    (name, "conv") for name in ("static", "rigl", "set", "dnw, frozen", "gradual")
]


@pytest.mark.parametrize(("name", "net"), CASES)
def test_masked_and_truly_sparse_are_one_run(name: str, net: str, tmp_path) -> None:
    masked, sparse = both({"method": METHODS[name], **NETS[net]}, tmp_path)
    assert masked.path != sparse.path
    assert [wiring for _, wiring in masked.history()] == [wiring for _, wiring in sparse.history()]
    assert masked.wiring == sparse.wiring
    for a, b in zip(masked.metrics, sparse.metrics, strict=True):
        for key in ("loss", "held_out_loss"):
            mine, theirs = a.pop(key), b.pop(key)  # no loss in the row before training
            assert mine == theirs or mine == pytest.approx(theirs, rel=1e-10, abs=0)
        assert a == b
    one, other = masked.results, sparse.results
    for key in [key for key in one if key.endswith("_loss") or "_loss_" in key]:
        assert one.pop(key) == pytest.approx(other.pop(key), rel=1e-10, abs=0)
    assert one == other
    assert masked.values().keys() == sparse.values().keys()
    for key, value in masked.values().items():
        torch.testing.assert_close(sparse.values()[key], value, rtol=1e-8, atol=1e-12)
    assert sparse.info["execution"] == {"kind": "sparse", "masked": {}}
    assert sparse.info["peak_memory_bytes"] > 0


@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_sparse_run_goes_on_bit_for_bit(name: str, tmp_path, monkeypatch) -> None:
    mine = run(method=METHODS[name], execution="sparse", optimizer="adamw", learning_rate=0.01)
    whole = train(mine, tmp_path / "whole")
    for step in (7, 15):
        interrupt(mine, tmp_path / "parts", step, monkeypatch)
    same_end(train(mine, tmp_path / "parts"), whole)


def test_a_sparse_conv_net_goes_on_bit_for_bit(tmp_path, monkeypatch) -> None:
    mine = run(method=METHODS["rigl"], execution="sparse", **NETS["conv"])
    whole = train(mine, tmp_path / "whole")
    interrupt(mine, tmp_path / "parts", 7, monkeypatch)
    same_end(train(mine, tmp_path / "parts"), whole)


def test_dropout_and_batch_norm_of_a_users_network_go_the_same_way(tmp_path) -> None:
    masked, sparse = both({"method": METHODS["rigl"], "model": "small_run:Net", "model_settings": {}}, tmp_path)
    assert [row["loss"] for row in masked.metrics][1:] == pytest.approx(
        [row["loss"] for row in sparse.metrics][1:], rel=1e-10
    )
    assert masked.wiring == sparse.wiring
    assert masked.test_accuracy_best == sparse.test_accuracy_best


def test_the_record_gives_back_a_dense_network_that_computes_the_same(tmp_path) -> None:
    record = train(run(method=METHODS["set"], execution="sparse"), tmp_path)
    model = record.model()
    assert not any(isinstance(module, SparseLayer) for module in model.modules())
    test = task(record.run).test
    assert loop.evaluate(model, test).accuracy == record.test_accuracy_last
    for name, topology in record.wiring.items():
        assert not record.values()[name][~topology.mask].any()


def test_what_trains_is_in_sparse_storage_and_the_plan_beside_it_is_empty() -> None:
    mine = run(method=METHODS["rigl"], execution="sparse", except_=("fc3",))
    net = come_alive(mine, task(mine), 24)
    assert sum(isinstance(module, SparseLinear) for module in net.model.modules()) == 2
    assert net.model.fc1.values.shape == (net.sparse.wiring["fc1.weight"].nnz,)
    assert type(net.model.fc3) is torch.nn.Linear
    assert list(net.shapes) == ["fc1.weight", "fc2.weight"]
    assert net.plan.fc1.weight.untyped_storage().nbytes() == 4
    dense = network(mine, (1, 6, 6), 3)
    wiring = net.sparse.wiring
    for name, value in dense_values(net.model).items():
        kept = dense.state_dict()[name] * (wiring[name].mask if name in wiring else 1)
        assert torch.equal(value, kept)


def test_a_library_conv_net_stays_in_planes() -> None:
    mine = run(method=METHODS["rigl"], execution="sparse", **NETS["conv"])
    net = come_alive(mine, task(mine), 24)
    assert sum(isinstance(module, SparseConv2d) for module in net.model.modules()) == 19
    assert net.model._forward_pre_hooks


def test_execution_is_part_of_the_identity_where_there_is_a_method() -> None:
    masked, sparse = run(method=METHODS["set"]), run(method=METHODS["set"], execution="sparse")
    assert masked.id != sparse.id
    assert Run.from_toml(sparse.to_toml()) == sparse
    assert run(execution="sparse").id == run().id


def test_a_dense_run_is_the_same_run_whatever_its_execution(tmp_path) -> None:
    first = train(run(), tmp_path)
    assert train(run(execution="sparse"), tmp_path) == first
    assert first.info["execution"] == {"kind": "dense"}


def test_a_record_from_before_there_was_this_setting_is_found(tmp_path) -> None:
    first = train(run(method=METHODS["set"]), tmp_path)
    info = first.folder.read()
    del info["settings"]["execution"]
    first.folder.write({k: v for k, v in info.items() if k not in ("format", "version")})
    assert train(run(method=METHODS["set"]), tmp_path).path == first.path


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (EdgePopup(density=0.3), "with `EdgePopup`: it trains a score for every position. Leave it 'masked'."),
        (TopKAST(density=0.2, backward=0.5, remember=True), "it remembers the value of every position"),
        (GradualMagnitude(density=Cubic(final=0.2), sticky=False), "it remembers the value of every position"),
    ],
)
def test_what_cannot_run_truly_sparse_is_refused_at_construction(method, sentence) -> None:
    with pytest.raises(ValueError, match=r"`execution` of `Run` cannot be 'sparse'") as said:
        Run(method=method, execution="sparse")
    assert sentence in str(said.value)
    with pytest.raises(SettingsError, match="'masked' or 'sparse'"):
        run(execution="dense")


def test_a_network_without_a_layer_for_sparse_storage_is_refused_before_training(tmp_path) -> None:
    mine = run(method=METHODS["set"], execution="sparse", model="test_truly_sparse:dilated", model_settings={})
    with pytest.raises(WiringError, match=r"No layer of this network can run truly sparse \(`0.weight`: .*masked"):
        check(mine)


def dilated(image_shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    """A network whose only weight the kernels cannot hold."""
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(torch.nn.Conv2d(1, classes, 3, dilation=2), pool, torch.nn.Flatten())


def half(image_shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    """A network of which one layer can be in sparse storage and one cannot."""
    first = torch.nn.Conv2d(1, 4, 3, dilation=2)
    return torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, classes))


class InPlanes(torch.nn.Module):
    """A user's network that asks for planes itself."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)
        self.second = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.last = torch.nn.Linear(4, classes)
        keep_planes(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.norm(self.first(x)).relu()).mean((2, 3)))


def test_a_users_network_may_ask_for_planes_itself(tmp_path) -> None:
    masked, sparse = both(
        {"method": METHODS["set"], "model": "test_truly_sparse:InPlanes", "model_settings": {}}, tmp_path
    )
    assert masked.wiring == sparse.wiring
    assert masked.metrics[-1]["loss"] == pytest.approx(sparse.metrics[-1]["loss"], rel=1e-10)


def test_layers_that_cannot_be_in_storage_train_masked_beside_the_others(tmp_path) -> None:
    masked, sparse = both({"method": METHODS["set"], "model": "test_truly_sparse:half", "model_settings": {}}, tmp_path)
    assert list(sparse.info["execution"]["masked"]) == ["0.weight"]
    assert masked.wiring == sparse.wiring
    assert masked.metrics[-1]["loss"] == pytest.approx(sparse.metrics[-1]["loss"], rel=1e-10)


def test_rounds_of_a_lottery_run_truly_sparse(tmp_path) -> None:
    ends = []
    for execution in ("masked", "sparse"):
        first = run(dtype="float64", execution=execution)
        play = Lottery(run=first, rounds=2, pruning=Pruning.reaching(0.3, 2), rewind=4)
        ends.append([ticket.record for ticket in lottery_runs(play, tmp_path)])
    masked, sparse = ends
    assert masked[0] == sparse[0]
    for a, b in zip(masked[1:], sparse[1:], strict=True):
        assert a.path != b.path
        assert b.info["execution"]["kind"] == "sparse"
        assert a.wiring == b.wiring
        assert [row["loss"] for row in a.metrics][1:] == pytest.approx(
            [row["loss"] for row in b.metrics][1:], rel=1e-10
        )


def test_checkpoints_of_a_sparse_run_hold_no_dense_weight(tmp_path, monkeypatch) -> None:
    mine = run(method=METHODS["rigl"], execution="sparse")
    interrupt(mine, tmp_path, 7, monkeypatch)
    _, values, _ = checkpoints.newest(tmp_path / mine.id / "checkpoints")
    assert "fc1.weight" not in values
    assert values["fc1.values"].numel() < 16 * 36


def test_the_snapshot_of_a_sparse_run_is_dense(tmp_path) -> None:
    masked, sparse = (
        train(run(method=METHODS["dnw"], execution=kind, snapshot=4), tmp_path) for kind in ("masked", "sparse")
    )
    assert checkpoints.load_values(masked.snapshot()).keys() == checkpoints.load_values(sparse.snapshot()).keys()
    assert sha256_of(sparse.snapshot())
