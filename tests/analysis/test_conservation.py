"""Conservation: sums in and out of units and through cuts, and the score-to-flow ratio of each round."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.analysis.conservation import (
    cut_spread,
    flow_correlation,
    layer_totals,
    score_to_flow,
    size_slope,
    unit_flow,
    unit_flows,
)
from wirings.makers.baselines import magnitude_scores, random_scores
from wirings.makers.gradients import Problem
from wirings.makers.grasp import grasp_scores
from wirings.makers.prunable import prunable, with_biases
from wirings.makers.scoring import untouched
from wirings.makers.snip import snip_scores
from wirings.makers.synflow import Flow, synflow_scores


class Net(nn.Module):
    """Two convolutions and two linear layers, with biases and no norms, as in the paper's figure 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(12 * 4, 10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        out: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return out


@pytest.fixture
def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(10, 3, 8, 8, generator=rng, dtype=torch.float64), torch.arange(10) % 5


def test_the_toy_flows_in_and_out_alike() -> None:
    scores = {"a.weight": torch.tensor([[1.0, 2.0], [6.0, 0.0]]), "b.weight": torch.tensor([[3.0, 6.0]])}
    flow = unit_flow(scores, "a.weight", "b.weight")
    assert flow.incoming.tolist() == flow.outgoing.tolist() == [3, 6]
    assert flow.error == 0
    assert layer_totals(scores) == {"a.weight": 9, "b.weight": 9}
    assert cut_spread(layer_totals(scores)) == 0


def test_synflow_is_conserved_at_every_unit_when_biases_count(net: Net) -> None:
    scores = synflow_scores(net, (1, 3, 8, 8), where=with_biases)
    flows = unit_flows(scores)
    assert list(flows) == [
        ("conv1.weight", "conv2.weight"),
        ("conv2.weight", "fc1.weight"),
        ("fc1.weight", "fc2.weight"),
    ]
    assert all(flow.error <= 1e-12 for flow in flows.values())
    assert flow_correlation(flows) == pytest.approx(1.0, abs=1e-12)


def test_layer_totals_differ_by_the_biases_that_join_the_flow(net: Net) -> None:
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    totals = layer_totals(synflow_scores(net, (1, 3, 8, 8), where=with_biases))
    assert cut_spread(totals) <= 1e-12
    assert size_slope(synflow_scores(net, (1, 3, 8, 8))) == pytest.approx(1.0, abs=1e-9)


def test_signed_gradients_are_conserved_and_their_absolute_values_are_not(
    net: Net, batch: tuple[Tensor, Tensor]
) -> None:
    weights = with_biases(net)
    problem = Problem(net, weights, [batch])
    with untouched(net):
        gradient = problem.gradient(None)
        signed = {name: weights[name].detach() * g for name, g in gradient.items()}
        absolute = snip_scores(problem)
        grasp = grasp_scores(problem)
    assert all(flow.error <= 1e-12 for flow in unit_flows(signed).values())
    assert max(flow.error for flow in unit_flows(absolute).values()) > 1e-2
    assert flow_correlation(unit_flows(absolute)) < 0.99
    assert flow_correlation(unit_flows(grasp)) < 1


def test_what_is_no_saliency_is_not_conserved(net: Net) -> None:
    weights = prunable(net)
    chance = random_scores(weights, torch.Generator().manual_seed(0))
    assert abs(flow_correlation(unit_flows(chance))) < 0.7
    assert max(flow.error for flow in unit_flows(magnitude_scores(weights)).values()) > 0.05


def test_layers_that_do_not_follow_each_other_are_refused() -> None:
    scores = {"a.weight": torch.ones(4, 2), "b.weight": torch.ones(3, 6)}
    with pytest.raises(ValueError, match=r"must read the 4 units that `a.weight` writes"):
        unit_flow(scores, "a.weight", "b.weight")


def test_more_rounds_remove_less_of_the_flow_at_a_time() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 5))
    weights = prunable(model)
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    most = {}
    for rounds in (1, 10, 50):
        for schedule in ("exponential", "linear"):
            with untouched(model):
                flow = Flow(model, (1, 30), weights)
                ratios = score_to_flow(flow.scores, shapes, 0.02, rounds=rounds, schedule=schedule)  # type: ignore[arg-type]
            assert len(ratios) == rounds
            most[rounds, schedule] = max(ratios)
    assert most[1, "exponential"] == most[1, "linear"] > 1
    assert most[50, "exponential"] < most[10, "exponential"] < most[1, "exponential"]
    assert most[50, "exponential"] < 1
    assert most[50, "exponential"] < most[50, "linear"]


def test_the_ratio_of_one_round_is_that_of_the_lowest_scores() -> None:
    scores = {"a": torch.tensor([[1.0, 2.0, 6.0, 0.0]]).double(), "b": torch.tensor([[3.0, 6.0]]).double()}
    [ratio] = score_to_flow(lambda _: scores, {"a": (1, 4), "b": (1, 2)}, 0.5, rounds=1)
    assert ratio == pytest.approx((0 + 1 + 2) / 9)
    assert math.isclose(cut_spread({"a": 9.0, "b": 6.0}), 1 / 3)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_pruning_vgg_19_at_once_has_the_published_score_to_flow_ratios() -> None:
    """Tanaka et al. 2020, figure 7, VGG-19 for ImageNet at initialisation, one round; 5.5 GB of memory."""
    plan = [64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0]
    layers: list[nn.Module] = []
    channels = 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for filters in plan:
            if not filters:
                layers.append(nn.MaxPool2d(2))
                continue
            conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        for ins, outs in ((25_088, 4096), (4096, 4096), (4096, 1000)):
            line = nn.Linear(ins, outs)
            nn.init.normal_(line.weight, 0, 0.01)
            nn.init.zeros_(line.bias)
            layers += [nn.Flatten(), line] if ins == 25_088 else [nn.ReLU(), line]
    scores = synflow_scores(nn.Sequential(*layers), (1, 3, 224, 224))
    flow = max(layer_totals(scores).values())
    lowest_first = torch.cat([s.flatten() for s in scores.values()]).sort().values.cumsum(0)
    n = len(lowest_first)
    published = {0.5: 0.80, 1.0: 3.32, 1.5: 8.15, 2.0: 11.4, 2.5: 13.8, 3.0: 15.4}
    for exponent, ratio in published.items():
        removed = float(lowest_first[n - round(n * 10**-exponent) - 1])
        assert removed / flow == pytest.approx(ratio, rel=0.01)
