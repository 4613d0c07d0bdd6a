"""The study of SynFlow: its claims from made-up numbers, its measurements at small scale, and its smallest preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from wirings.analysis.conservation import unit_flows
from wirings.makers.gradients import Problem
from wirings.makers.grasp import grasp_scores
from wirings.makers.prunable import prunable
from wirings.makers.scoring import untouched
from wirings.makers.synflow import SynFlow, synflow_scores
from wirings.models import build
from wirings.studies import synflow_plan as plan
from wirings.studies.execute import execute
from wirings.studies.measurement import Lab, Measurement
from wirings.studies.measures.synflow import (
    Conserved,
    FlowCritical,
    FlowRatio,
    ImageNetVGG,
    MaximalMLP,
    Net,
    OneShot,
    Reads,
    deaths,
    last,
    scores_of,
)
from wirings.studies.study import Findings
from wirings.studies.synflow import study
from wirings.studies.synflow_claims import claims, triples

NARROW = Net(model="vgg-11", width=0.0625, data="mnist-mini")
IDS = (
    *("S2.1a", "S2.1b", "S2.1c", "S2.1d", "S2.1e", "S2.2a", "S2.2b", "S2.2c", "S2.2d", "S2.2e"),
    *("S2.3a", "S2.3b", "S2.3c", "S2.4a", "S2.4b", "S2.5", "S2.6", "S2.7a", "S2.7b", "S2.7c", "S2.7d"),
    *("S2.8a", "S2.8b", "S2.8c", "S2.9", "S2.10", "S2.11a", "S2.11b", "S2.11c"),
)


def findings(preset: str = "laptop", seeds: int = 5, made: Mapping[str, Any] | None = None) -> Findings:
    results = {name: {"result": result} for name, result in (made or {}).items()}
    return Findings(study=study, preset=preset, seeds=tuple(range(seeds)), records=(), measurements=results)


def measured(measurement: Measurement, tmp_path: Path) -> dict[str, Any]:
    return dict(measurement.measure(Lab(root=tmp_path)))


@pytest.mark.parametrize("preset", list(study.presets))
def test_every_claim_has_a_row_before_anything_is_made(preset: str) -> None:
    verdicts = claims(findings(preset))
    assert sorted(v.claim.id for v in verdicts) == sorted(IDS)
    assert {v.word for v in verdicts} == {"unjudged"}
    found = findings(preset)
    assert study.tables(found) == []
    assert study.figures(found) == []
    assert study.answers(found) == []


def test_published_numbers_come_true_when_ours_are_like_them() -> None:
    found = findings()
    exponents = {"random": 2.8, "magnitude": 2.8, "snip": 3.5, "grasp": 2.9, "grasp-synflow-data": 3.5}
    made: dict[str, Any] = {}
    for net, scorer, m in plan.one_shot(found):
        exponent = 1.1 if net.startswith("resnet-18/100") else exponents[scorer]
        made[m.id] = {"exponent": exponent + 0.001 * m.seed, "first": "fc.weight", "maximal": 6.0}
    for _, m in plan.flowing(found):
        made[m.id] = {
            "tried": [{"exponent": 6.0, "empty": ["conv1.weight"], "path": True, "connections": 14},
                      {"exponent": 5.75, "empty": [], "path": True, "connections": 26}],
            "maximal": 6.02,
        }  # fmt: skip
    for (pace, _, _), m in plan.ratios(found):
        made[m.id] = {"largest": 0.7 if pace == "exponential" else 3.0}
    for m in plan.imagenet(found):
        first, exponent = ("conv1", 3.6) if m.scorer == "random" else ("conv14", 2.7)
        made[m.id] = {"exponent": exponent + 0.001 * m.seed, "first": first, "maximal": 6.9}
    found = findings(made=made)
    words = {v.claim.id: v.word for v in claims(found)}
    holds = ("S2.1a", "S2.1b", "S2.1c", "S2.1d", "S2.2a", "S2.2b", "S2.2c", "S2.8a", "S2.8b")
    assert {words[name] for name in holds} == {"holds at reduced scale"}
    assert words["S2.2d"] == "does not hold at reduced scale"
    absent = next(v for v in claims(found) if v.claim.id == "S2.1e")
    assert (absent.word, "CIFAR-100" in absent.reason) == ("unjudged", True)
    table = study.tables(found)[0]
    rows = {(row.values[0], row.values[1]): row.values for row in table.rows}
    assert rows["vgg-16/100", "random"][-1] == "2.75"
    assert rows["vgg-16/100", "SynFlow"][5] == "conv1 (at 6)"
    assert "10^2.8" in study.answers(found)[0]
    figure = study.figures(found)[0]
    assert figure.name == "critical"
    assert len({series.method for series in figure.panels[0].series}) == 6


def test_a_scorer_that_kills_a_layer_at_once_is_drawn_as_a_bound() -> None:
    tried = {"exponent": 1.0, "empty": ["fc.weight"], "path": True, "connections": 9}
    made = {m.id: {"tried": [tried], "maximal": 6.0} for _, m in plan.flowing(findings())}
    (figure,) = study.figures(findings(made=made))
    (series,) = figure.panels[0].series
    assert (series.bound, set(series.x)) == ("below", {1.0})
    assert {row["y"] for row in figure.data()} == {name for name, _ in plan.flowing(findings())}


def test_triples_are_counted_as_the_publication_counts_three_runs() -> None:
    assert triples([3.4, 3.9, 3.1, 3.3, 2.7, 4.2, 3.0]) == [3.0, 2.5]
    assert triples([2.75, 3.0, 3.0]) == [2.75]


def test_layers_die_in_the_order_of_their_best_scores() -> None:
    found = deaths({"a": torch.tensor([9.0, 8.0, 7.0]), "b": torch.tensor([1.0, 7.5])})
    assert {name: round(5 / 10**e) for name, e in found.items()} == {"a": 1, "b": 3}
    assert last(lambda step: step <= 5, 24) == 5


def test_one_shot_pruning_cuts_the_path_no_later_than_it_empties_a_layer_of_a_chain(tmp_path: Path) -> None:
    for scorer in ("magnitude", "snip", "grasp", "grasp-synflow-data"):
        found = measured(OneShot(net=NARROW, scorer=scorer, seed=0, cut=True), tmp_path)  # type: ignore[arg-type]
        assert found["cut"] <= found["exponent"] < found["maximal"]
        assert min(found["deaths"].values()) == pytest.approx(found["exponent"])
        assert found["deaths"][found["first"]] == pytest.approx(found["exponent"])


def test_the_two_signs_of_grasp_keep_opposite_connections(tmp_path: Path) -> None:
    model = NARROW.made(0)
    images = (torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3]))
    paper, other = (scores_of(s, model, 0, lambda: images) for s in ("grasp", "grasp-synflow-data"))
    # temperatures differ too, so signs need not be opposite everywhere; most are
    agree = [float(((paper[n] > 0) == (other[n] > 0)).double().mean()) for n in paper]
    assert sum(agree) / len(agree) < 0.4


def test_a_classifier_from_a_bounded_interval_dies_first(tmp_path: Path) -> None:
    net = Net(model="resnet-20", classes=100, init="fan-out")
    weight = net.made(0).fc.weight
    assert float(weight.detach().abs().max()) <= 1 / 8  # 64 inputs
    assert not torch.equal(weight, dataclasses.replace(net, init="own").made(0).fc.weight)


def test_synflow_goes_down_to_the_first_compression_that_no_layer_dies_of(tmp_path: Path) -> None:
    found = measured(FlowCritical(net=NARROW, seed=0, exponents=(1.0, 3.5, 2.0), rounds=30), tmp_path)
    assert found["tried"][-1]["empty"] == []
    assert [t["exponent"] for t in found["tried"]] == sorted((t["exponent"] for t in found["tried"]), reverse=True)


def test_conservation_is_exact_where_it_should_be_and_only_there(tmp_path: Path) -> None:
    found = {s: measured(Conserved(net=NARROW, scorer=s, seed=0), tmp_path) for s in
             ("synflow", "snip-signed", "grasp", "snip", "magnitude", "random")}  # fmt: skip
    assert found["synflow"]["error"] < 1e-12
    assert found["synflow"]["cv"] < 1e-12
    assert found["synflow"]["slope"] == pytest.approx(1, abs=1e-9)
    assert found["snip-signed"]["error"] < 1e-10
    assert all(found[s]["error"] > 0.01 for s in ("grasp", "snip", "magnitude", "random"))


def test_grasp_misses_conservation_by_the_gradients_on_both_sides_of_a_unit() -> None:
    # ``w * Hg`` belongs to the function g'grad L, which does not stay the same when a unit's incoming weights are
    # scaled up and its outgoing ones down: what enters exceeds what leaves by |g_out|^2 - |g_in|^2.
    model = NARROW.made(0).double()
    rng = torch.Generator().manual_seed(0)
    images = (torch.randn(4, 1, 28, 28, generator=rng, dtype=torch.float64), torch.tensor([0, 1, 2, 3]))
    problem = Problem(model, {name: w.detach() for name, w in prunable(model).items()}, [images])
    with untouched(model):
        scores, gradient = grasp_scores(problem), problem.gradient(None)
    squares = {name: g * g for name, g in gradient.items()}
    flows, excess = unit_flows(scores), unit_flows(squares)
    for pair, flow in flows.items():
        difference = excess[pair].outgoing - excess[pair].incoming
        torch.testing.assert_close(flow.incoming - flow.outgoing, difference, rtol=1e-6, atol=1e-10)


def test_more_rounds_remove_less_of_the_flow_at_a_time(tmp_path: Path) -> None:
    few, many = (measured(FlowRatio(net=NARROW, seed=0, exponent=1.0, rounds=n), tmp_path)["largest"] for n in (1, 20))
    assert many < 1 < few


def test_the_smallest_networks_keep_one_connection_in_every_layer(tmp_path: Path) -> None:
    found = measured(MaximalMLP(seed=1), tmp_path)
    assert set(found["connections"]) == {1}
    assert found["on a path"] == len(found["connections"])


def test_synflow_reads_no_data_and_snip_does(tmp_path: Path) -> None:
    assert measured(Reads(net=NARROW), tmp_path) == {"synflow": 0, "snip": 1}


def test_the_large_vgg_is_ranked_layer_by_layer(tmp_path: Path) -> None:
    found = measured(ImageNetVGG(scorer="magnitude", seed=0, width=0.05), tmp_path)
    assert found["exponent"] == min(found["deaths"].values())
    assert len(found["deaths"]) == 19


def test_an_inverted_wiring_keeps_the_counts_and_the_least_flow() -> None:
    model = build("mlp", image_shape=(1, 6, 6), hidden=(12, 9), seed=0)
    rng = torch.Generator().manual_seed(0)
    plain, turned = (
        SynFlow(0.2, rounds=10, inverted=i).of_model(model, (1, 1, 6, 6), None, rng) for i in (False, True)
    )
    assert turned.counts == plain.counts
    scores = synflow_scores(model, (1, 1, 6, 6))
    for name in prunable(model):
        kept, left = scores[name][turned[name].mask], scores[name][~turned[name].mask]
        assert float(kept.max()) <= float(left.min())


def test_the_smoke_preset_runs_from_end_to_end(tmp_path: Path) -> None:
    found = execute(study, "smoke", tmp_path, seeds=1, jobs=1)
    assert not found.missing
    names = {table.name for table in study.tables(found)}
    assert names == {"critical", "conservation", "schedules", "accuracy-mlp", "controls", "training"}
    assert {figure.name for figure in study.figures(found)} == {"critical", "accuracy-mlp"}
    words = {v.claim.id: v.word for v in claims(found)}
    assert words["S2.10"] == "holds at reduced scale"
    ids = {record.id for record in found.records}
    behind = {v.claim.id: v.run_ids for v in claims(found)}
    for name in ("S2.5", "S2.11a", "S2.11b", "S2.11c"):
        assert behind[name]
        assert set(behind[name]) <= ids
    assert study.answers(found)
