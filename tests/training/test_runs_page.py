"""The page on runs says what is so, and so do the docstrings that can be checked without a training."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from wirings import procedures, training
from wirings.procedures.sensitivity import Sensitivity
from wirings.training import folder, rates

PAGE = Path(__file__).parents[2] / "docs" / "runs.md"


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(block, names)
    assert "lottery" in capsys.readouterr().out


@pytest.mark.parametrize(
    "thing",
    [folder.stem, rates.Rate, training.equal_parameters, procedures.Pruning, Sensitivity],
    ids=lambda thing: thing.__name__,
)
def test_checkable_examples_are_true(thing) -> None:
    names = {**vars(training), **vars(procedures), **vars(folder), **vars(rates)}
    runner = doctest.DocTestRunner()
    found = doctest.DocTestFinder().find(thing, thing.__name__, globs=names)
    assert sum(len(test.examples) for test in found) > 0
    for test in found:
        assert runner.run(test).failed == 0


def test_every_file_of_a_run_folder_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in vars(folder.RunFolder(Path("x"))).values():
        if name != Path("x"):
            assert name.name in text, name.name
