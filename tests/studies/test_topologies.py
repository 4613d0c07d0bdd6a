"""The study of Alford et al. 2019: what it asks for, what its claims compute, and the whole of it at its smallest."""

from __future__ import annotations

import dataclasses
import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wirings.procedures import Retraining
from wirings.report.write import write
from wirings.studies import alford
from wirings.studies.alford import Initialisations, run_of, structures, unstable
from wirings.studies.alford_claims import CLAIMS, off_course, rising, verdicts
from wirings.studies.execute import collect, execute
from wirings.studies.measures.topologies import RadixTheory, Thresholds, _factorisations, _nets
from wirings.studies.registry import study_of
from wirings.studies.study import Findings
from wirings.studies.topologies import answers, measurements, study
from wirings.studies.views.alford import PUBLISHED, SIZES
from wirings.studies.views.topologies import interpolated, tables
from wirings.training.loop import train
from wirings.training.records import Record
from wirings.training.settings import Run


def record_of(
    net: str, method: str, density: float, seed: int, accuracy: float, *, factor: float = 1, dead: int = 0
) -> Record:
    """A finished run as far as the study reads it; accuracy in percent."""
    model, wider = ("lenet-300-100", "first_width") if net in ("fc", "kwak") else ("lenet-5", "conv2_width")
    data = "cifar10" if net == "cifar" else "mnist"
    settings = {"model": model, "data": data, "model_settings": {wider: factor}}
    return cast(
        Record,
        SimpleNamespace(
            info={"settings": settings, "data": {"name": data}},
            method=method,
            density=density,
            effective_density=density,
            seed=seed,
            test_accuracy_last=accuracy / 100,
            results={"dead_logits": dead},
            id=f"{net}-{method}-{density}-{factor}-{seed}",
            seconds=1.0,
            finished=True,
            metrics=[],
        ),
    )


def findings(records: list[Record], preset: str = "laptop") -> Findings:
    return Findings(study=study, preset=preset, seeds=tuple(range(5)), records=tuple(records))


def verdict(found: Findings, name: str) -> Any:
    return next(v for v in verdicts(found) if v.claim.id == name)


def test_every_claim_of_the_document_has_a_row_even_without_a_run() -> None:
    rows = verdicts(findings([]))
    assert {re.match(r"S1\.\d+", v.claim.id).group() for v in rows} == {f"S1.{n}" for n in range(1, 14)}  # type: ignore[union-attr]
    assert [v.claim.id for v in rows] == list(CLAIMS)
    assert {v.word for v in rows} == {"unjudged"}


def test_random_against_explicit_is_an_equivalence_of_ten_pairs() -> None:
    noise = (0.1, -0.1, 0.05, 0.0, -0.05, 0.1, -0.1, 0.02, 0.03, -0.04)
    records = [record_of("fc", "bernoulli", 0.1, seed, 93.0 + seed / 10) for seed in range(10)]
    records += [record_of("fc", "radix", 0.1, seed, 93.0 + seed / 10 + noise[seed]) for seed in range(10)]
    said = verdict(findings(records), "S1.9")
    assert (said.word, said.n) == ("holds at reduced scale", 10)
    assert said.effect == pytest.approx(sum(noise) / 10, abs=1e-9)
    assert verdict(findings(records[:5] + records[10:15]), "S1.9").word == "underpowered"


def test_structures_pair_with_dense_networks_by_the_number_of_their_seed() -> None:
    dense = [record_of("fc", "dense", 1.0, seed, 97.0 + seed / 10) for seed in range(5)]
    again = [record_of("fc", "gradual-structure", 0.05, 1000 + seed, 96.5 + seed / 10) for seed in range(5)]
    said = verdict(findings(dense + again), "S1.5")
    assert said.effect == pytest.approx(0.5)
    assert said.n == 5


