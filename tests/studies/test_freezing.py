"""Freezing: accuracy at equal cost, the claims from made-up runs, and the study from end to end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from wirings.methods import DNW
from wirings.studies import freezing
from wirings.studies.deconstruction import SWEEP_SEED, SWEPT
from wirings.studies.execute import execute
from wirings.studies.freezing import FEW, PLANS, settings, study
from wirings.studies.measures.freezing import ALL, Costs, Key, Plan, Spent, above, at_equal, busy, flops, ratio
from wirings.studies.study import Findings


def run(accuracy: float, *, seed: int = 0, flops: float = 1.0, seconds: float = 1.0) -> Spent:
    return Spent(run=f"r-s{seed}", seed=seed, accuracy=accuracy, held_out=accuracy, flops=flops, seconds=seconds,
                 joules=10 * seconds)  # fmt: skip


def made(accuracies: Mapping[float, float], *, density: float = 0.02, rigl: float = 88.0, seeds: int = 5) -> Costs:
    """Hybrids of these accuracies, each a little better from seed to seed, and RigL in three lengths."""
    runs: dict[Key, list[Spent]] = {("dense", 1.0, 0): [run(90.0, seed=s, seconds=10.0) for s in range(seeds)]}
    for k, accuracy in accuracies.items():
        share = 1.0 if k == ALL else k / 8
        runs["hybrid", density, k] = [
            run(accuracy + 0.01 * s, seed=s, flops=0.02 + 0.3 * share, seconds=2 + 10 * share) for s in range(seeds)
        ]
    for length, gain in ((1, 0.0), (2, 0.5), (5, 1.0)):
        runs["rigl", density, length] = [
            run(rigl + gain + 0.02 * s, seed=s, flops=0.023 * length, seconds=3.0 * length) for s in range(seeds)
        ]
    return Costs(runs)


def found(preset: str = "laptop", seeds: int = 5) -> Findings:
    return Findings(study=study, preset=preset, seeds=tuple(range(seeds)), records=())


def test_accuracy_at_equal_cost_is_read_between_the_rungs_never_below_them() -> None:
    ladder = [run(90.0, flops=0.4), run(80.0, flops=0.1)]
    assert at_equal(0.2, ladder, flops) == pytest.approx(85.0)
    assert at_equal(0.1, ladder, flops) == 80.0
    assert at_equal(0.4, ladder, flops) == 90.0
    assert at_equal(4.0, ladder, flops) == 90.0
    assert at_equal(0.09, ladder, flops) is None
    assert at_equal(1.0, [], flops) is None


def test_ratios_are_of_medians() -> None:
    assert ratio([1.0, 100.0, 3.0], [2.0]) == 1.5
    assert ratio([], [1.0]) is None


def test_runs_compare_by_seed() -> None:
    spread = above([run(90.0, seed=1), run(80.0, seed=2), run(70.0, seed=3)], [run(88.0, seed=1), run(79.0, seed=2)])
    assert spread is not None
    assert spread.values == (2.0, 1.0)
    assert above([], []) is None


def test_a_rival_is_compared_at_the_cost_of_each_seed() -> None:
    cost = made({FEW: 87.0})
    ahead, ids = cost.ahead("rigl", 0.02, FEW, busy)
    assert ids == [f"r-s{s}" for s in range(5)]
    rung = math.log((2 + 10 * FEW / 8) / 3.0) / math.log(2)
    assert ahead == pytest.approx([88 + 0.02 * s + 0.5 * rung - 87 - 0.01 * s for s in range(5)])
    assert cost.ahead("top-kast", 0.02, FEW, busy) == ([], [])


IDS = ("S0.4a", "S0.4a (95 %)", "S0.4a (90 %)", "S0.4a (one epoch)", "S0.4b", "S0.4c", "S0.4c (equal seconds)",
       "S0.4c (Top-KAST)", "S0.4c (Top-KAST, equal seconds)")  # fmt: skip


def test_every_claim_is_judged_where_nothing_is_there() -> None:
    verdicts = study.claims(found())
    assert sorted(v.claim.id for v in verdicts) == sorted(IDS)
    assert {v.word for v in verdicts} == {"unjudged"}
    assert "Top-KAST" in next(v.claim.sentence for v in verdicts if v.claim.id == "S0.4c (Top-KAST)")
    assert "seconds" in next(v.claim.statistic for v in verdicts if v.claim.id == "S0.4c (equal seconds)")


def test_diminishing_returns_hold_and_a_straight_line_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def words_of(cost: Costs) -> dict[str, str]:
        monkeypatch.setattr(freezing, "costs", lambda found: cost)
        return {v.claim.id: v.word for v in study.claims(found())}

    early = words_of(made({0: 80.0, 1: 86.0, 2: 86.5, 3: 87.0, 5: 87.5, ALL: 88.5}))
    assert early["S0.4a"] == early["S0.4a (one epoch)"] == early["S0.4b"] == "holds at reduced scale"
    assert early["S0.4c"] == early["S0.4c (equal seconds)"] == "holds at reduced scale"
    assert early["S0.4a (95 %)"] == "unjudged"
    straight = words_of(made({0: 80.0, 1: 81.0, 2: 82.0, 3: 83.0, 5: 85.0, ALL: 88.0}, rigl=79.0))
    assert straight["S0.4a"] == straight["S0.4a (one epoch)"] == "does not hold at reduced scale"
    assert straight["S0.4c"] == "does not hold at reduced scale"
    few = words_of(made({0: 80.0, 5: 87.5, ALL: 88.5}, seeds=4))
    assert few["S0.4a"] == "underpowered"


def test_the_best_hybrid_is_chosen_on_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(k: int, held_out: float, accuracy: float) -> list[Spent]:
        return [
            Spent(run=f"k{k}", seed=s, accuracy=accuracy, held_out=held_out, flops=1, seconds=1, joules=1)
            for s in range(5)
        ]

    runs: dict[Key, list[Spent]] = {("hybrid", 0.02, k): chosen(k, *values) for k, values in
                                    {0: (80, 95), 3: (90, 85), ALL: (91, 86)}.items()}  # fmt: skip
    values, ids = freezing._full_over_best(Costs(runs), PLANS["laptop"], 0.02)
    assert values == [1.0] * 5
    assert set(ids) == {"k3", f"k{ALL}"}


def test_tables_figures_and_answers_work_on_anything_half_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = [Costs({}), made({}), made({0: 80.0}), made({ALL: 88.0}), made({0: 80.0, 2: 86.0, ALL: 88.0}),
              Costs({("hybrid", 0.02, 2): [run(86.0)]})]  # fmt: skip
    for cost in halves:
        monkeypatch.setattr(freezing, "costs", lambda found, cost=cost: cost)
        assert [table.name for table in study.tables(found())] == ["freezing", "equal", "rivals", "rates"]
        assert all(figure.panels for figure in study.figures(found()))
        assert isinstance(list(study.answers(found())), list)
    monkeypatch.setattr(freezing, "costs", lambda found: made({0: 80.0, 2: 86.0, ALL: 88.0}))
    rows = study.tables(found())[0].rows
    assert [row.values[1] for row in rows] == ["dense", "0", "2", "all"]
    assert rows[2].values[5] == pytest.approx(75.0)
    assert {figure.name for figure in study.figures(found())} == {"accuracy", "saving", "cost"}
    assert "75 % after 2" in study.answers(found())[0]


def test_hybrids_share_everything_but_their_freezing() -> None:
    asked = settings("laptop", range(1))
    runs = study.runs("laptop", range(2))
    swept = [run for run in runs if run.label == "top-kast-sweep"]
    assert sorted(run.learning_rate for run in swept) == list(SWEPT["lenet-300-100"])
    assert {run.seed for run in swept} == {SWEEP_SEED}
    assert len({run.id for run in runs}) == len(runs) == 2 * (len(asked) - 1) + len(swept)
    assert asked["hybrid", 0.02, ALL] == asked["masked", 0.02, ALL]
    assert asked["hybrid", 0.02, ALL][0].execution == "masked"
    early = asked["hybrid", 0.02, 1][0]
    assert early.execution == "sparse"
    assert isinstance(early.method, DNW)
    assert early.method.freeze_at == pytest.approx(1 / early.epochs)
    assert asked["hybrid", 0.02, 0][0].method.freeze_at == 0  # type: ignore[union-attr]
    timed = [run for key, of in asked.items() if key[0] != "hybrid" for run in of]
    assert all(run.label for run in timed), "a run that gives a time is made for this study"
    assert asked["rigl", 0.02, 5][0].epochs == 5 * early.epochs


def test_the_study_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(net="mlp", densities=(0.1,), epochs=(0, 1, ALL), rigl=(1,), top_kast=(), again=(1,),
                sparse_search=False)  # fmt: skip
    monkeypatch.setitem(PLANS, "smoke", plan)
    got = execute(study, "smoke", tmp_path, seeds=1, jobs=2)
    assert not got.missing
    cost = freezing.costs(got)
    (dense,) = cost.of("dense", 1.0, 0)
    assert dense.flops == 1.0
    (none,), (one,), (full,) = (cost.of("hybrid", 0.1, k) for k in (0, 1, ALL))
    assert none.flops == pytest.approx(0.1, rel=0.02)
    assert full.flops == pytest.approx((2 * none.flops + 1) / 3, rel=1e-3)
    assert none.flops < one.flops < full.flops
    (masked,) = cost.of("masked", 0.1, 1)
    assert masked.flops == pytest.approx(one.flops)
    assert masked.accuracy == pytest.approx(one.accuracy, abs=5)
    assert min(run.seconds for run in (dense, none, one, full, masked)) > 0
    assert len(study.tables(got)[0].rows) == 4
    assert {figure.name for figure in study.figures(got)} == {"accuracy", "saving", "cost"}
    assert {v.word for v in study.claims(got)} <= {"underpowered", "unjudged"}
