"""Runs that begin with a wiring found on their own network and images: SynFlow, SNIP, GraSP, ..."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_run import STEPS, run
from test_train import interrupt, same_end

import wirings as wr
from wirings.core.errors import WiringError
from wirings.core.schedules import Every
from wirings.core.streams import stream
from wirings.makers import MagnitudeAtInit, RandomAtInit
from wirings.makers.baselines import magnitude_scores
from wirings.makers.grasp import GraSP
from wirings.makers.ntk_sap import NTKSAP
from wirings.makers.obd import OBD
from wirings.makers.scoring import CollapseWarning
from wirings.makers.snip import SNIP
from wirings.makers.synflow import SynFlow, synflow
from wirings.methods import SET, RigL, Static
from wirings.training import Run, beginning, train
from wirings.training.build import network, task
from wirings.training.check import check
from wirings.training.live import come_alive, dense_values

MAKERS = {
    "synflow": SynFlow(0.3, rounds=10),
    "snip": SNIP(0.3),
    "grasp": GraSP(0.3),
    "obd": OBD(0.3),
    "ntk-sap": NTKSAP(0.3, rounds=4),
    "magnitude-at-init": MagnitudeAtInit(0.3),
    "random-at-init": RandomAtInit(0.3),
}


def static(maker: object, **settings: object) -> Run:
    return run(method=Static(begin=maker), **settings)


@pytest.mark.parametrize("name", MAKERS)
def test_every_maker_begins_a_run_and_goes_to_toml_and_back(name: str, tmp_path) -> None:
    mine = static(MAKERS[name])
    assert Run.from_toml(mine.to_toml()) == mine
    record = train(mine, tmp_path)
    assert record.wiring.nnz == round(0.3 * record.wiring.numel)
    assert record.info["begin"]["maker"] == name
    assert record.info["begin"]["fingerprint"] == record.wiring.fingerprint
    assert record.info["begin"]["seconds"] >= 0
    assert record.info["begin"]["collapsed"] == record.info["begin"]["warnings"] == []
    assert [step for step, _ in record.history()] == [0]


def test_the_maker_sees_the_runs_own_first_values(tmp_path) -> None:
    mine = static(MAKERS["synflow"], seed=2)
    assert train(mine, tmp_path).wiring == synflow(network(mine, (1, 6, 6), 3), (1, 1, 6, 6), 0.3, rounds=10)


@pytest.mark.parametrize("method", [RigL, SET])
def test_methods_that_move_begin_there_and_move_on(method, tmp_path) -> None:
    record = train(run(method=method(begin=MAKERS["snip"], when=Every(5))), tmp_path)
    first = dict(record.history())[0]
    assert first == train(static(MAKERS["snip"]), tmp_path).wiring
    assert record.wiring != first
    assert record.wiring.counts == first.counts


def test_it_is_the_same_wiring_truly_sparse(tmp_path) -> None:
    masked = run(method=SET(begin=MAKERS["grasp"], when=Every(5)), dtype="float64")
    sparse = dataclasses.replace(masked, execution="sparse")
    one, other = train(masked, tmp_path), train(sparse, tmp_path)
    assert [wiring for _, wiring in one.history()] == [wiring for _, wiring in other.history()]
    assert [row["loss"] for row in one.metrics][1:] == pytest.approx([r["loss"] for r in other.metrics][1:], rel=1e-10)


def test_seeds_and_streams_decide_what_is_found(tmp_path) -> None:
    def found(**settings: object) -> str:
        mine = static(MAKERS["snip"], **settings)
        return beginning.find_beginning(mine, network(mine, (1, 6, 6), 3), task(mine)).wiring.fingerprint

    assert found() == found()
    assert found() == found(streams={"order": 7})  # the order of training is another stream
    assert len({found(), found(streams={"wiring": 7}), found(streams={"init": 7}), found(seed=1)}) == 4


def test_data_come_from_training_images_in_an_order_of_their_own(monkeypatch) -> None:
    mine, seen = static(MAKERS["snip"]), []
    monkeypatch.setattr(SNIP, "of_model", lambda self, model, shape, batches, rng: seen.extend(batches))
    with pytest.raises(AttributeError):  # it found no wiring: this test only looks at what it was given
        beginning.find_beginning(mine, network(mine, (1, 6, 6), 3), task(mine)).described()
    images = task(mine)
    shown = torch.cat([x for x, _ in seen])
    assert next(len(y) for _, y in seen) == 30
    assert len(shown) == images.train.count == 216
    rows = {tuple(x.flatten().tolist()) for x in shown}
    for x, _ in images.train.epoch(0):
        assert rows >= {tuple(one.flatten().tolist()) for one in x}
    for others in (images.held_out, images.test):
        for x, _ in others.epoch(0):
            assert not rows & {tuple(one.flatten().tolist()) for one in x}
    assert not torch.equal(shown[:28], next(images.train.epoch(0))[0])


def test_an_interrupted_run_does_not_look_again(tmp_path, monkeypatch) -> None:
    mine = run(method=RigL(begin=MAKERS["snip"], when=Every(5)))
    whole = train(mine, tmp_path / "whole")
    interrupt(mine, tmp_path / "parts", 7, monkeypatch)
    monkeypatch.setattr(SNIP, "of_model", None)
    same_end(train(mine, tmp_path / "parts"), whole)


def test_the_check_before_a_grid_finds_no_wiring(monkeypatch) -> None:
    monkeypatch.setattr(SNIP, "of_model", None)
    check(static(MAKERS["snip"]))


def test_a_collapse_is_written_down_and_warned_of_and_the_run_goes_on(tmp_path, monkeypatch) -> None:
    mine = static(RandomAtInit(0.002), model_settings={"hidden": [16, 1]})
    with pytest.warns(CollapseWarning, match="left no connection"):
        record = train(mine, tmp_path)
    assert record.finished
    said = record.info["begin"]
    assert said["collapsed"] == [name for name, topology in record.wiring.items() if not topology.nnz]
    assert said["collapsed"]
    assert "left no connection in" in said["warnings"][0]


def test_weights_that_stay_dense_stay_out_of_the_count(tmp_path) -> None:
    by_run = train(static(MAKERS["synflow"], except_=("fc3",)), tmp_path)
    by_maker = train(static(SynFlow(0.3, rounds=10, except_=("fc3",))), tmp_path)
    assert list(by_run.wiring) == list(by_maker.wiring) == ["fc1.weight", "fc2.weight"]
    assert by_run.wiring == by_maker.wiring
    assert by_run.density == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_the_original_snip_prunes_biases_and_scores_another_draw(execution: str, tmp_path) -> None:
    mine = static(SNIP(0.3, original=True), execution=execution)
    with pytest.warns(CollapseWarning, match="left no connection in `fc1.bias`"):  # they are zero in every draw
        record = train(mine, tmp_path)
    assert record.info["begin"]["collapsed"] == []
    assert "fc1.bias" in record.wiring
    assert record.density == pytest.approx(0.3, abs=1e-3)
    assert record.effective_density > 0
    kept = beginning.Beginning.read(record.folder.begin, record.info["begin"])
    drawn = network(mine, (1, 6, 6), 3).state_dict()
    begun = dense_values(come_alive(mine, task(mine), STEPS, beginning=kept).model)
    for name, topology in record.wiring.items():  # the run's own draw trains, not the one that was scored
        assert torch.equal(begun[name], drawn[name] * topology.mask)


def net() -> torch.nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.ReLU(), torch.nn.Linear(10, 5))


def test_attach_takes_makers_that_need_values_or_shapes_alone() -> None:
    model = net()
    scores = magnitude_scores({name: p.detach() for name, p in wr.prunable(model).items()})
    sparse = wr.attach(model, torch.optim.SGD(model.parameters(), 0.1), Static(begin=MagnitudeAtInit(0.2)))
    assert sparse.wiring.nnz == 50
    lowest = min(float(scores[name][t.mask].min()) for name, t in sparse.wiring.items())
    assert lowest >= max(float(scores[name][~t.mask].max()) for name, t in sparse.wiring.items())
    model = net()
    sparse = wr.attach(model, torch.optim.SGD(model.parameters(), 0.1), Static(begin=RandomAtInit(0.2)), seed=4)
    assert sparse.wiring == RandomAtInit(0.2)(sparse.wiring.shapes, stream(4, "wiring"))


@pytest.mark.parametrize("maker", [SNIP(0.2), SynFlow(0.2)])
def test_attach_refuses_makers_that_need_images_or_their_shape_and_says_the_way_out(maker) -> None:
    model = net()
    with pytest.raises(WiringError, match=r"needs the model, not only its shapes: make the wiring first with"):
        wr.attach(model, torch.optim.SGD(model.parameters(), 0.1), Static(begin=maker))
