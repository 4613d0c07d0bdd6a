"""The study of similarity: who meets whom, what the claims compute, and the whole at its smallest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from wirings.studies import blakeney, similarity
from wirings.studies.blakeney import NETS, ROLES, Net, meetings, seen
from wirings.studies.execute import collect, count, execute
from wirings.studies.measures.similarity import Alike, first_images
from wirings.studies.study import Findings, Study
from wirings.studies.views import alike
from wirings.training.records import Record

TINY = Net(
    title="MLP",
    settings={"model": "mlp", "data": "gaussian-blobs", "batch_size": 64},
    steps=(6, 4),
    densities=(0.5, 0.2, 0.1),
    again=(0.1,),
)


def tiny_study(monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setitem(NETS, "smoke", (TINY,))
    return similarity.study


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Findings]]:
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETS, "smoke", (TINY,))
        yield root, execute(similarity.study, "smoke", root, seeds=2, jobs=1)


def invented(found: Findings, svcca: dict[str, float]) -> Findings:
    """The same meetings with curves that are told, by role."""
    measured = {
        m.measurement.id: {"result": {"layers": ["fc1", "fc2"], "curves": {
            name: {"value": [svcca[m.role] - 0.1 * math.log10(1 / m.density)] * 2, "noise": [0.1, 0.1]}
            for name in ("svcca", "pwcca", "cka", "procrustes")}}}
        for m in meetings(found)
    }  # fmt: skip
    return dataclasses.replace(found, measurements=measured)


def test_the_smallest_study_is_whole(made: tuple[Path, Findings], monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = made
    assert not found.missing
    assert len(found.records) == count(similarity.study, "smoke", seeds=2)
    roles = {one.meeting.role for one in seen(found)}
    assert roles == set(ROLES)
    networks, layers = similarity.tables(found)
    assert len(networks.rows) == 10  # three densities pruned, three controls at one, four baselines
    assert len(layers.rows) == 10 * len(seen(found)[0].result["layers"])
    assert [figure.name for figure in similarity.figures(found)] == ["layers", "sparsity"]
    monkeypatch.setattr(alike, "_MAPPED", 2)  # this network is too small for a map to be shown
    maps = similarity.figures(found)[-1]
    assert maps.name == "maps-mlp"
    assert len(maps.panels) == 8  # every role once, at one density
    assert len(similarity.answers(found)) == 2


def test_every_claim_is_judged_once_for_a_network(made: tuple[Path, Findings]) -> None:
    _, found = made
    verdicts = similarity.claims(found)
    assert [v.claim.id for v in verdicts] == [
        f"S2.15-{name}" for name in ("K1a", "K1b", "K1c", "K1d", "K2", "K3a", "K3b")
    ]
    assert all(v.n == 2 and v.word == "underpowered" and v.run_ids for v in verdicts)


def test_nothing_breaks_on_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: tuple[Path, Findings]
) -> None:
    study = tiny_study(monkeypatch)
    nothing = collect(study, "smoke", tmp_path, seeds=2)
    for found in (
        nothing,
        dataclasses.replace(made[1], measurements={}),
        dataclasses.replace(made[1], records=made[1].records[:3]),
    ):
        assert len(similarity.claims(found)) == 7
        similarity.tables(found)
        similarity.figures(found)
        similarity.answers(found)
    assert {v.word for v in similarity.claims(nothing)} == {"unjudged"}


def test_claims_compute_what_their_statistics_say(made: tuple[Path, Findings]) -> None:
    level = {
        "pruned": 0.9,
        "structure": 0.62,
        "shuffled": 0.61,
        "random": 0.6,
        "seed": 0.6,
        "order": 0.9,
        "tuned": 0.9,
        "untrained": 0.3,
    }
    verdicts = {v.claim.id: v for v in similarity.claims(invented(made[1], level))}
    assert verdicts["S2.15-K1a"].effect == pytest.approx(0.8 - 0.9 * 0.9)
    assert verdicts["S2.15-K1b"].effect == pytest.approx(-0.1)
    assert verdicts["S2.15-K1d"].effect == pytest.approx(0.2 / 0.4)
    assert verdicts["S2.15-K3b"].effect == pytest.approx(0.01)
    by = {(m.role, m.density, m.seed): m for m in meetings(made[1])}
    lost = [by["pruned", 0.1, seed].lost for seed in (0, 1)]
    assert verdicts["S2.15-K1c"].effect == pytest.approx(sum(lost) / 2)


def test_a_network_is_quite_like_itself(made: tuple[Path, Findings]) -> None:
    _, found = made
    record = found.records[0]
    lab = _Lab(record)
    result = Alike(a=record.id, b=record.id, images=60).measure(lab)  # type: ignore[arg-type]
    assert result["curves"]["svcca"]["value"] == pytest.approx([1.0] * len(result["layers"]))
    assert result["curves"]["cka"]["points"] == [60] * len(result["layers"])
    untrained = Alike(a=record.id, fresh=7, images=60).measure(lab)  # type: ignore[arg-type]
    assert max(untrained["curves"]["svcca"]["value"]) < 1


def test_the_same_seed_gives_what_is_trained_again_the_same_first_values(made: tuple[Path, Findings]) -> None:
    _, found = made
    again = [r for r in found.records if r.method in ("gradual-structure", "gradual-shuffled") and r.seed == 1000]
    assert len(again) == 2
    assert len({r.run.seed_of("init") for r in again}) == 1
    mine, other = (r.wiring for r in again)
    assert {n: t.nnz for n, t in mine.items()} == {n: t.nnz for n, t in other.items()}
    assert mine != other


def test_the_first_images_are_as_many_as_asked(made: tuple[Path, Findings]) -> None:
    batches = list(first_images(made[1].records[0], 150))
    assert sum(len(batch) for batch in batches) == 150
    assert torch.cat(batches).shape[1:] == (1, 8, 8)


def test_pruning_begins_with_the_values_of_the_original(made: tuple[Path, Findings]) -> None:
    _, found = made
    pruned = next(r for r in found.records if r.method == "gradual")
    values = pruned.run.values
    assert values is not None
    assert values.step == 0
    assert pruned.density == pytest.approx(0.5, rel=0.02)


def test_laptop_looks_at_the_tickets_of_the_study_of_structure() -> None:
    runs = blakeney.runs("laptop", range(10))
    firsts: list[Any] = [item.first for item in runs if not hasattr(item, "epochs")]
    tickets = [run for run in firsts if run.model == "lenet-300-100" and run.method is None]
    assert len(tickets) == 5
    assert {run.data for run in tickets} == {"fashion-mnist"}


class _Lab:
    """A lab with one record."""

    data_root = None

    def __init__(self, record: Record) -> None:
        self._record = record

    def record(self, run: str) -> Record:
        return self._record
