"""The page on writing a study tells the truth: its example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "write-a-study.md"


def test_the_example_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(compile(block, str(PAGE), "exec"), space)
    assert capsys.readouterr().out == "results/growing-smoke/index.html\n"
    page = (tmp_path / "results/growing-smoke/index.html").read_text(encoding="utf-8")
    assert "Does growing by gradient pay?" in page
    assert "wirings study growing --preset smoke" in page
