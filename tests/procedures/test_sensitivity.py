"""Sensitivity: closed cases, and a trained network's curve."""

from __future__ import annotations

import pytest
import torch
from small_run import Net, run
from test_train import METHODS
from torch import nn

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.procedures import Further, Sensitivity, recalibrated, sensitivity, sensitivity_of
from wirings.procedures.sensitivity import non_zero
from wirings.training import train


def four(values: list[list[float]]) -> nn.Module:
    """Two linear layers of these weights."""
    model = nn.Sequential(nn.Linear(len(values[0]), 1, bias=False), nn.Linear(len(values[1]), 1, bias=False))
    for layer, row in zip(model, values, strict=True):
        layer.weight.data = torch.tensor([row])
    return model


def survivors(model: nn.Module) -> float:
    """A score that counts the connections left."""
    return float(sum((layer.weight != 0).sum() for layer in model))


MODEL = [[1.0, -2.0, 3.0, 0.0, 10.0], [0.5, 20.0, 30.0, 40.0]]
FURTHER = (0.0, 0.25, 0.5, 1.0)


def test_by_magnitude_the_smallest_of_all_go_first() -> None:
    left = []

    def score(model: nn.Module) -> float:
        left.append([layer.weight.flatten().tolist() for layer in model])
        return survivors(model)

    curve = sensitivity(four(MODEL), score, further=Further(fractions=FURTHER))
    assert curve.scores == ((8.0, 6.0, 4.0, 0.0),)
    assert left[1] == [[0.0, -2.0, 3.0, 0.0, 10.0], [0.0, 20.0, 30.0, 40.0]]
    assert left[2] == [[0.0, 0.0, 0.0, 0.0, 10.0], [0.0, 20.0, 30.0, 40.0]]


def test_layer_by_layer_each_loses_its_share() -> None:
    left = []

    def score(model: nn.Module) -> float:
        left.append([layer.weight.flatten().tolist() for layer in model])
        return survivors(model)

    sensitivity(four(MODEL), score, further=Further(fractions=(0.0, 0.5), scope="local"))
    assert left[1] == [[0.0, 0.0, 3.0, 0.0, 10.0], [0.0, 0.0, 30.0, 40.0]]


def test_at_random_what_is_gone_stays_gone_and_repeats_differ() -> None:
    gone: list[set[int]] = []

    def score(model: nn.Module) -> float:
        gone.append(set((model[0].weight.flatten() == 0).nonzero().flatten().tolist()))
        return float(len(gone[-1]))

    model = nn.Sequential(nn.Linear(200, 1, bias=False))
    further = Further(order="random", fractions=(0.0, 0.2, 0.6), repeats=2, seed=3)
    curve = sensitivity(model, score, further=further)
    assert curve.scores == ((0.0, 40.0, 120.0),) * 2
    assert gone[0] <= gone[1] <= gone[2]
    assert gone[2] != gone[5]
    assert model[0].weight.count_nonzero() == 200
    again = list(gone[:3])
    gone.clear()
    sensitivity(model, score, further=further)
    assert gone[:3] == again


def test_only_connections_are_removed() -> None:
    wiring = Wiring({"0.weight": Topology.at((1, 4), [0, 1])})
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    curve = sensitivity(model, survivors, wiring, further=Further(fractions=(0.0, 0.5, 1.0)))
    assert curve.scores == ((2.0, 1.0, 0.0),)
    assert non_zero(four(MODEL)).nnz == 8


def test_the_area_is_relative_to_the_beginning() -> None:
    flat = Sensitivity(fractions=(0.0, 0.5), scores=((0.7, 0.7), (0.5, 0.5)))
    assert flat.mean == (0.6, 0.6)
    assert flat.auc == 1.0
    assert flat.q50 is None
    line = Sensitivity(fractions=(0.0, 0.5, 1.0), scores=((1.0, 0.5, 0.0),), chance=0.0)
    assert line.auc == 0.5
    assert line.q50 == 0.5
    assert Sensitivity(fractions=(0.0,), scores=((0.0,),)).auc == 1.0


def test_half_is_counted_from_chance() -> None:
    curve = Sensitivity(fractions=(0.0, 0.2, 0.4), scores=((0.9, 0.7, 0.3),), chance=0.1)
    assert curve.q50 == pytest.approx(0.3)  # (0.9 - 0.1) / 2 + 0.1 = 0.5, midway between 0.7 and 0.3


def test_batch_norms_are_measured_anew() -> None:
    model = Net((1, 6, 6), 3).train()
    batches = [torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    recalibrated(model, batches)
    inside = [model.first(batch.flatten(1)) for batch in batches]
    assert torch.allclose(model.norm.running_mean, torch.stack([x.mean(0) for x in inside]).mean(0), atol=1e-6)
    assert torch.allclose(model.norm.running_var, torch.stack([x.var(0) for x in inside]).mean(0), atol=1e-6)
    assert model.norm.momentum == 0.1
    assert model.training
    assert model.drop.training


def test_recalibration_happens_before_each_score() -> None:
    calls: list[str] = []
    sensitivity(
        four(MODEL),
        lambda model: calls.append("score") or 1.0,
        further=Further(fractions=(0.0, 0.5)),
        recalibrate=lambda model: calls.append("recalibrate"),
    )
    assert calls == ["recalibrate", "score"] * 2


@pytest.mark.parametrize("recalibrate", [False, True])
def test_a_finished_run_is_taken_apart(tmp_path, recalibrate) -> None:
    record = train(run(model="small_run:Net", model_settings={}, method=METHODS["dnw"]), tmp_path)
    before = record.folder.info_file.read_bytes()
    curve = sensitivity_of(record, further=Further(fractions=(0.0, 0.5, 1.0)), recalibrate=recalibrate)
    if not recalibrate:
        assert curve.mean[0] == record.test_accuracy_last
    assert curve.chance == pytest.approx(1 / 3)
    assert curve.mean[2] <= curve.mean[0]
    assert curve.mean[2] == pytest.approx(1 / 3)  # nothing but biases: one class for every image
    assert record.folder.info_file.read_bytes() == before


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"order": "size"}, "`order` of `Further` must be one of random, magnitude. Got 'size'."),
        ({"scope": "net"}, "`scope` of `Further` must be one of global, local. Got 'net'."),
        ({"fractions": (0.1, 0.2)}, "`fractions` of `Further` must ascend from 0. Got (0.1, 0.2)."),
        ({"fractions": (0.0, 1.5)}, "`fractions` of `Further` must be in [0, 1]. Got 1.5."),
        ({"repeats": 0}, "`repeats` of `Further` must be an integer of at least 1. Got 0."),
    ],
)
def test_impossible_settings_are_refused(settings, sentence) -> None:
    with pytest.raises(ValueError) as error:
        Further(**settings)
    assert sentence in str(error.value)


def test_held_out_images_must_be_there(tmp_path) -> None:
    record = train(run(protocol="paper", held_out=None), tmp_path)
    with pytest.raises(ValueError, match=r"must be 'test': this run held no images out."):
        sensitivity_of(record, on="held-out")
