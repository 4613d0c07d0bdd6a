"""The benchmark's machinery, on something tiny; no time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from wirings.bench import attach
from wirings.bench.__main__ import main
from wirings.bench.protocol import interleaved, watched
from wirings.bench.result import markdown

TINY = {"lenet-300-100": attach.Case((1, 28, 28), 2, 1, {"static": 0.2, "rigl": 0.25, "dnw": 1.2}, batch=2)}


def test_contenders_take_turns_and_the_first_one_rotates() -> None:
    order: list[str] = []
    found = interleaved({name: lambda name=name: order.append(name) for name in "abc"}, rounds=3, warm_up=1)
    assert "".join(order[3:]) == "abcbcacab"
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3, "c": 3}
    with pytest.raises(ValueError, match=r"`rounds` of `interleaved` must be at least 1. Got 0"):
        interleaved({"a": lambda: None}, rounds=0)


def test_a_measurement_says_what_it_ran_on_and_gives_the_threads_back() -> None:
    before = torch.get_num_threads()
    result: dict[str, object] = {}
    with watched(result, threads=1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert result["machine"]["clock"] == "processor time of the thread"
    assert result["machine"]["canary_before_ms"]["torch"] > 0
    with pytest.raises(ArithmeticError), watched({}, threads=1):
        raise ArithmeticError
    assert torch.get_num_threads() == before


def test_every_method_is_measured_against_the_dense_loop() -> None:
    result = attach.run(rounds=1, cases=TINY)
    methods = result["cases"]["lenet-300-100"]["methods"]
    assert list(methods) == ["dense", "static", "rigl", "dnw"]
    for name, row in methods.items():
        assert row["step_ms"] > 0
        if name != "dense":
            assert row["overhead"] == pytest.approx(row["step_ms"] / methods["dense"]["step_ms"] - 1, abs=1e-3)
    assert json.loads(json.dumps(result)) == result
    text = attach.lines(result)
    assert text[0].split() == ["network", "method", "ms", "a", "step", "overhead", "goal"]
    assert len(text) == 6


def test_the_command_writes_a_table_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach.run, "__kwdefaults__", {**attach.run.__kwdefaults__, "cases": TINY})
    assert main(["attach", "--rounds", "1", "--json", str(tmp_path / "found.json")]) == 0
    assert "lenet-300-100   dense" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["bench"] == "attach"


STORED = sorted((Path(__file__).parents[2] / "results" / "bench").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_every_result_in_the_repository_becomes_a_table_that_names_its_command(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    text = markdown(result)
    assert f"`{result['command']}`" in text
    assert len(text.splitlines()) > 5
