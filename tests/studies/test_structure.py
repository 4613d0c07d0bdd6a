"""The study of what a wiring is worth: its runs, statistics from made-up findings, and the whole at its smallest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wirings.analysis.claims import Verdict
from wirings.procedures import Lottery, Retraining
from wirings.procedures.retraining import FRESH
from wirings.report.write import write
from wirings.studies import deconstruction as seed0
from wirings.studies import structure
from wirings.studies.execute import collect, execute
from wirings.studies.study import Findings
from wirings.studies.views import retrained
from wirings.studies.views.retrained import Paired, Pairs
from wirings.training.records import Record
from wirings.training.settings import Run

IDS = ["S0.1a", "S0.1b", "S0.1c", "S0.1d", "S0.1e"]
WORTH = {"static": 0.0, "lottery": 0.1, "dnw": 1.0, "rigl": 2.0}


def record(
    method: str,
    density: float,
    seed: int,
    accuracy: float,
    seconds: float = 1.0,
    held_out: float = 0.0,
    **settings: Any,
) -> Record:
    """A finished run that nobody has made; accuracy in percent."""
    info: dict[str, Any] = {
        "id": f"{method}-{density}-s{seed}",
        "group": f"{method}-{density}",
        "method": method,
        "status": "finished",
        "seeds": {"seed": seed},
        "settings": {"model": "lenet-300-100", "data": "fashion-mnist"} | settings,
        "data": {"name": "fashion-mnist"},
        "results": {
            "density": density,
            "effective_density": density,
            "test_accuracy_last": accuracy / 100,
            "held_out_accuracy_last": held_out / 100,
        },
        "seconds": seconds,
        "busy_seconds": seconds,
    }
    return Record(Path("nowhere"), info=info)


def made_up(seeds: int = 10, growth: float = 1.0) -> list[Record]:
    """Advantages of `WORTH` at 90 %, more by ``growth`` at each further sparsity, and a shuffle worth nothing."""
    records = [record("dense", 1.0, s, 90.0, 4.0) for s in range(seeds)]
    for place, density in enumerate(seed0.DENSITIES["laptop"]):
        for s in range(seeds):
            noise = 0.02 * ((7 * s + place) % 5)
            base = 88.0 - place + 0.3 * s
            for method, worth in WORTH.items():
                advantage = worth * (1 + growth * place)
                records.append(record(f"{method}-structure", density, s + FRESH, base + advantage + noise))
                records.append(record(method, density, s, base + advantage + 0.5))
            for method in ("dnw", "lottery"):
                for control in ("shuffled", "in-degrees", "degrees"):
                    records.append(record(f"{method}-{control}", density, s + FRESH, base + 0.5 * noise))
            records.append(record("small-dense", density, s + FRESH, 80.0, 0.5, small_dense=density))
    return records


def findings(records: list[Record], preset: str = "laptop") -> Findings:
    return Findings(study=structure.study, preset=preset, seeds=(0, 1, 2, 3, 4), records=tuple(records))


def verdicts(records: list[Record]) -> Mapping[str, Verdict]:
    return {verdict.claim.id: verdict for verdict in structure.claims(findings(records))}


def test_the_claims_are_read_from_pairs_of_seeds() -> None:
    said = verdicts(made_up())
    assert list(said) == IDS
    assert {verdict.word for verdict in said.values()} == {"holds at reduced scale"}
    assert said["S0.1a"].n == 10
    assert said["S0.1b"].effect == pytest.approx(2.04, abs=0.05)  # the second best of 1, 2 and 3, and some noise
    assert "at 95 % sparsity, the second best of 3" in said["S0.1b"].reason


def test_what_holds_at_one_sparsity_only_does_not_hold() -> None:
    lost = [
        record(r.method, r.density, r.seed, 100 * r.test_accuracy_last - 1.5 * (r.density > 0.03))
        if r.method == "dnw-structure"
        else r
        for r in made_up(growth=0.1)
    ]
    said = verdicts(lost)
    assert said["S0.1b"].word == "does not hold at reduced scale"
    assert said["S0.1c"].word == "holds at reduced scale"


def test_an_equivalence_of_five_seeds_is_underpowered() -> None:
    assert verdicts(made_up(seeds=5))["S0.1a"].word == "underpowered"


def test_an_advantage_that_shrinks_has_a_negative_slope() -> None:
    said = verdicts(made_up(growth=-0.3))
    assert said["S0.1d"].effect is not None
    assert said["S0.1d"].effect < 0
    assert said["S0.1d"].word == "does not hold at reduced scale"


def test_a_slope_is_points_per_decade() -> None:
    line = structure.slope({0.1: Pairs((1.0, 0.0), (0, 1)), 0.01: Pairs((3.0, 0.0), (0, 1))})
    assert line.values == pytest.approx((2.0, 0.0))
    assert line.seeds == (0, 1)
    assert structure.slope({0.1: Pairs((1.0,), (0,))}).values == ()


def test_the_page_begins_with_whose_wirings_are_best_at_the_highest_sparsity() -> None:
    said = structure.answers(findings(made_up(growth=0.1)))[0]
    assert re.search(r"At 98 % sparsity, trained from fresh values, the wirings of \S.* do best: [\d.]+ %", said)
    assert re.search(r"points above those of .* \(95 % interval, n = \d+\)", said)
    assert "The paper, without numbers" in said


def test_nothing_is_said_of_what_is_missing() -> None:
    empty = findings([])
    assert structure.tables(empty) == structure.figures(empty) == structure.answers(empty) == []
    assert [(v.claim.id, v.word) for v in structure.claims(empty)] == [(name, "unjudged") for name in IDS]
    for end in range(0, 60, 7):
        half = findings(made_up(seeds=2)[:end])
        structure.tables(half), structure.figures(half), structure.answers(half), structure.claims(half)


def test_no_run_of_the_sweep_is_taken_for_another() -> None:
    work = seed0.sweep("lenet-300-100", structure.SWEPT)
    first = [item if isinstance(item, Run) else item.first for item in work]
    assert {run.seed for run in first} == {seed0.SWEEP_SEED}
    assert all(run.label.endswith(seed0.SWEEP) for run in first)
    assert {item.label for item in work if isinstance(item, Lottery)} == {"lottery-sweep"}
    assert len({run.id for run in first}) == len(work) == 4 * 5


def test_the_sweep_is_told_by_rate_with_what_was_chosen() -> None:
    swept = [record("static-sweep", 0.05, 100, 12.0, learning_rate=rate, held_out=80 + rate) for rate in (0.1, 0.2)]
    table = retrained.sweep_table([*made_up(), *swept], "-sweep", {("lenet-300-100", "static"): 0.1}, 0.05)
    assert [column.title for column in table.columns] == ["Network", "Method", "Rate 0.1", "Rate 0.2", "Chosen"]
    assert table.rows[0].values == ("lenet-300-100", "random (static)", pytest.approx(80.1), pytest.approx(80.2), 0.1)


def test_equal_seconds_are_read_off_between_measured_networks() -> None:
    steps = [(0.02, 80.0, 1.0), (0.05, 84.0, 4.0), (1.0, 90.0, 16.0)]
    records = [record("small-dense", d, FRESH, a, t, small_dense=d) for d, a, t in steps]
    net = Paired("lenet-300-100", tuple(records))
    densities = [d for d, _, _ in steps]
    assert net.at_equal_seconds("small-dense", 2.0, densities) == pytest.approx({0: 82.0})  # half-way in the logarithm
    assert net.at_equal_seconds("small-dense", 99.0, densities) == pytest.approx({0: 90.0})
    assert net.at_equal_seconds("small-dense", 0.5, densities) == {}


def test_whatever_is_trained_again_has_the_same_settings() -> None:
    work = [item for item in structure.runs("laptop", range(5)) if isinstance(item, Retraining)]
    assert {tuple(item.changes.items()) for item in work if item.first.model == "lenet-300-100"} == {
        (("learning_rate", seed0.rate_of("lenet-300-100", "static")), ("execution", "sparse"))
    }
    assert {r.seed for r in structure.runs("laptop", range(5)) if isinstance(r, Run)} <= {
        seed0.SWEEP_SEED, *range(5), *range(FRESH, FRESH + 5)
    }  # fmt: skip
    assert {item.first.seed for item in work} == {*range(10)}


def test_a_lottery_passes_through_every_density() -> None:
    for preset, nets in seed0.NETS.items():
        densities = seed0.DENSITIES[preset]
        play = seed0.lottery_of(nets[0], 0, densities[-1])
        passed = getattr(play.pruning, "densities")  # noqa: B009
        assert set(densities) <= set(passed)
        assert play.rounds == len(passed)
        early = seed0.lottery_of(nets[0], 0, densities[0])
        assert getattr(early.pruning, "densities") == passed[: early.rounds]  # noqa: B009


def test_the_smallest_scale_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(seed0.DENSITIES, "smoke", (0.2, 0.05))
    monkeypatch.setitem(seed0.SWEPT, "mlp", (0.1,))
    monkeypatch.setattr(structure, "CONTROLS", structure.FEWER | {"lottery": {"structure": None}})
    monkeypatch.setitem(seed0._SETTINGS, "mlp", seed0._SETTINGS["mlp"] | {"epochs": 1})
    study = structure.study
    found = execute(study, "smoke", tmp_path / "runs", seeds=1, jobs=2)
    assert not found.missing
    page = write(found, tmp_path / "results")
    assert page.exists()
    assert [verdict.word for verdict in study.claims(found)].count("underpowered") >= 3
    names = {table.name for table in study.tables(found)}
    assert names == {"structure", "differences", "baselines", "rates"}
    assert {figure.name for figure in study.figures(found)} == {"structure", "differences", "controls", "baselines"}
    assert collect(study, "smoke", tmp_path / "runs", seeds=1).records == found.records
