"""The loop: what it leaves behind, how it stops, and that it goes on bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_run import STEPS, data, run
from torch import Tensor

from wirings.core.errors import DataError, RunError, SettingsError, WiringError
from wirings.core.files import sha256_of
from wirings.core.schedules import Cubic, Every
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.random import ErdosRenyi
from wirings.methods.dnw import DNW
from wirings.methods.drop_grow import SET, RigL
from wirings.methods.gradual import GradualMagnitude
from wirings.methods.static import Static
from wirings.training import Interrupted, Record, Run, Values, checkpoints, loop, train
from wirings.training.build import load_data, network, task
from wirings.training.folder import RunFolder, claimed

METHODS = {
    "dense": None,
    "rigl": RigL(begin=ErdosRenyi(0.3), when=Every(5, until=0.75)),
    "set": SET(begin=ErdosRenyi(0.3), when=Every(5)),
    "dnw": DNW(density=0.3),
    "gradual": GradualMagnitude(density=Cubic(final=0.2, begin=0.1, until=0.8), when=Every(4)),
}


def values(record: Record) -> dict[str, Tensor]:
    return record.values()


def same_end(one: Record, other: Record) -> None:
    """Values, wiring, metrics and results, all to the bit."""
    assert one.folder.metrics.read_bytes() == other.folder.metrics.read_bytes()
    assert one.results == other.results
    assert sha256_of(one.folder.final / "model.safetensors") == sha256_of(other.folder.final / "model.safetensors")
    assert one.wiring == other.wiring
    assert [step for step, _ in one.history()] == [step for step, _ in other.history()]
    assert all(a == b for (_, a), (_, b) in zip(one.history(), other.history(), strict=True))


def at_step(step: int, do: Callable[[], object]) -> loop.Listener:
    """Does something in a certain step (the loop's listener hears every step where PROGRESS_EVERY is 0)."""

    def listener(event: dict[str, object]) -> None:
        if event["event"] == "progress" and event["step"] == step:
            do()

    return listener  # type: ignore[return-value]


def interrupt(mine: Run, root: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    monkeypatch.setattr(loop, "PROGRESS_EVERY", 0.0)
    with pytest.raises(Interrupted) as stopped:
        train(mine, root, listener=at_step(step, lambda: os.kill(os.getpid(), signal.SIGINT)))
    return stopped.value


# ---------------------------------------------------------------------- what it leaves behind


def test_a_run_learns_and_leaves_its_record(tmp_path) -> None:
    mine = run(method=SET(begin=ErdosRenyi(0.5)), label="mine")
    record = train(mine, tmp_path)
    assert record.finished
    assert record.test_accuracy_last > 0.7
    assert {"run.json", "config.toml", "metrics.jsonl", "events.jsonl", "lock", "wirings", "final"} == {
        p.name for p in record.path.iterdir()
    }
    assert [row["step"] for row in record.metrics] == [0, 8, 16, 24]
    assert [row["epoch"] for row in record.metrics] == [0, 1, 2, 3]
    assert record.metrics[-1]["loss"] < record.metrics[1]["loss"]
    assert record.info["data"] | {"sha256": ""} == {
        "name": "small",
        "sha256": "",
        "train": 216,
        "held_out": 24,
        "test": 60,
        "image_shape": [1, 6, 6],
        "classes": 3,
    }
    assert record.info["data"]["sha256"] == data().sha256
    assert {"python", "torch", "numpy", "wirings"} <= record.info["versions"].keys()
    assert record.info["seeds"] == {"seed": 0, "init": 0, "order": 0, "wiring": 0}
    assert record.seconds > 0
    assert record.energy["joules"] > 0
    assert record.energy["source"] in ("rapl", "estimate")
    assert Run.load(record.folder.config) == mine
    assert record.run == mine
    assert checkpoints.damage(record.folder.final) is None


def test_a_finished_run_is_never_made_again(tmp_path, monkeypatch) -> None:
    first = train(run(), tmp_path)
    before = first.folder.info_file.read_bytes()
    monkeypatch.setattr(loop, "_loop", None)
    assert train(run(), tmp_path) == first
    assert first.folder.info_file.read_bytes() == before


def test_the_same_run_twice_is_the_same_to_the_bit(tmp_path) -> None:
    for method in ("dense", "rigl"):
        mine = run(method=METHODS[method], model="small_run:Net", model_settings={})
        same_end(train(mine, tmp_path / "a"), train(mine, tmp_path / "b"))


def test_seeds_and_streams_move_only_what_is_theirs(tmp_path) -> None:
    def made(**settings: object) -> tuple[str, str]:
        mine = run(method=METHODS["set"], steps=1, **settings)
        record = train(mine, tmp_path)
        first = network(mine, (1, 6, 6), 3).state_dict()["fc1.weight"]
        return str(first.sum().item()), record.metrics[-1]["order"]

    plain, init, order = made(), made(streams={"init": 9}), made(streams={"order": 9})
    assert plain[1] == init[1] != order[1]
    assert plain[0] == order[0] != init[0]
    assert set(made(seed=9)).isdisjoint(plain)


def test_the_best_epoch_is_chosen_on_held_out_images_and_the_test_set_read_at_the_end(tmp_path, monkeypatch) -> None:
    looks = []
    real = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", lambda model, batches: looks.append(batches.count) or real(model, batches))
    record = train(run(), tmp_path)
    assert looks == [24, 24, 24, 24, 60, 60]  # last, then best
    assert record.best_chosen_on == "held-out"
    assert record.results["held_out_accuracy_best"] == max(row["held_out_accuracy"] for row in record.metrics[1:])
    assert not any("test_accuracy" in row for row in record.metrics)


def test_the_papers_protocol_is_labelled(tmp_path) -> None:
    record = train(run(protocol="paper", held_out=None), tmp_path)
    assert record.best_chosen_on == "test"
    assert record.test_accuracy_best == max(row["test_accuracy"] for row in record.metrics[1:])
    assert record.info["data"]["held_out"] == 0
    assert record.info["data"]["train"] == 240
    assert "held_out_accuracy_best" not in record.results


def test_the_held_out_images_are_the_same_for_every_seed() -> None:
    one, other = (task(run(seed=seed)).held_out for seed in (0, 1))
    assert one is not None
    assert torch.equal(one.index, other.index)
    assert set(one.index.tolist()).isdisjoint(task(run()).train.index.tolist())


def test_the_wiring_is_kept_where_it_changed(tmp_path) -> None:
    moving = train(run(method=METHODS["set"], history={"kind": "every", "n": 6}), tmp_path)
    still = train(run(method=Static(begin=ErdosRenyi(0.3)), history={"kind": "every", "n": 6}), tmp_path)
    assert [step for step, _ in moving.history()] == [0, 6, 12, 18, 24]
    assert [step for step, _ in still.history()] == [0]
    assert dict(moving.history())[24] == moving.wiring


def test_weights_that_stay_dense_are_left_out(tmp_path) -> None:
    record = train(run(method=METHODS["set"], except_=["fc3"]), tmp_path)
    assert list(record.wiring) == ["fc1.weight", "fc2.weight"]
    assert record.density == pytest.approx(0.3, abs=1e-3)


def test_the_network_comes_back_from_disk(tmp_path) -> None:
    mine = run(method=METHODS["rigl"], model="small_run:Net", model_settings={})
    record = train(mine, tmp_path)
    model = record.model()
    assert loop.evaluate(model, task(mine).test).accuracy == record.test_accuracy_last
    for name, topology in record.wiring.items():
        assert not model.state_dict()[name][~topology.mask].any()


def test_a_snapshot_can_be_begun_from(tmp_path) -> None:
    first = train(run(snapshot=10), tmp_path)
    file = first.snapshot()
    assert file == first.snapshot(10)
    assert file.name == "step-00000010.safetensors"
    begun = run(values=Values(path=str(file), sha256=sha256_of(file), step=10))
    record = train(begun, tmp_path)
    assert [row["step"] for row in record.metrics] == [10, 16, 24]
    assert record.metrics[1]["order"] == first.metrics[2]["order"]
    with pytest.raises(RunError, match=r"keeps no snapshot of step 11; set `snapshot`."):
        first.snapshot(11)


def test_values_with_all_steps_behind_them_are_refused(tmp_path) -> None:
    file = train(run(snapshot=24), tmp_path).snapshot()
    with pytest.raises(SettingsError, match=r"`values` of `Run` have 24 steps behind them, but the run has only 24."):
        train(run(values=Values(path=str(file), sha256=sha256_of(file), step=24)), tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before_and_its_own_error(tmp_path, monkeypatch) -> None:
    mine = run(checkpoint=0.0)
    real, saved = checkpoints.save, []

    def save(folder, step, *rest):
        if step == 6:
            raise OSError(28, "No space left on device")
        saved.append(step)
        return real(folder, step, *rest)

    monkeypatch.setattr(checkpoints, "save", save)
    monkeypatch.setattr(
        RunFolder, "note", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "still full")) if saved else None
    )
    with pytest.raises(OSError, match="full"):
        train(mine, tmp_path / "full")
    monkeypatch.undo()
    same_end(train(mine, tmp_path / "full"), train(mine, tmp_path / "whole"))


def test_without_momentum_going_on_from_a_snapshot_is_going_on(tmp_path) -> None:
    plain = {"optimizer": {"kind": "sgd", "momentum": 0.0}}
    first = train(run(snapshot=8, **plain), tmp_path)
    file = first.snapshot()
    second = train(run(values=Values(path=str(file), sha256=sha256_of(file), step=8), **plain), tmp_path)
    assert all(torch.equal(a, values(second)[name]) for name, a in values(first).items())


def test_a_run_folder_stands_for_itself(tmp_path) -> None:
    maker = ErdosRenyi(0.2)
    shapes = {"fc1.weight": (16, 36), "fc2.weight": (8, 16), "fc3.weight": (3, 8)}
    wiring = maker(shapes, torch.Generator().manual_seed(0))
    wiring.save(tmp_path / "elsewhere.safetensors")
    record = train(run(method=Static(begin=wiring)), tmp_path / "runs")
    (tmp_path / "elsewhere.safetensors").unlink()
    moved = Record((tmp_path / "runs").rename(tmp_path / "moved") / record.path.name)
    assert moved.run.method.begin == wiring == moved.wiring  # type: ignore[union-attr]


def test_label_smoothing_clipping_dtype_and_adam_do_something(tmp_path) -> None:
    plain = values(train(run(), tmp_path))["fc1.weight"]
    for settings in (
        {"label_smoothing": 0.2},
        {"clip_norm": 0.01},
        {"optimizer": "adam", "learning_rate": 0.001},
        {"optimizer": "adamw", "learning_rate": 0.001},
        {"drop_last": True},
        {"fixed_order": True},
        {"normalise": "per-image"},
        {"augment": {"kind": "crop-flip", "pad": 1}},
    ):
        other = values(train(run(**settings), tmp_path))["fc1.weight"]
        assert other.isfinite().all()
        assert not torch.equal(other, plain), settings
    assert values(train(run(dtype="float64"), tmp_path))["fc1.weight"].dtype == torch.float64


def test_the_process_is_left_as_it_was(tmp_path) -> None:
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(run(model="small_run:Net", model_settings={}, steps=3), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


# ---------------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [(1,), (5,), (8,), (13, 19), (23,)], ids=str)
def test_an_interrupted_run_ends_where_it_would_have_ended(tmp_path, monkeypatch, method, steps) -> None:
    mine = run(method=METHODS[method], model="small_run:Net", model_settings={}, learning_rate=0.05)
    for step in steps:
        stopped = interrupt(mine, tmp_path / "stopped", step, monkeypatch)
        assert f"Stopped after step {step} of {STEPS}" in str(stopped)
        assert "Give the same command again to go on from there." in str(stopped)
        assert Record(tmp_path / "stopped" / mine.id).status == "interrupted"
    same_end(train(mine, tmp_path / "stopped"), train(mine, tmp_path / "whole"))


def test_sigterm_is_heard_like_ctrl_c(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "PROGRESS_EVERY", 0.0)
    with pytest.raises(Interrupted) as stopped:
        train(run(), tmp_path, listener=at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert stopped.value.signal == signal.SIGTERM
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_asked_twice_it_stops_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "PROGRESS_EVERY", 0.0)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        train(run(), tmp_path, listener=at_step(3, twice))
    assert not isinstance(stopped.value, Interrupted)
    assert Record(tmp_path / run().id).status == "interrupted"
    assert train(run(), tmp_path).finished


def test_a_run_that_failed_goes_on_from_its_checkpoint(tmp_path, monkeypatch) -> None:
    mine = run(method=METHODS["rigl"], checkpoint=0.0)
    monkeypatch.setattr(loop, "PROGRESS_EVERY", 0.0)

    def fail() -> None:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        train(mine, tmp_path / "failed", listener=at_step(11, fail))
    record = Record(tmp_path / "failed" / mine.id)
    assert (record.status, record.info["error"]) == ("failed", "RuntimeError: out of luck")
    started = []
    again = train(mine, tmp_path / "failed", listener=lambda event: started.append(event))
    assert started[0]["step"] == 10
    same_end(again, train(mine, tmp_path / "whole"))
    assert "error" not in again.info
    assert not again.folder.checkpoints.exists()


def test_a_damaged_checkpoint_costs_only_steps(tmp_path, monkeypatch) -> None:
    mine = run(method=METHODS["dnw"], checkpoint=0.0)
    interrupt(mine, tmp_path / "harmed", 12, monkeypatch)
    newest = tmp_path / "harmed" / mine.id / "checkpoints" / "step-00000012" / "train.pt"
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="step-00000012 is passed over"):
        record = train(mine, tmp_path / "harmed")
    same_end(record, train(mine, tmp_path / "whole"))


def test_torn_rows_do_not_come_back(tmp_path, monkeypatch) -> None:
    mine = run()
    interrupt(mine, tmp_path / "torn", 12, monkeypatch)
    with (tmp_path / "torn" / mine.id / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "epoch": 2}\n{"step": 24')
    same_end(train(mine, tmp_path / "torn"), train(mine, tmp_path / "whole"))


def test_an_infinite_loss_stops_within_its_step_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch) -> None:
    mine = run(model="small_run:Drifting", model_settings={"at": 10}, checkpoint=0.0)
    record = train(mine, tmp_path)
    assert record.status == "diverged"
    assert record.info["step"] == 9
    assert record.info["error"] == "The loss of step 10 was nan; try a smaller learning rate or a warm-up."
    assert not record.folder.final.exists()
    step, kept, _ = checkpoints.newest(record.folder.checkpoints)
    assert step == 9
    assert all(tensor.isfinite().all() for tensor in kept.values())
    with pytest.raises(RunError, match=r"has no `test_accuracy_last` yet: the run is diverged."):
        _ = record.test_accuracy_last
    monkeypatch.setattr(loop, "_loop", None)
    assert train(mine, tmp_path).status == "diverged"  # it would diverge again


def test_a_hopeless_learning_rate_diverges_and_does_not_crash(tmp_path) -> None:
    wild = {"kind": "sgd", "weight_decay": 1.0}
    record = train(run(learning_rate=1e6, schedule="constant", optimizer=wild), tmp_path)
    assert record.status == "diverged"


# ---------------------------------------------------------------------- what cannot be


def test_a_folder_in_use_is_refused(tmp_path) -> None:
    folder = RunFolder(tmp_path / run().id)
    with claimed(folder), pytest.raises(RunError, match=r"is in use by process"):
        train(run(), tmp_path)
    assert train(run(), tmp_path).finished


def test_images_that_changed_meanwhile_are_refused(tmp_path, monkeypatch) -> None:
    mine = run()
    interrupt(mine, tmp_path, 5, monkeypatch)
    changed = load_data("small_run:other_data")
    monkeypatch.setattr("wirings.training.build.load_data", lambda *_: changed)
    with pytest.raises(RunError, match=r"was begun on other images: the data set `small_run:data` has changed since."):
        train(mine, tmp_path)


@pytest.mark.parametrize(
    "settings, error, sentence",
    [
        ({"model": "lenet-301"}, SettingsError, "There is no model 'lenet-301'."),
        ({"model": "small_run:Nut", "model_settings": {}}, SettingsError, "model `small_run:Nut` cannot be imported"),
        ({"model": "small_run:data", "model_settings": {}}, SettingsError, "make a torch.nn.Module. Got ImageData."),
        ({"model": "small_run:Net"}, SettingsError, "`small_run:Net` takes no `hidden`. It takes: image_shape, "),
        ({"data": "mnits"}, DataError, "There is no data set 'mnits'."),
        ({"data": "small_run:STEPS"}, DataError, "`small_run:STEPS` must give a wirings.data.ImageData. Got int."),
        ({"data": "no_such_module:x"}, SettingsError, "The data `no_such_module:x` cannot be imported"),
        ({"held_out": 240}, SettingsError, "`held_out` of `Run` must leave some of the 240 training images"),
        ({"device": "warp"}, SettingsError, "`device` of `Run` must be one that is here. Got 'warp'"),
        ({"except_": ["fc9"], "method": "set"}, WiringError, "`except_` must name prunable weights. 'fc9' fits none"),
        (
            {"values": {"path": "/no/such/file", "sha256": "00"}},
            RunError,
            "The values to begin with cannot be read",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(tmp_path, settings, error, sentence) -> None:
    with pytest.raises(error) as raised:
        train(run(**settings), tmp_path)
    assert sentence in str(raised.value)


def test_values_of_another_network_are_refused(tmp_path) -> None:
    file = tmp_path / "values.safetensors"
    checkpoints.save_values({"fc1.weight": torch.ones(2, 2)}, file)
    with pytest.raises(RunError, match=r"The values at .* belong to another network"):
        train(run(values=Values(path=str(file), sha256=sha256_of(file))), tmp_path)
    with pytest.raises(RunError, match=r"are not those that the settings name: hashes differ."):
        train(run(values=Values(path=str(file), sha256="00")), tmp_path)


def test_a_wiring_for_another_model_is_refused(tmp_path) -> None:
    wiring = Wiring({"conv1.weight": Topology.full((4, 1, 3, 3))})
    wiring.save(tmp_path / "wiring.safetensors")
    with pytest.raises(WiringError, match=r"The wiring names `conv1.weight`, which the network does not have."):
        train(run(method=Static(begin=wiring)), tmp_path)


def test_an_error_is_left_in_the_record_and_mended_settings_are_another_run(tmp_path) -> None:
    mine = run(model="small_run:Faulty", model_settings={})
    with pytest.raises(RuntimeError, match="this network is faulty"):
        train(mine, tmp_path)
    record = Record(tmp_path / mine.id)
    assert record.status == "failed"
    last = json.loads(record.folder.events.read_text().splitlines()[-1])
    assert last["event"] == "failed"
    assert "small_run.py" in last["error"]
    assert dataclasses.replace(mine, model="small_run:Net").id != mine.id
