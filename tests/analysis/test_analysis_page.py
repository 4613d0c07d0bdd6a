"""The page on looking into a wiring runs as it is written, prints what it says, and forgets no function."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "analysis.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

MODULES = (
    "degrees", "overlap", "paths", "collapse", "cost", "profiles", "spectrum", "compression", "conservation",
    "similarity", "statistics", "claims",
)  # fmt: skip
SHORTER_BY_HAND = {"net_change", "rigl_step_flops"}
"""What the page leaves to others: ``hamming(history[0], history[-1])``, and `training_flops`."""


def test_the_examples_of_the_page_print_what_they_say(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        said = re.findall(r"^ *print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, names)
        lines = printed.getvalue().splitlines()
        assert len(lines) == len(said)
        for line, told in zip(lines, said, strict=True):
            if told.startswith("about "):  # from a training: the last digits are the machine's
                told = told.removeprefix("about ")
                assert NUMBER.sub("0", line) == NUMBER.sub("0", told)
                near = [pytest.approx(float(n), rel=0.3, abs=0.1) for n in NUMBER.findall(told)]
                assert [float(n) for n in NUMBER.findall(line)] == near, (line, told)
            else:
                assert line == told


def test_the_lines_of_the_examples_fit_a_narrow_page() -> None:
    assert max(len(line) for block in BLOCKS for line in block.splitlines()) <= 88


@pytest.mark.parametrize("name", MODULES)
def test_every_function_of_the_analysis_is_on_the_page(name: str) -> None:
    module = importlib.import_module(f"wirings.analysis.{name}")
    functions = {
        n for n, v in inspect.getmembers(module, inspect.isfunction)
        if not n.startswith("_") and (v.__module__ == module.__name__ or n in getattr(module, "__all__", ()))
    }  # fmt: skip
    missing = {n for n in functions - SHORTER_BY_HAND if not re.search(rf"\b{n}\b", TEXT)}
    assert missing == set()


def test_every_question_of_the_table_leads_to_its_section() -> None:
    headings = re.findall(r"^## (.*)$", TEXT, flags=re.MULTILINE)
    asked = re.findall(r"^\| \[(.*?)\]\(#(.*?)\)", TEXT, flags=re.MULTILINE)
    assert [question for question, _ in asked] == headings
    for question, anchor in asked:
        assert anchor == re.sub(r"[^\w -]", "", question.lower()).replace(" ", "-")
