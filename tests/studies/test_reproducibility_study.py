"""The study of reproducibility: runs made again, trainings that part, spreads, and the whole at its smallest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import _global_optimizer_post_hooks

from wirings import data
from wirings.core.errors import RunError
from wirings.core.schedules import Every
from wirings.makers.random import ErdosRenyi
from wirings.methods import RigL
from wirings.studies import reproducibility
from wirings.studies.execute import collect, execute
from wirings.studies.measurement import Lab
from wirings.studies.measures import reproducibility as measures
from wirings.studies.measures.folds import Folds
from wirings.studies.measures.reproducibility import CHANGES, Again, Divergence, Replay, marks, traced
from wirings.studies.study import Findings
from wirings.studies.tables import Spread
from wirings.studies.views.repeated import error_range, sd_interval
from wirings.training.loop import train
from wirings.training.records import Record
from wirings.training.settings import Run

TINY = Run(
    model="mlp",
    data="gaussian-blobs",
    batch_size=64,
    steps=12,
    held_out=50,
    method=RigL(begin=ErdosRenyi(0.2), when=Every(4)),
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Lab]:
    root = tmp_path_factory.mktemp("runs")
    record = train(TINY, root)
    return record, Lab(root=root, paths={record.id: str(record.path)})


def parted(stored: tuple[Record, Lab], change: str) -> dict[str, Any]:
    record, lab = stored
    return Divergence(run=record.id, change=change).measure(lab)


def test_a_stored_run_made_again_ends_in_the_same_bits(stored: tuple[Record, Lab]) -> None:
    record, lab = stored
    found = Again(run=record.id).measure(lab)
    assert found["stored"] == found["again"]
    assert found["stored"]["accuracy"] == record.test_accuracy_last


def test_a_recorded_order_is_replayed(stored: tuple[Record, Lab]) -> None:
    record, lab = stored
    found = Replay(run=record.id).measure(lab)
    assert found["epochs"] == found["same"] == 1
    assert found["order"] == record.results["order"]


def test_values_are_kept_after_the_steps_that_were_asked_for(stored: tuple[Record, Lab], tmp_path: Path) -> None:
    kept = traced(TINY, tmp_path, [1, 4, 12])
    assert list(kept) == [1, 4, 12]
    last = torch.cat([t.flatten() for _, t in sorted(stored[0].values().items())])
    assert torch.equal(kept[12], last)
    assert not torch.equal(kept[4], last)


@pytest.mark.parametrize("change", ["nudge", "order", "init", "wiring"])
def test_what_changes_parts_two_trainings(stored: tuple[Record, Lab], change: str) -> None:
    found = parted(stored, change)
    assert found["steps"] == marks(12)
    assert not found["equal"]
    assert 0 < found["distance"][-1] < (1e-4 if change == "nudge" else 2)
    assert found["order"] == (change != "order")


def test_truly_sparse_in_double_precision_stays_with_masked(stored: tuple[Record, Lab]) -> None:
    found = parted(stored, "sparse-64")
    assert max(found["distance"]) < 1e-12
    assert found["wiring"] == 1
    assert found["predictions"] == 0


def test_double_precision_shows_the_rounding_of_single(stored: tuple[Record, Lab]) -> None:
    assert 1e-9 < parted(stored, "float64")["distance"][-1] < 1e-4


def test_bfloat16_is_farther_than_single_precision(stored: tuple[Record, Lab]) -> None:
    assert parted(stored, "bfloat16")["distance"][-1] > 10 * parted(stored, "float64")["distance"][-1]


def test_another_interpreter_trains_the_same_where_it_is_the_same(
    stored: tuple[Record, Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    with pytest.raises(RunError, match="names no interpreter"):
        parted(stored, "torch")
    monkeypatch.setenv(measures.OTHER_PYTHON, sys.executable)
    found = parted(stored, "torch")
    assert found["equal"]
    assert max(found["distance"]) == 0
    assert found["versions"]["torch"] == str(torch.__version__)


def test_a_failing_process_says_why(stored: tuple[Record, Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHANGES, "broken", dataclasses.replace(CHANGES["older"], environment={"PYTHONHOME": "/none"}))
    with pytest.raises(RunError, match="in a process of its own failed"):
        parted(stored, "broken")


def test_nothing_is_left_hooked(stored: tuple[Record, Lab], tmp_path: Path) -> None:
    traced(TINY, tmp_path, [1])
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert not _global_optimizer_post_hooks


def test_ten_folds_hold_every_image_once() -> None:
    whole = data.load("gaussian-blobs")
    folds = [getattr(Folds("gaussian-blobs", 4), f"fold_{k}") for k in range(4)]
    tested = np.concatenate([fold.test_images.reshape(-1, 64) for fold in folds])
    assert np.array_equal(np.sort(tested, axis=0), np.sort(whole.train_images.reshape(-1, 64), axis=0))
    assert all(len(fold.train_labels) == 750 and fold.sha256 != whole.sha256 for fold in folds)
    with pytest.raises(AttributeError, match="one of fold_0 to fold_3"):
        Folds("gaussian-blobs", 4).fold_4  # noqa: B018


def test_the_interval_of_a_standard_deviation_holds_it() -> None:
    spread = Spread((1.0, 2.0, 3.0, 4.0))
    found = sd_interval(spread)
    assert found.low < spread.sd < found.high
    assert (found.low, found.high) == pytest.approx((0.7313, 4.8135), rel=1e-3)  # chi-squared with 3 degrees of freedom


# ---------------------------------------------------------------------- the study


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Findings]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(measures.OTHER_PYTHON, raising=False)
        patch.setattr(reproducibility, "BOTH", ("nudge",))
        patch.setattr(reproducibility, "SPARSE", ("sparse",))
        patch.setitem(reproducibility._SCALES["smoke"], "steps", 8)
        yield execute(reproducibility.study, "smoke", tmp_path_factory.mktemp("runs"), seeds=2, jobs=1)


IDS = ["S2.18", "S2.20a", "S2.20b"] * 3 + ["S2.19", "S2.19-substitute", "S2.19-tolerance", "S2.21"]


def test_the_smallest_study_is_whole(found: Findings) -> None:
    assert not found.missing
    sources, changes, repetitions = reproducibility.tables(found)
    assert len(sources.rows) == 14
    assert len(changes.rows) == 3
    assert [row.values[2:5] for row in repetitions.rows] == [(1, 1, 1)] * 3
    assert [figure.name for figure in reproducibility.figures(found)] == ["sources", "divergence"]
    assert len(reproducibility.answers(found)) >= 5


def test_every_claim_is_judged(found: Findings) -> None:
    verdicts = reproducibility.claims(found)
    assert [verdict.claim.id for verdict in verdicts] == IDS
    by = {verdict.claim.id: verdict for verdict in verdicts}
    assert by["S2.19"].word == "unjudged"
    assert by["S2.18"].effect == 1.0


def test_nothing_breaks_on_half_of_it(found: Findings, tmp_path: Path) -> None:
    nothing = collect(reproducibility.study, "smoke", tmp_path, seeds=2)
    for half in (
        nothing,
        dataclasses.replace(found, measurements={}),
        dataclasses.replace(found, records=found.records[:5]),
    ):
        assert [verdict.claim.id for verdict in reproducibility.claims(half)] == IDS
        reproducibility.tables(half)
        reproducibility.figures(half)
        reproducibility.answers(half)
    assert {verdict.word for verdict in reproducibility.claims(nothing)} == {"unjudged"}


def test_a_difference_in_the_last_bit_refutes_identity(found: Findings) -> None:
    assert found.measurements
    changed = {
        name: it | {"result": it["result"] | {"again": it["result"]["again"] | {"values": "other"}}}
        for name, it in found.measurements.items()
        if name.startswith("again")
    }
    verdicts = reproducibility.claims(dataclasses.replace(found, measurements=changed))
    assert [v.effect for v in verdicts if v.claim.id == "S2.18"] == [0.0] * 3


def test_the_range_of_errors_is_told_in_percent_of_their_mean(found: Findings) -> None:
    class Fake:
        def __init__(self, accuracy: float) -> None:
            self.test_accuracy_last = accuracy

    assert error_range([Fake(0.9), Fake(0.8)]) == pytest.approx(100 * 0.1 / 0.15)  # type: ignore[list-item]
    assert error_range([Fake(1.0), Fake(1.0)]) == 0  # type: ignore[list-item]
