"""``wirings bench``, ``wirings forecast`` and the break-even table of ``wirings doctor``, as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from wirings.analysis.forecast import PURPOSES
from wirings.analysis.traffic import Kind
from wirings.bench import mlp
from wirings.cli import main
from wirings.kernels.calibration import Calibration, Key

LENGTHS = {
    "sparse linear": 6,
    "sparse chain": 6,
    "sparse linear few": 4,
    "sparse conv": 7,
    "sparse conv winograd": 6,
    "sparse conv few": 5,
    "dense linear": 6,
    "dense linear few": 5,
    "dense conv": 6,
    "dense conv few": 6,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def calibrate() -> None:
    """A calibration of this machine on which sparse multiply-adds cost three times as much as dense ones."""
    costs: dict[str, tuple[float, ...]] = {"update": (0.0, 0.0, 0.0)}
    for family, length in LENGTHS.items():
        each = 3e-9 if family.startswith("sparse") else 1e-9
        for product in ("infer", "train", "first"):
            costs[f"{family} {product}"] = (0.0, each, *[0.0] * (length - 2))
    for kind in (*(f"{kind} {purpose}" for kind in get_args(Kind) for purpose in PURPOSES), "loss train"):
        costs[kind] = (0.0, 0.0, 0.0)
    Calibration(key=Key.here(), date="2026-11-21", costs=costs).save()


def wirings(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


def test_a_benchmark_prints_its_table_saves_it_draws_it_and_fills_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "QUICK", (mlp.Case("tiny", (6, 8, 4), 4, (0.5, 0.2), ("random",)),))
    saved, drawn, page = tmp_path / "mlp.json", tmp_path / "mlp.svg", tmp_path / "performance.md"
    words = ["bench", "mlp", "--quick", "--rounds", "1", "--against", "dense,mkl"]
    code, out, _ = wirings(capsys, *words, "--json", saved, "--plot", drawn)
    assert code == 0
    assert "tiny, batch 4" in out
    assert "wirings bench mlp --against dense,mkl --rounds 1 --quick" in out
    assert "mkl: not part of this benchmark." in out
    assert drawn.read_bytes().startswith(b"<?xml")
    assert json.loads(saved.read_text())["bench"] == "mlp"

    code, out, _ = wirings(capsys, "bench", "report", saved)
    assert code == 0
    assert out.startswith("| case | contender | sparsity |")
    again = tmp_path / "again.svg"
    assert wirings(capsys, "bench", "report", saved, "--plot", again)[0] == 0
    assert again.stat().st_size > 1000
    code, _, err = wirings(capsys, "bench", "report", saved, saved, "--plot", again)
    assert (code, err) == (2, "wirings: `--plot` draws one result. Got 2 files.")
    page.write_text("# Speed\n<!-- bench: mlp -->\n<!-- end -->\n")
    assert wirings(capsys, "bench", "report", saved, "--into", page)[0] == 0
    text = page.read_text()
    assert text.startswith("# Speed\n<!-- bench: mlp -->\n| case |")
    assert "`wirings bench mlp --against dense,mkl --rounds 1 --quick`" in text
    assert wirings(capsys, "bench", "report", saved, "--into", page)[0] == 0
    assert page.read_text() == text

    other = tmp_path / "other.md"
    other.write_text("nothing")
    code, _, err = wirings(capsys, "bench", "report", saved, "--into", other)
    assert code == 2
    assert "has no place for `mlp`" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bench", "mpl"], "`wirings bench` knows no 'mpl'. Did you mean 'mlp'?"),
        (["bench", "mlp", "--threads", "0"], "`--threads` must be at least 1. Got 0."),
        (["bench", "mlp", "--rounds", "0"], "`--rounds` must be at least 1. Got 0."),
        (["bench", "mlp", "--against", "spraseprop"], "Did you mean 'sparseprop'?"),
        (["bench", "mlp", "--plot", "x.pdf"], "`--plot` must end in .svg or .png. Got x.pdf."),
        (["bench", "mlp", "x.json"], "`wirings bench mlp` takes no files. Got x.json."),
        (["bench", "report"], "`wirings bench report` needs results"),
        (["bench", "report", "absent.json"], "absent.json cannot be read"),
        (["forecast", "resnet-19"], "Did you mean"),
        (["forecast", "nowhere:Net"], "nowhere"),
        (["forecast", "lenet-300-100", "--sparsity", "1"], "`--sparsity` must be in [0, 1). Got 1."),
        (["forecast", "lenet-300-100", "--density", "0.1,0.2"], "`wirings forecast` takes one density"),
        (["forecast", "lenet-300-100", "--batch", "0"], "`--batch` must be at least 1. Got 0."),
        (["forecast", "lenet-300-100", "--shape", "1,x"], "`--shape` must be a list"),
    ],
)
def test_bad_words_get_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calibrate()
    code, out, err = wirings(capsys, *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("wirings: ")


def test_a_file_that_is_no_result_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    code, _, err = wirings(capsys, "bench", "report", tmp_path / "other.json")
    assert code == 2
    assert "it is no result of `wirings bench`" in err


def test_a_forecast_tells_each_layer_and_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    calibrate()
    words = ["forecast", "lenet-300-100", "--shape", "1,28,28", "--sparsity", "95%", "--batch", "128"]
    code, out, err = wirings(capsys, *words)
    assert code == 0, err
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["fc1.weight"][1] == "300x784"
    assert rows["fc1.weight"][-1] == "sparse"
    assert rows["network"][1:3] == ["95", "%"]
    assert "a training step at batch 128 in sparse storage: 6.7 times faster than dense" in out

    code, out, _ = wirings(capsys, *words, "--json")
    told = json.loads(out)
    assert told["network"]["dense train"]["ms"] == pytest.approx(266_200 * 128 * 1e-6)
    assert told["network"]["sparse infer"]["ms"] == pytest.approx(13_310 * 128 * 3e-6)
    assert told["network"]["sparse train"]["measured_ms"] is None

    code, out, _ = wirings(capsys, *words[:-2], "--batch", "4", "--measure", "--no-train")
    assert code == 0
    assert "measured: dense" in out
    assert "a forward pass at batch 4" in out


def test_input_that_does_not_fit_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    calibrate()
    code, _, err = wirings(capsys, "forecast", "mypkg_absent:Net", "--shape", "3,8,8")
    assert code == 2
    assert "mypkg_absent" in err
    code, _, err = wirings(capsys, "forecast", "torch.nn:Identity", "--shape", "3,8,8")
    assert code == 2
    assert "`torch.nn:Identity` does not run on input of shape (1, 3, 8, 8)" in err


def test_doctor_prints_where_sparse_begins_to_be_faster(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = wirings(capsys, "doctor")
    assert code == 0
    assert "not measured: wirings doctor --calibrate" in out
    calibrate()
    code, out, _ = wirings(capsys, "doctor")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("linear 1024 x 1024") and " 128 " in line)
    assert line.split()[-4:] == ["66.7", "%", "66.7", "%"]
