"""Studies: what they ask for is made once, found again, and grouped into cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from wirings.core.errors import SettingsError
from wirings.core.settings import to_plain
from wirings.makers.random import ErdosRenyi
from wirings.methods import Static
from wirings.procedures import Retraining
from wirings.studies import registry
from wirings.studies.cells import cells_of, plus_minus
from wirings.studies.execute import collect, command, count, execute
from wirings.studies.figures import Figure, Panel, Series
from wirings.studies.registry import studies, study_of
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.training.records import Record
from wirings.training.settings import Run


def tiny(seed: int, **settings: object) -> Run:
    return Run(model="mlp", data="gaussian-blobs", steps=4, batch_size=32, seed=seed, **settings)  # type: ignore[arg-type]


def tiny_runs(preset: str, seeds: Sequence[int]) -> list[Run]:
    sparse = Static(begin=ErdosRenyi(0.5))
    return [*(tiny(seed) for seed in seeds), *(tiny(seed, method=sparse) for seed in seeds)]


def nothing(found: Findings) -> list[Table]:
    return []


TINY = Study(
    name="tiny",
    title="Tiny",
    question="Does it work?",
    presets={"smoke": Preset(seeds=2, takes="")},
    runs=tiny_runs,
    tables=nothing,
    figures=lambda found: [],
)


class Again:
    """A procedure: the same run once more, longer."""

    rounds = 1

    def __init__(self, first: Run) -> None:
        self.first = first

    def then(self, record: Record) -> list[Run]:
        return [dataclasses.replace(self.first, steps=6)] if record.id == self.first.id else []


@dataclasses.dataclass(frozen=True)
class Grown:
    """A study made with one seed, then with two, then asked for again; and the events of each time."""

    found: Findings
    events: list[list[str]]
    stamps: list[dict[Path, int]]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    root = tmp_path_factory.mktemp("tiny")
    events: list[list[str]] = []
    stamps = []
    for seeds in (1, 2, None):
        events.append([])
        found = execute(TINY, None, root, seeds=seeds, jobs=2, listener=lambda e: events[-1].append(str(e["event"])))
        stamps.append({path: path.stat().st_mtime_ns for path in root.rglob("run.json")})
    return Grown(found, events, stamps)


def test_a_study_makes_each_run_once_and_finds_it_again(grown: Grown) -> None:
    assert [(r.method, r.seed) for r in grown.found.records] == [
        ("dense", 0),
        ("dense", 1),
        ("static", 0),
        ("static", 1),
    ]
    assert not grown.found.missing
    assert grown.found.command == "wirings study tiny"
    assert grown.events[2] == ["found"] * 4
    assert grown.stamps[2] == grown.stamps[1]


def test_a_study_with_more_seeds_keeps_the_runs_that_are_there(grown: Grown) -> None:
    assert grown.events[0].count("finished") == 2
    assert (grown.events[1].count("found"), grown.events[1].count("finished")) == (2, 2)
    assert all(grown.stamps[1][path] == stamp for path, stamp in grown.stamps[0].items())


def test_what_is_not_made_is_named_with_its_reason(tmp_path: Path) -> None:
    found = collect(TINY, "smoke", tmp_path)
    assert found.records == ()
    assert set(found.missing.values()) == {"it is not made yet"}
    assert len(found.missing) == 4


def test_a_diverged_run_is_missing_and_the_others_go_on(tmp_path: Path) -> None:
    wild = dataclasses.replace(
        TINY, runs=lambda preset, seeds: [tiny(0), dataclasses.replace(tiny(0), learning_rate=1e6, clip_norm=None)]
    )
    found = execute(wild, None, tmp_path)
    assert len(found.records) == 1
    assert "The loss of step" in next(iter(found.missing.values()))


def test_procedures_are_followed_when_made_and_when_found(tmp_path: Path) -> None:
    chained = dataclasses.replace(TINY, runs=lambda preset, seeds: [Again(tiny(0)), tiny(1)])
    assert count(chained) == 3
    made = execute(chained, None, tmp_path)
    assert [r.run.steps for r in made.records] == [4, 6, 4]
    assert collect(chained, None, tmp_path).records == made.records


def test_the_command_says_only_what_differs_from_the_defaults() -> None:
    quick = study_of("quickstart")
    assert command(quick, "laptop") == "wirings study quickstart"
    assert command(quick, "smoke", 5) == "wirings study quickstart --preset smoke --seeds 5"


def test_unknown_studies_and_presets_are_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"`quikstart` must be a known study\. Did you mean 'quickstart'\?"):
        study_of("quikstart")
    with pytest.raises(SettingsError, match=r"`--preset` of `quickstart` must be one of its presets\. Got 'labtop'"):
        study_of("quickstart").preset("labtop")


def test_a_study_must_have_a_plain_name_and_known_presets() -> None:
    with pytest.raises(ValueError, match=r"`name` of `Study` must be lower-case letters"):
        dataclasses.replace(TINY, name="My Study")
    with pytest.raises(ValueError, match=r"`presets` of `Study` must be some of smoke, laptop"):
        dataclasses.replace(TINY, presets={"quick": Preset(seeds=1, takes="")})


def test_plug_ins_join_and_a_broken_one_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def __init__(self, name: str, found: object) -> None:
            self.name, self.value, self.found = name, f"somewhere:{name}", found

        def load(self) -> object:
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

    points = [Point("tiny", TINY), Point("broken", ImportError("no such module"))]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "wirings.studies" else [])
    studies.cache_clear()
    try:
        with pytest.warns(UserWarning, match="The study `broken` .* cannot be loaded: no such module"):
            known = studies()
        assert known["tiny"] is TINY
        assert next(iter(known)) == "quickstart"
    finally:
        studies.cache_clear()


def test_every_built_in_study_asks_for_runs_that_survive_toml() -> None:
    for study in studies().values():
        for name in study.presets:
            work = study.runs(name, range(1))
            assert work
            for item in work:
                run = item if isinstance(item, Run) else item.first
                assert Run.from_toml(run.to_toml()) == run


def test_the_quickstart_compares_at_equal_steps_and_budgets() -> None:
    work = study_of("quickstart").runs("laptop", range(3))
    runs = [item if isinstance(item, Run) else item.first for item in work]
    own = ("method", "label", "seed")
    shared = {tuple(sorted((k, str(v)) for k, v in to_plain(run).items() if k not in own)) for run in runs}
    assert len(shared) == 1
    assert sum(run.method is None for run in runs) == 3
    assert len({run.id for run in runs}) == len(runs) == 3 + 2 * 6 * 3


def test_cells_gather_seeds_and_order_from_dense_to_sparse(grown: Grown) -> None:
    found = grown.found
    dense, sparse = cells_of(found.records)
    assert (dense.method, dense.n, dense.sparsity) == ("dense", 2, 0.0)
    assert (sparse.method, sparse.seeds, sparse.sparsity) == ("static", (0, 1), 50.0)
    assert found.cell("static", 0.5) == sparse
    assert found.cell("static", 0.1) is None


def test_plus_minus_of_one_value_claims_no_spread() -> None:
    assert plus_minus([97.0]) == "97.00"
    assert plus_minus([97.0, 98.0]) == "97.50 ± 0.71"


def test_tables_and_figures_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"A row of the table `t` must have 2 values\. Got 1"):
        Table(name="t", title="", columns=(Column(title="a"), Column(title="b")), rows=(Row(values=(1,)),))
    with pytest.raises(ValueError, match=r"`y` of the series `s` must have 2 values\. Got 1"):
        Series(label="s", x=(1.0, 2.0), y=(1.0,))
    with pytest.raises(ValueError, match=r"`alt` of a `Figure` must say something"):
        Figure(name="f", title="t", caption="c", alt=" ", panels=(Panel(),))


def test_one_value_has_no_interval() -> None:
    assert Spread((1.0,)).interval is None
    span = Spread((1.0, 2.0, 3.0)).interval
    assert span is not None
    assert span.low == pytest.approx(2 - 2.484, abs=1e-3)


def test_a_wiring_trained_again_is_one_cell_over_its_seeds_though_every_seed_has_its_own_file(tmp_path: Path) -> None:
    def again(preset: str, seeds: Sequence[int]) -> list[Work]:
        return [Retraining(after=tiny(seed, method=Static(begin=ErdosRenyi(0.3)))) for seed in seeds]

    found = execute(dataclasses.replace(TINY, runs=again), None, tmp_path, jobs=2)
    assert [(cell.method, cell.n, cell.seeds) for cell in found.cells] == [
        ("static", 2, (0, 1)),
        ("static-structure", 2, (1000, 1001)),
    ]


def test_two_wiring_files_with_the_same_seed_are_two_cells(tmp_path: Path) -> None:
    wirings = [ErdosRenyi(0.3)({"fc1.weight": (4, 4)}, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    records = []
    for i, wiring in enumerate(wirings):
        wiring.save(tmp_path / f"{i}.safetensors")
        info = {
            "id": f"a{i}",
            "group": f"a{i}",
            "method": "static",
            "status": "finished",
            "seeds": {"seed": 0},
            "settings": {"model": "mlp", "method": to_plain(Static(begin=wiring))},
            "results": {"density": wiring.density},
            "data": {"name": "none"},
        }
        records.append(Record(tmp_path / f"a{i}", info=info))
    assert len(cells_of(records)) == 2