def test_the_page_begins_with_what_is_best_at_the_highest_sparsity_and_what_was_published() -> None:
    reached = {"gradual": 96.0, "gradual-structure": 95.0, "small-dense": 40.0}
    made = [record_of("fc", label, 0.01, seed, score + seed / 10) for label, score in reached.items()
            for seed in range(5)]  # fmt: skip
    said = answers(findings(made))[0]
    assert "At 99 % sparsity of LeNet-300-100 gradual pruning does best, with 96.20 %: 1.00 points" in said
    assert "published: 0.75" in said


def test_published_points_are_drawn_apart_from_ours_and_called_so() -> None:
    made = [record_of("fc", "bernoulli", density, seed, 90.0 + seed) for density in (0.1, 0.5) for seed in range(3)]
    made += [record_of("fc", "dense", 1.0, seed, 97.0) for seed in range(3)]
    sizes = next(figure for figure in study.figures(findings(made)) if figure.name == "sizes")
    ours, theirs = sizes.panels[0].series
    assert (ours.label, ours.x, ours.quiet) == ("random", (0.1, 0.5, 1.0), False)
    assert (theirs.label, theirs.quiet, theirs.method) == ("random, published (one run)", True, ours.method)
    assert theirs.x == tuple(sorted(theirs.x))
    assert set(theirs.x) <= set(sizes.panels[0].x.ticks)


def test_failures_count_against_the_same_structure_with_linear_logits() -> None:
    records = []
    for density, seed in product((0.5, 0.25), range(20)):
        failed = seed % 2 == 0 and density == 0.25
        records.append(record_of("conv", "fig8-relu-off", density, 1000 + seed, 98.0))
        records.append(record_of("conv", "fig8-relu-on", density, 1000 + seed, 88.0 if failed else 98.0))
    found = findings(records)
    assert verdict(found, "S1.6").effect == pytest.approx(1 / 4)  # half the runs of one density of two
    assert verdict(found, "S1.6b").effect == pytest.approx(0.5)
    assert verdict(found, "S1.6").n == 20


def test_the_least_rise_between_densities_decides_whether_accuracy_rises() -> None:
    levels = {0.01: 74.0, 0.05: 91.0, 0.1: 93.0, 0.5: 92.0}
    records = [record_of("fc", "bernoulli", d, s, a + s / 100) for d, a in levels.items() for s in range(5)]
    said = verdict(findings(records), "S1.7")
    assert said.effect == pytest.approx(-1.0)
    assert said.word == "does not hold at reduced scale"


def test_a_trace_that_leaves_the_schedule_is_told_in_connections() -> None:
    layer = {"density": [0.5, 0.1, 0.1], "threshold": [0.1, 0.3, 0.2]}
    trace = {"asked": [0.5, 0.103, 0.103], "sizes": {"fc": 1000}, "layers": {"fc": layer}}
    assert off_course(trace) == pytest.approx(3.0)
    assert rising(trace) == pytest.approx(1.0)  # what comes after the last pruning does not count


def test_small_dense_networks_are_interpolated_at_equal_seconds_and_not_beyond() -> None:
    assert interpolated([(4.0, 94.0), (1.0, 90.0)], 2.0) == pytest.approx(92.0)
    assert interpolated([(1.0, 90.0), (4.0, 94.0)], 5.0) is None
    assert interpolated([], 1.0) is None


def test_published_numbers_are_those_of_the_document() -> None:
    assert PUBLISHED["conv", "one-time-structure"] == {0.5: 98.95, 0.25: 79.94, 0.1: 89.92, 0.05: 98.32, 0.01: 11.35}
    assert SIZES["fc", "radix"] == {0.1: 93.57, 10: 93.98}
    assert sum(len(v) for v in SIZES.values()) == 24


def test_the_paper_preset_has_the_settings_of_the_authors_code() -> None:
    run = run_of("paper", "conv", 3)
    assert (run.batch_size, run.learning_rate, run.fixed_order, run.normalise) == (100, 0.2, True, "none")
    assert run.model_settings == {"relu_logits": True}
    assert [share * run.total_steps(55_000) for share in run.milestones] == [10_000, 20_000]
    cifar = run_of("paper", "cifar", 0)
    assert (cifar.augment.size, cifar.normalise) == (24, "per-image")  # type: ignore[union-attr]


