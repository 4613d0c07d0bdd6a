"""The study of Gem-Miner: what it asks for, what its claims say of made-up runs, and its smoke preset as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wirings.methods import EdgePopup, GemMiner
from wirings.procedures.finetuning import FineTuning
from wirings.procedures.lottery import Lottery
from wirings.report.write import write
from wirings.studies import gem_miner
from wirings.studies.execute import execute
from wirings.studies.gem_miner import CHAIN, claims, densities_of, ladder, search, study
from wirings.studies.study import Findings
from wirings.studies.tables import Spread
from wirings.studies.views.searches import SWEEP_SEED, Searched
from wirings.training.records import Record
from wirings.training.settings import Run

CLAIMS = {
    "S2.11-gem-miner", "S2.12", "S2.12-denser", "S2.12-sparser", "S2.12-time", "S2.12-shuffled", "S2.12-pruners",
    "S2.13", "S2.13-global", "S2.13-gradual", "S2.13-decay", "S2.13-gem-miner",
}  # fmt: skip


def made_up(method: str, seed: int, density: float, accuracy: float, seconds: float = 1.0) -> Record:
    layers = {"fc1.weight": {"density": density}, "fc2.weight": {"density": 0.0 if method == "ep-global" else 0.5}}
    info: dict[str, Any] = {
        "id": f"{method}-{density:g}-s{seed}", "group": f"{method}-{density:g}", "method": method, "status": "finished",
        "settings": {"model": "lenet-300-100"}, "data": {"name": "mnist"}, "seeds": {"seed": seed},
        "busy_seconds": seconds,
        "results": {"test_accuracy_last": accuracy / 100, "density": density, "layers": layers},
    }  # fmt: skip
    return Record(Path("/nowhere") / str(info["id"]), info=info)


def findings(records: list[Record], preset: str = "laptop") -> Findings:
    return Findings(study=study, preset=preset, seeds=tuple(range(5)), records=tuple(records))


def five(accuracies: Mapping[str, float], density: float = 0.0144) -> list[Record]:
    """Five seeds of each label, a tenth of a point apart, the redrawn ones under seeds of their own."""
    noise = (0.0, 0.1, -0.1, 0.05, -0.05)
    wobble = (0.02, -0.02, 0.01, 0.0, -0.01)
    return [
        made_up(label, seed + (1000 if label.endswith("redrawn") else 0), density,
                accuracy + noise[seed] + wobble[(seed + place) % 5])
        for place, (label, accuracy) in enumerate(accuracies.items())
        for seed in range(5)
    ]  # fmt: skip


# ---------------------------------------------------------------------- what it asks for


def test_tickets_reach_the_three_densities_after_the_papers_rounds() -> None:
    rungs = ladder("laptop")
    assert len(rungs) == 23
    assert (rungs[14], rungs[18], rungs[22]) == (0.0372, 0.0144, 0.0059)
    assert rungs[:3] == pytest.approx((0.8, 0.64, 0.512))
    assert list(rungs) == sorted(rungs, reverse=True)
    assert all(abs(0.8**level / rung - 1) < 0.06 for level, rung in enumerate(rungs, start=1))


@pytest.mark.parametrize("preset", sorted(study.presets))
def test_every_preset_asks_for_tickets_searches_and_controls_at_every_density(preset: str) -> None:
    work = study.runs(preset, [0, 1])
    assert sum(isinstance(item, Lottery) for item in work) == 2
    work = [item for item in work if (item if isinstance(item, Run) else item.first).seed != SWEEP_SEED]
    searches = [item for item in work if isinstance(item, FineTuning)]
    assert len(searches) == 2 * (2 * 3 + 3)
    singles = [item for item in work if isinstance(item, Run)]
    labels = {run.method_name for run in singles}
    before = {"synflow", "snip", "smart-ratio", "static", "synflow-twice", "snip-twice"}
    assert labels == before | {"small-dense"}
    assert len(singles) == 2 * 3 * len(labels)
    assert all(run.epochs == 2 * singles[0].epochs for run in singles if run.method_name.endswith("twice"))
    first = {item.id if isinstance(item, Run) else item.first.id for item in work}
    assert len(first) == len(work)


def test_the_papers_preset_is_the_papers() -> None:
    tuning = search("paper", 0, "gem-miner", 0.0144)
    run = tuning.first
    assert (run.model, run.data, run.epochs, run.batch_size, run.learning_rate) == (
        "resnet-20", "cifar10", 150, 128, 0.1)  # fmt: skip
    assert run.model_settings == {"init": "signed-constant", "affine": False}
    assert run.method == GemMiner(density=0.0144, decay=2e-4)
    assert tuning.changes["learning_rate"] == 0.01
    assert search("paper", 0, "gem-miner", 0.0372).first.method == GemMiner(density=0.0372, decay=6e-5)


def test_the_chain_adds_one_ingredient_a_step() -> None:
    methods = [search("laptop", 0, name, 0.0144).first.method for name in CHAIN]
    assert methods == [
        EdgePopup(density=0.0144),
        EdgePopup(density=0.0144, scope="global"),
        EdgePopup(density=0.0144, scope="global", sparser_until=29 / 30),
        EdgePopup(density=0.0144, scope="global", sparser_until=29 / 30, decay=2e-4),
        GemMiner(density=0.0144, decay=2e-4),
    ]
    tuning = search("laptop", 0, "gem-miner", 0.0144)
    assert set(tuning.checks) == {"shuffled", "inverted"}
    assert tuning.redrawn


# ---------------------------------------------------------------------- what its claims say


def test_without_runs_there_is_a_row_a_claim_and_nothing_else() -> None:
    nothing = findings([])
    verdicts = claims(nothing)
    assert {v.claim.id for v in verdicts} == CLAIMS
    assert {v.word for v in verdicts} == {"unjudged"}
    assert (study.tables(nothing), study.figures(nothing), study.answers(nothing)) == ([], [], [])


def test_a_search_within_half_a_point_of_tickets_holds_and_one_far_below_does_not() -> None:
    said = {}
    for name, accuracy in (("near", 96.4), ("far", 93.0)):
        found = findings(five({"gem-miner-tuned": accuracy, "lottery": 96.5}))
        said[name] = {v.claim.id: v for v in claims(found)}["S2.12"]
    assert said["near"].word == "holds at reduced scale"
    assert said["far"].word == "does not hold at reduced scale"
    assert said["near"].effect == pytest.approx(-0.1, abs=0.05)
    assert (said["near"].net, said["near"].data, len(said["near"].run_ids)) == ("lenet-300-100", "mnist", 10)


def test_checks_pruners_and_steps_are_judged_against_the_better_rival_seed_by_seed() -> None:
    found = findings(five({
        "gem-miner-tuned": 96.0, "gem-miner-tuned-shuffled": 86.0, "gem-miner-tuned-inverted": 90.0,
        "gem-miner-tuned-redrawn": 95.0, "synflow-twice": 95.5, "snip-twice": 94.0, "edge-popup-tuned": 60.0,
        "ep-global-tuned": 10.0, "ep-gradual-tuned": 95.0, "ep-decay-tuned": 95.7,
    }))  # fmt: skip
    verdicts = {v.claim.id: v for v in claims(found)}
    effects = {name: verdicts[name].effect for name in CLAIMS if verdicts[name].effect is not None}
    wanted = {"S2.12-shuffled": 10.0, "S2.11-gem-miner": 1.0, "S2.12-pruners": 0.5, "S2.13": -50.0,
              "S2.13-global": -50.0, "S2.13-gradual": 85.0, "S2.13-decay": 0.7, "S2.13-gem-miner": 0.3}  # fmt: skip
    assert set(effects) == set(wanted)
    assert all(effects[name] == pytest.approx(wanted[name], abs=0.05) for name in wanted)
    assert verdicts["S2.13"].word == "does not hold at reduced scale"
    assert verdicts["S2.12-time"].word == "unjudged"


def test_a_ticket_pays_for_all_trainings_before_it_and_a_search_for_itself() -> None:
    records = [made_up("dense", 0, 1.0, 98, seconds=5), made_up("lottery", 0, 0.5, 98, seconds=4),
               made_up("lottery", 0, 0.0144, 97, seconds=3), made_up("lottery", 0, 0.0059, 95, seconds=2),
               made_up("gem-miner", 0, 0.0059, 80, seconds=6), made_up("gem-miner-tuned", 0, 0.0059, 94, seconds=1),
               made_up("synflow", 0, 0.0059, 90, seconds=7)]  # fmt: skip
    records[-1].info["begin"] = {"seconds": 0.5}
    had = Searched.of(findings(records), densities_of("laptop"))
    assert had.seconds_to_mask("lottery", 0.0059) == {0: 12}
    assert had.seconds_to_mask("lottery", 0.0144) == {0: 9}
    assert had.seconds("lottery", 0.0059) == {0: 14}
    assert (had.seconds_to_mask("gem-miner", 0.0059), had.seconds("gem-miner", 0.0059)) == ({0: 6}, {0: 7})
    assert (had.seconds_to_mask("synflow", 0.0059), had.seconds("synflow", 0.0059)) == ({0: 0.5}, {0: 7})
    assert had.speedup(0.0059) == {0: 2.0}
    assert had.speedup(0.0144) == {}


def test_rates_are_chosen_by_runs_that_nothing_else_looks_at() -> None:
    tried = gem_miner.sweep()
    assert all(item.id if isinstance(item, Run) else item.first.id for item in tried)
    assert {(item if isinstance(item, Run) else item.first).seed for item in tried} == {SWEEP_SEED}
    records = [made_up(f"gem-miner-rate-3{end}", SWEEP_SEED, 0.0144, 50) for end in ("", "-tuned")]
    records += five({"gem-miner-tuned": 96.0, "lottery": 96.0})
    records += [made_up("lottery", SWEEP_SEED, 0.0144, 1.0)]
    for record, accuracy in zip(records, (0.85, 0.961), strict=False):
        record.info["results"]["held_out_accuracy_last"] = accuracy
    found = findings(records)
    table = next(table for table in study.tables(found) if table.name == "rates")
    assert [row.values for row in table.rows] == [("Gem-Miner", 3.0, 85.0, pytest.approx(96.1), "yes")]
    assert {v.claim.id: v for v in claims(found)}["S2.12"].n == 5


def test_the_page_says_which_is_best_by_how_much_and_how_sure() -> None:
    said = study.answers(findings(five({"gem-miner-tuned": 96.0, "lottery": 97.0, "snip": 90.0})))
    assert "At 98.6 % sparsity (1.44 % density) lottery tickets do best, with 97.00 %." in said[0]
    assert "less lottery ticket: −1.00 points (95 % interval " in said[0]
    assert said[0].endswith("n = 5); the paper has them equal.")


def test_a_half_finished_study_is_told() -> None:
    records = [*five({"gem-miner-tuned": 96.0, "static": 93.0})[:7], made_up("ep-global", 1, 0.0144, 10)]
    found = findings(records)
    main = next(table for table in study.tables(found) if table.name == "accuracy")
    row = next(row for row in main.rows if row.method == "gem-miner")
    assert isinstance(row.values[3], Spread)
    assert row.values[3].n == 5
    assert {figure.name for figure in study.figures(found)} >= {"accuracy", "chain"}


# ---------------------------------------------------------------------- end to end


def test_the_smoke_preset_from_end_to_end(tmp_path: Path) -> None:
    found = execute(study, "smoke", tmp_path / "runs", seeds=1, jobs=2)
    assert not found.missing
    had = gem_miner.searched(found)
    for density in had.densities:
        assert had.trained("gem-miner", density)[0] > 80
        assert had.records("gem-miner-tuned", density)[0].wiring == had.records("gem-miner", density)[0].wiring
        assert had.seconds_to_mask("synflow", density)[0] > 0
    assert {v.word for v in claims(found)} == {"underpowered"}
    assert {table.name for table in study.tables(found)} == {"accuracy", "checks", "chain", "layers"}
    assert {figure.name for figure in study.figures(found)} == {"accuracy", "time", "checks", "chain", "used"}
    assert write(found, tmp_path / "results").exists()
