"""Emergence: what is read from a run's wirings, the claims about it, and the study from end to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.studies import emergence
from wirings.studies.emergence import CLAIMS, STATISTICS, Plan, settings, study
from wirings.studies.execute import collect, execute
from wirings.studies.measures.emergence import Emergence, amplified, moments, net_share, net_shares, rank_kept
from wirings.studies.study import Findings


def wiring(*at: int) -> Wiring:
    return Wiring({"fc.weight": Topology.at((2, 4), at)})


def result(net: float | None, slopes: list[float | None], ranks: list[float | None]) -> dict[str, Any]:
    """What one run's measurement says, after one epoch of two."""
    layers = {
        f"fc{i}.weight": {
            "density": 0.1,
            "net_share": net,
            "path_share": 0.4,
            "spearman": [0.0, rank, 1.0],
            "amplification": slope,
            "gini": [0.1, 0.2, 0.3],
            "dead": [0, 1, 2],
            "degrees": [[1, 2], [1, 3]],
            "units": list(range(20)),
            "traces": [[1, 2, 3]] * 20,
        }
        for i, (slope, rank) in enumerate(zip(slopes, ranks, strict=True), 1)
    }
    return {"epochs": [0.0, 1.0, 2.0], "early": 1, "net": [0.0, net, 1.0], "path": [0.0, 0.4, 1.0], "detour": 1.5,
            "moved": 0.5, "layers": layers}  # fmt: skip


def found(results: Mapping[str, Any], seeds: int = 5, preset: str = "laptop") -> Findings:
    """Findings of measurements alone: method or label -> what each of its runs says."""
    bare = Findings(study=study, preset=preset, seeds=tuple(range(seeds)), records=())
    measured = {
        m.id: {"result": results[key[1]]}
        for key, asked in emergence._measures(bare).items()
        for m in asked
        if key[1] in results
    }
    return replace(bare, measurements=measured)


def test_net_shares_go_from_nothing_to_everything_and_back_where_it_went_astray() -> None:
    assert net_shares([wiring(0, 1), wiring(0, 2), wiring(2, 3)]) == [0.0, 0.5, 1.0]
    assert net_shares([wiring(0, 1), wiring(4, 5), wiring(0, 2)]) == [0.0, -1.0, 1.0]
    assert net_shares([wiring(0), wiring(0)]) == [None, None]


def test_moments_are_those_of_the_first_epoch_and_every_epoch() -> None:
    tenths = [i / 10 for i in range(31)]
    assert [tenths[i] for i in moments(tenths)] == [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 3.0]
    assert moments([0.0, 1.0, 2.0]) == [0, 1, 2]


def test_statistics_read_one_result() -> None:
    one = result(0.7, [0.5, -0.2, 0.3], [0.9, 0.7, None])
    assert net_share(one) == 0.7
    assert rank_kept(one) == pytest.approx(0.8)
    assert amplified(one) == -0.2
    assert amplified(result(None, [None], [None])) is None


