"""`wirings study`, `report` and `show`: what they print, what they write, how they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wirings.cli import main
from wirings.report.tables import short_ids
from wirings.studies.study import Findings


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")


def test_study_ends_with_the_table_and_the_pages_path(
    quick: Findings, quick_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "quickstart", "--preset", "smoke", "--runs", str(quick_root / "runs"), "--out", str(tmp_path)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    page = tmp_path / "quickstart-smoke" / "index.html"
    assert lines[-1] == f"36 finished runs; the page: {page}"
    assert page.is_file()
    rows = [line.split() for line in lines if line.startswith(("0 %", "90 %", "98 %"))]
    assert len(rows) == 15
    assert sum("lottery ticket" in line for line in lines) == 2
    assert all("2" in row for row in rows)


def test_study_without_a_name_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    assert capsys.readouterr().out.startswith("quickstart")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["study", "quikstart"], "`quikstart` must be a known study. Did you mean 'quickstart'?"),
        (["study", "quickstart", "--preset", "paper"], "`--preset` of `quickstart` must be one of its presets."),
        (["study", "quickstart", "--seeds", "0"], "`--seeds` must be at least 1. Got 0."),
        (["study", "quickstart", "--jobs", "-1"], "`--jobs` must be at least 1. Got -1."),
        (["report", "quickstart", "--runs", "nowhere"], "There is no finished run for this page in nowhere; "),
        (["report", "--runs", "nowhere"], "`wirings run --runs nowhere` makes some."),
        (["show", "something", "--runs", "nowhere"], "There is no run in nowhere;"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_report_writes_what_is_there_and_names_what_is_not(
    quick: Findings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for record in quick.of("dense", "static"):
        shutil.copytree(record.path, runs / record.path.name)
    words = ["report", "quickstart", "--preset", "smoke", "--runs", str(runs), "--out", str(tmp_path / "results")]
    assert main(words) == 0
    # a lottery's next round follows from the dense run, so it is missing too
    assert "6 finished runs, 22 not finished" in capsys.readouterr().out
    text = (tmp_path / "results" / "quickstart-smoke" / "index.html").read_text(encoding="utf-8")
    assert "22 of 28 runs are not finished" in text


def test_report_of_a_folder_tells_every_setting(
    quick: Findings, quick_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--runs", str(quick_root / "runs"), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"36 finished runs; the page: {tmp_path / 'runs' / 'index.html'}\n"
    lines = (tmp_path / "runs" / "tables" / "settings.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 18


def test_show_finds_a_run_by_folder_id_or_either_end_of_its_id(
    quick: Findings, quick_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = quick.of("rigl", density=0.02)[0]
    runs = str(quick_root / "runs")
    said = []
    for name in (str(record.path), record.id, short_ids(record.id), record.id[:-1]):
        if name == record.id[:-1]:
            assert main(["show", name, "--runs", runs]) == 2
            assert "must name one run. 2 in" in " ".join(capsys.readouterr().err.split())
            continue
        assert main(["show", name, "--runs", runs]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert 'kind = "rigl"' in said[0]
    assert "1,004 of 50,200 (98 % sparse)" in said[0]
    assert main(["show", record.id, "--runs", runs, "--html", "--out", str(tmp_path / "run.html")]) == 0
    assert "<figure" in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_show_of_an_unknown_run_names_the_nearest(
    quick: Findings, quick_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = quick.of("rigl", density=0.02)[0]
    assert main(["show", "x" + record.id, "--runs", str(quick_root / "runs")]) == 2
    assert f"Did you mean '{record.id}'?" in " ".join(capsys.readouterr().err.split())