def test_explicit_radix_nets_have_the_connections_of_the_document() -> None:
    import torch

    radix = structures(0.1)["radix"]
    wiring = radix({"fc1.weight": (300, 784), "fc2.weight": (100, 300)}, torch.Generator())
    assert wiring.counts == {"fc1.weight": 23_520, "fc2.weight": 3_000}


def test_a_laptop_asks_for_twenty_initial_values_with_and_without_relu() -> None:
    for many in unstable("laptop", "conv", range(5))[1:]:
        assert len(set(many.seeds)) == 20
        settings = [dict(changes["model_settings"]) for changes in many.variants.values()]
        assert [s.pop("relu_logits") for s in settings] == [True, False]
        assert settings[0] == settings[1]
    work = alford.runs("laptop", range(5))
    assert any(isinstance(item, Retraining) for item in work)


def test_one_structure_is_trained_from_many_values_and_pruned_first_where_asked(tmp_path: Path) -> None:
    run = Run(model="mlp", model_settings={"hidden": (8,)}, data="gaussian-blobs", steps=3, batch_size=32)
    record = train(run, tmp_path)
    many = Initialisations(after=run, seeds=(1000, 1001), variants={"again": {}, "longer": {"steps": 5}}, density=0.25)
    runs = many.then(record)
    assert (len(runs), many.rounds) == (4, 4)
    assert {(r.label, r.seed, r.steps) for r in runs} == set(
        product(("again",), (1000, 1001), (3,))
    ) | set(product(("longer",), (1000, 1001), (5,)))  # fmt: skip
    again = train(runs[0], tmp_path)
    assert again.density == pytest.approx(0.25, abs=0.01)
    kept = again.wiring["fc1.weight"]
    weight = record.values()["fc1.weight"].abs().flatten()
    assert weight[kept.index].min() >= weight[(~kept).index].max()
    assert many.then(again) == []


def test_thresholds_are_measured_on_the_very_pruning_that_was_recorded(tmp_path: Path) -> None:
    from wirings.studies.measurement import Lab

    run = dataclasses.replace(alford.gradual("smoke", "fc", 0.1, 0), steps=20, data="gaussian-blobs")
    record = train(dataclasses.replace(run, model_settings={"init": "truncated-normal"}), tmp_path)
    trace = Thresholds(run=record.id).measure(Lab(root=tmp_path, paths={record.id: str(record.path)}))
    assert trace["same"]
    assert off_course(trace) <= 1.0
    assert trace["asked"][-1] == pytest.approx(0.1)


def test_the_theory_of_radix_nets_is_checked_on_every_factorisation() -> None:
    assert sorted(_factorisations(8, 3)) == [[2, 2, 2], [2, 4], [4, 2], [8]]
    assert len(list(_nets(6))) > 10
    result = RadixTheory(largest=6).measure(cast(Any, None))
    assert set(result["broken"].values()) == {0}
    assert result["picture"] == 0.25


def test_the_smoke_preset_runs_from_end_to_end(tmp_path: Path) -> None:
    assert study_of("topologies") is study
    found = execute(study, "smoke", tmp_path / "runs", seeds=1, jobs=2)
    assert not found.missing
    assert {table.name for table in tables(found)} >= {
        "pruning",
        "sizes",
        "instability",
        "one-time",
        "structures",
        "strange",
    }
    assert answers(found)
    said = {v.claim.id: v.word for v in study.claims(found)}
    assert said["S1.11"] == said["S1.12"] == said["S1.3"] == "holds at reduced scale"
    page = Path(str(write(found, tmp_path / "results")))
    assert page.exists()
    half = dataclasses.replace(found, records=found.records[::3], measurements={})
    for part in (study.tables, study.figures, study.claims, study.answers, measurements):
        list(part(half))
    assert collect(study, "smoke", tmp_path / "runs", seeds=1).measurements == found.measurements