def test_of_six_layers_one_may_fail_to_amplify() -> None:
    slopes: list[float | None] = [-1.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert amplified(result(0.7, slopes, [1.0] * 6)) == 0.1


def test_every_claim_is_judged_where_nothing_is_there() -> None:
    verdicts = study.claims(found({}))
    assert {v.word for v in verdicts} == {"unjudged"}
    ids = {v.claim.id for v in verdicts}
    assert {claim.id for claim in CLAIMS} <= ids
    assert {"S0.3a (90 %)", "S0.3a (warm-up)", "S0.3a (a tenth of the rate)", "S0.3a (constant rate)"} <= ids
    assert len({(v.claim.id, v.net, v.data) for v in verdicts}) == len(verdicts)
    assert len(CLAIMS) == len(STATISTICS)


def test_clear_findings_hold_and_clear_counterexamples_do_not() -> None:
    clear = result(0.8, [0.4, 0.5, 0.6], [0.9, 0.95, 0.9])
    astray = result(0.2, [-0.4, -0.5, -0.6], [0.1, 0.2, 0.3])
    said = {(v.claim.id, v.net): v.word for v in study.claims(found({"dnw": clear, "dnw-warm-up": astray}))}
    assert {said[claim.id, "lenet-300-100"] for claim in CLAIMS} == {"holds at reduced scale"}
    assert said["S0.3a (warm-up)", "lenet-300-100"] == "does not hold at reduced scale"
    assert {v.word for v in study.claims(found({"dnw": clear}, seeds=4))} == {"underpowered", "unjudged"}


def test_tables_figures_and_answers_work_on_anything_half_finished() -> None:
    clear = result(0.8, [0.4, None, 0.6], [0.9, None, 0.9])
    still = result(None, [None] * 3, [None] * 3)
    for results in ({}, {"rigl": clear}, {"dnw": still}, {"dnw": clear, "set": still, "dnw-constant": clear}):
        some = found(results)
        assert [table.name for table in study.tables(some)] == ["moments", "layers"]
        assert all(figure.panels for figure in study.figures(some))
        assert isinstance(list(study.answers(some)), list)
    assert study.answers(found({"dnw": clear}))[0].startswith(
        "At 98 % sparsity in lenet-300-100, 80 % (95 % interval 80 to 80) of DNW's net change lies behind"
    )


@pytest.mark.parametrize(("slopes", "said"), [([0.4, 0.5], "at least"), ([-0.4, 0.5], "fewer than")])
def test_an_answer_says_of_how_many_layers_and_not_that_units_lose(slopes: list[float | None], said: str) -> None:
    answers = study.answers(found({"dnw": result(0.8, slopes, [0.9, 0.9])}))
    assert any(f"gain more in {said} 80 % of the layers" in answer for answer in answers)


def test_runs_look_ten_times_an_epoch_and_slower_ones_differ_in_their_rate_alone() -> None:
    asked = settings("laptop", range(1))
    usual = asked["lenet-300-100", "dnw", 0.02][0]
    assert usual.history.n == pytest.approx(0.1 / usual.epochs, abs=1e-6)
    slow = asked["lenet-300-100", "dnw-low-rate", 0.02][0]
    assert slow == replace(usual, label="dnw-low-rate", learning_rate=usual.learning_rate / 10)
    assert len({run.id for runs in asked.values() for run in runs}) == len(asked)


def test_the_study_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(densities=(0.1,), beside=(0.1,), sparse=True, rates=False)
    monkeypatch.setattr(emergence, "PLANS", {"smoke": plan})
    made = execute(study, "smoke", tmp_path, seeds=1, jobs=2)
    assert not made.missing
    dnw, rigl, swapped = (made.measured(m) for m in study.measurements(made))
    assert dnw is not None
    assert rigl is not None
    assert swapped is not None
    for told in (dnw, rigl, swapped):
        assert told["epochs"][0] == 0
        assert told["epochs"][told["early"]] == pytest.approx(1, abs=0.06)
        assert (told["net"][0], told["net"][-1]) == (0, 1)
        assert told["path"][-1] == 1
        assert told["detour"] >= 1
    assert 0 < net_share(dnw) < 1  # type: ignore[operator]
    assert {figure.name for figure in study.figures(made)} == {"change", "traces", "amplification", "ranks", "gini"}
    assert len(study.tables(made)[0].rows) == 3
    assert {v.word for v in study.claims(made)} == {"underpowered"}
    assert collect(study, "smoke", tmp_path, seeds=1).measurements == made.measurements


def test_a_run_that_looked_too_rarely_is_refused(tmp_path: Path) -> None:
    from wirings.core.schedules import Every
    from wirings.methods import SET
    from wirings.studies.measurement import Lab
    from wirings.training.loop import train
    from wirings.training.settings import Run

    run = Run(model="mlp", data="gaussian-blobs", epochs=2, batch_size=256, method=SET.at(0.2), history=Every(1.0))
    record = train(run, tmp_path)
    lab = Lab(root=tmp_path, paths={record.id: str(record.path)})
    with pytest.raises(ValueError, match=r"`epoch` of `nearest` must be near a look of the run"):
        Emergence(run=record.id).measure(lab)
