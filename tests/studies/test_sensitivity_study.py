"""The study of further pruning: its measurements, its statistics from made-up curves, and the whole at its smallest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wirings.report.write import write
from wirings.studies import deconstruction as seed0
from wirings.studies import sensitivity, structure
from wirings.studies.execute import execute
from wirings.studies.measurement import Lab
from wirings.studies.measures.sensitivity import Removal, curve_of
from wirings.studies.study import Findings
from wirings.training import Run, train
from wirings.training.records import Record

NET = seed0.NETS["laptop"][0]


def record(method: str, density: float, seed: int) -> Record:
    """A finished run that nobody has made."""
    info: dict[str, Any] = {
        "id": f"{method}-{density}-s{seed}",
        "group": f"{method}-{density}",
        "method": method,
        "status": "finished",
        "seeds": {"seed": seed},
        "settings": {"model": "lenet-300-100", "data": "fashion-mnist"},
        "results": {"density": density},
    }
    return Record(Path("nowhere"), info=info)


def made_up(kept: dict[str, float], seeds: int = 5) -> Findings:
    """Networks of each method that keep so much of their accuracy, half-way through the removal of everything."""
    records = [record(m, d, s) for m in kept for d in seed0.DENSITIES["laptop"] for s in range(seeds)]
    told = {}
    for r in records:
        for order in ("magnitude", "local", "random"):
            share = kept[r.method] + 0.001 * ((3 * r.seed + len(r.method)) % 4)
            result = {"fractions": [0.0, 0.5, 1.0], "scores": [[0.8, 0.8 * share, 0.1]], "chance": 0.1}
            told[sensitivity.removal(NET, r, order).id] = {"result": result}
    return Findings(
        study=sensitivity.study, preset="laptop", seeds=tuple(range(seeds)), records=tuple(records), measurements=told
    )


ROBUST = {"static": 0.5, "lottery": 0.8, "dnw": 0.9, "rigl": 0.6}


def test_the_claims_are_read_from_areas_in_pairs() -> None:
    a, b = sensitivity.claims(made_up(ROBUST))
    assert (a.claim.id, a.word) == ("S0.2a", "holds at reduced scale")
    assert a.effect == pytest.approx(0.05, abs=0.01)  # RigL, the least above random
    assert (b.claim.id, b.word) == ("S0.2b", "holds at reduced scale")
    assert b.effect == pytest.approx(0.15, abs=0.01)
    assert a.n == b.n == 5


def test_one_method_below_random_is_enough_to_refute() -> None:
    a, _ = sensitivity.claims(made_up(ROBUST | {"rigl": 0.4}))
    assert a.word == "does not hold at reduced scale"


def test_few_seeds_give_no_verdict() -> None:
    assert {v.word for v in sensitivity.claims(made_up(ROBUST, seeds=3))} == {"underpowered"}


def test_nothing_is_said_of_what_is_missing() -> None:
    empty = made_up({})
    assert sensitivity.tables(empty) == sensitivity.figures(empty) == sensitivity.answers(empty) == []
    assert [(v.claim.id, v.word) for v in sensitivity.claims(empty)] == [("S0.2a", "unjudged"), ("S0.2b", "unjudged")]
    half = made_up({"static": 0.5, "dnw": 0.9}, seeds=1)
    assert {v.word for v in sensitivity.claims(half)} == {"unjudged"}
    assert len(sensitivity.tables(half)[0].rows) == 2 * 3 * 3
    assert [figure.name for figure in sensitivity.figures(half)] == ["removed-magnitude", "removed-random", "areas"]


def test_the_table_has_a_row_a_way_of_removing_sparsity_and_method() -> None:
    table = sensitivity.tables(made_up(ROBUST))[0]
    assert len(table.rows) == 3 * 3 * 4
    heads = [column.title for column in table.columns]
    row = next(r for r in table.rows if r.values[1:4] == ("the smallest first", "98 %", "DNW"))
    told = dict(zip(heads, row.values, strict=True))
    assert told["Area above random"] == pytest.approx(0.2, abs=0.01)
    assert len(row.runs) == 5


def test_the_networks_are_those_of_the_study_of_structure() -> None:
    """Whatever is measured is trained there already."""
    there = {item.first.id if not isinstance(item, Run) else item.id for item in structure.runs("laptop", range(5))}
    here = {item.first.id if not isinstance(item, Run) else item.id for item in sensitivity.runs("laptop", range(5))}
    assert here <= there


def test_some_images_score_as_all_do_on_average(tmp_path: Path) -> None:
    run = train(Run(model="mlp", data="gaussian-blobs", steps=20, batch_size=32), tmp_path)
    lab = Lab(root=tmp_path, paths={run.id: str(run.path)})
    whole = curve_of(Removal(run=run.id, fractions=(0.0, 0.5)).measure(lab))
    some = curve_of(Removal(run=run.id, fractions=(0.0, 0.5), images=50).measure(lab))
    assert whole.mean[0] == run.test_accuracy_last
    assert some.mean[0] == pytest.approx(whole.mean[0], abs=0.25)
    assert (some.mean[0] * 50) % 1 == pytest.approx(0.0)
    with pytest.raises(ValueError, match="`images` of `sensitivity_of` must be an integer from 1 to"):
        Removal(run=run.id, images=10**6).measure(lab)


def test_the_smallest_scale_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(seed0.DENSITIES, "smoke", (0.2, 0.05))
    monkeypatch.setitem(seed0._SETTINGS, "mlp", seed0._SETTINGS["mlp"] | {"epochs": 1})
    found = execute(sensitivity.study, "smoke", tmp_path / "runs", seeds=1, jobs=2)
    assert not found.missing
    assert len(found.measurements) == 2 * 4 * 3
    assert write(found, tmp_path / "results").exists()
    assert [verdict.word for verdict in sensitivity.claims(found)] == ["underpowered"] * 2
