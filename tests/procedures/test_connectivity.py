"""Linear mode connectivity: closed cases, networks in sparse storage, and two trainings of one network."""

from __future__ import annotations

import copy

import pytest
import torch
from small_run import run
from torch import nn

import wirings as wr
from wirings.procedures import LinearPath, linear_path, linear_path_between, recalibrated
from wirings.sparse import to_sparse
from wirings.training import train


def line(*values: float) -> nn.Module:
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    return layer


def test_the_way_is_straight_and_its_ends_are_the_networks() -> None:
    seen = []

    def score(model: nn.Module) -> float:
        seen.append(model.weight.flatten().tolist())
        return 0.5

    first, second = line(0.0, 4.0), line(2.0, 0.0)
    path = linear_path(first, second, score, points=5)
    assert path.shares == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert seen == [[0.0, 4.0], [0.5, 3.0], [1.0, 2.0], [1.5, 1.0], [2.0, 0.0]]
    assert first.weight.flatten().tolist() == [0.0, 4.0]
    assert path.barrier == 0


def test_the_barrier_is_the_highest_error_above_the_mean_of_both_ends() -> None:
    # accuracy 1 - 4 a (1 - a) at each share a of the way: 1, 0 half-way, 1
    path = linear_path(line(0.0), line(1.0), lambda net: 1 - 4 * net.weight.item() * (1 - net.weight.item()), points=3)
    assert path.barrier == 1.0
    assert LinearPath(shares=(0.0, 0.5, 1.0), scores=(0.9, 0.6, 1.0)).barrier == 0.35
    assert LinearPath(shares=(0.0, 1.0), scores=(0.8, 0.6)).barrier == pytest.approx(0.1)  # the worse end counts


def test_networks_in_sparse_storage_meet_at_the_connections_of_both() -> None:
    first, second = line(1.0, 2.0, 0.0).double(), line(0.0, 6.0, 8.0).double()
    shape = (1, 3)
    ours = [
        to_sparse(copy.deepcopy(nn.Sequential(net)), {"0.weight": wr.Topology.at(shape, at)})
        for net, at in ((first, [0, 1]), (second, [1, 2]))
    ]
    seen = []
    linear_path(ours[0], ours[1], lambda net: seen.append(net[0].weight.flatten().tolist()) or 1.0, points=3)
    assert seen == [[1.0, 2.0, 0.0], [0.5, 4.0, 4.0], [0.0, 6.0, 8.0]]
    assert ours[0][0].values.tolist() == [1.0, 2.0]


def test_statistics_of_batch_norms_lie_on_the_line_or_are_taken_anew() -> None:
    nets = []
    for mean in (0.0, 2.0):
        norm = nn.BatchNorm1d(1)
        norm.running_mean.fill_(mean)
        nets.append(norm)
    means = []

    def score(net: nn.Module) -> float:
        means.append(float(net.running_mean))
        return 1.0

    linear_path(*nets, score, points=3)
    x = torch.tensor([[5.0], [7.0]])
    linear_path(*nets, score, points=2, recalibrate=lambda net: recalibrated(net, [x]))
    assert means == [0.0, 1.0, 2.0, 6.0, 6.0]


@pytest.mark.parametrize("points", [1, 0, 2.5, True])
def test_a_line_has_two_points(points: object) -> None:
    with pytest.raises(ValueError, match=r"`points` of `linear_path` must be an integer of at least 2\. Got"):
        linear_path(line(0.0), line(1.0), lambda net: 1.0, points=points)


def test_other_networks_and_crooked_ways_are_refused() -> None:
    with pytest.raises(wr.WiringError, match=r"must have the same weights\. `weight` has shape \(1, 1\) in one and"):
        linear_path(line(0.0), line(1.0, 2.0), lambda net: 1.0)
    with pytest.raises(ValueError, match=r"must ascend from 0 to 1"):
        LinearPath(shares=(0.0, 0.5), scores=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"must be as many"):
        LinearPath(shares=(0.0, 1.0), scores=(1.0,))


def test_two_runs_are_joined_and_a_run_is_joined_to_itself_without_a_barrier(tmp_path) -> None:
    first, second = (train(run(seed=seed), tmp_path) for seed in (0, 1))
    path = linear_path_between(first, second, points=3)
    assert path.scores[0] == pytest.approx(first.test_accuracy_last)
    assert path.scores[-1] == pytest.approx(second.test_accuracy_last)
    same = linear_path_between(first, first, points=3, images=7)
    assert same.barrier == 0
    with pytest.raises(ValueError, match=r"`images` of `linear_path_between` must be an integer from 1 to"):
        linear_path_between(first, second, images=0)
