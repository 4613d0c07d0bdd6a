"""The command line as a user meets it: exit codes, one clear sentence, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wirings.cli import main
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

TINY = ["--data", "gaussian-blobs", "--model", "mlp", "--set", "model_settings.hidden=[16]", "--epochs", "1"]


def wirings(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


def test_a_grid_is_trained_listed_and_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grid = [
        "run",
        *TINY,
        "--method",
        "dense,static",
        "--sparsity",
        "0.5",
        "--seed",
        "0-1",
        "--runs",
        tmp_path,
        "--jobs",
        "1",
    ]
    code, out, _ = wirings(capsys, *grid)
    assert code == 0
    assert out.count("test accuracy") == 4
    assert "50 % sparse" in out
    folders = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    stamps = {f: (tmp_path / f / "run.json").stat().st_mtime_ns for f in folders}

    code, again, _ = wirings(capsys, *grid)  # a finished run is never made again
    assert (code, again) == (0, out)
    assert {f: (tmp_path / f / "run.json").stat().st_mtime_ns for f in folders} == stamps

    code, out, _ = wirings(capsys, "list", tmp_path, "--json")
    rows = [json.loads(text) for text in out.splitlines()]
    assert [row["status"] for row in rows] == ["finished"] * 4
    code, out, _ = wirings(capsys, "compare", tmp_path, "--md")
    assert code == 0
    assert [line.split("|")[3].strip() for line in out.splitlines()[2:]] == ["dense", "static"]
    code, out, _ = wirings(capsys, "compare", tmp_path, "--csv")
    assert out.splitlines()[0].startswith("model,data,method,sparsity,n,accuracy")
    assert wirings(capsys, "compare", tmp_path, "--latex")[1].startswith(r"\begin{tabular}{lll")


def test_makers_are_methods_and_runs_go_truly_sparse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grid = ["run", *TINY, "--method", "synflow,set", "--sparsity", "0.5", "--execution", "masked,sparse"]
    code, out, _ = wirings(capsys, *grid, "--runs", tmp_path, "--jobs", "1")
    assert code == 0
    assert out.count("mlp-gaussian-blobs-synflow-") == 4  # two runs, each with its folder
    code, out, _ = wirings(capsys, "compare", tmp_path, "--md")
    told = [line.split("|")[3].strip() for line in out.splitlines()[2:]]
    assert sorted(told) == ["set", "set (truly sparse)", "synflow", "synflow (truly sparse)"]


def test_precision_and_layout_are_flags_and_told_in_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grid = ["run", *TINY, "--method", "set", "--sparsity", "0.5", "--autocast", "none,bfloat16"]
    assert wirings(capsys, *grid, "--runs", tmp_path, "--jobs", "1")[0] == 0
    assert wirings(capsys, *grid, "--channels-last", "--runs", tmp_path, "--jobs", "1")[0] == 0
    _, out, _ = wirings(capsys, "compare", tmp_path, "--md")
    told = [line.split("|")[3].strip() for line in out.splitlines()[2:]]
    assert sorted(told) == ["set", "set (bfloat16)", "set (bfloat16, channels last)", "set (channels last)"]
    _, out, _ = wirings(capsys, *grid[:-2], "--autocast", "float16", "--channels-last", "--print-config")
    assert 'autocast = "float16"' in out
    assert "channels_last = true" in out


def test_a_makers_settings_go_to_toml(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--method", "snip", "--sparsity", "98%", "--set", "method.begin.batches=2", "--print-config"]
    _, out, _ = wirings(capsys, "run", *TINY, *words)
    assert out.startswith("# mlp-gaussian-blobs-snip-")
    assert 'label = "snip"' in out
    assert "[method.begin]" in out
    assert "batches = 2" in out


def test_settings_are_printed_as_toml_that_makes_the_same_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*TINY, "--method", "rigl", "--density", "0.2", "--lr", "0.05", "--warmup", "10", "--print-config"]
    _, out, _ = wirings(capsys, "run", *words)
    (tmp_path / "preset.toml").write_text(out)
    _, again, _ = wirings(capsys, "run", "--preset", tmp_path / "preset.toml", "--print-config")
    assert again == out
    assert out.startswith("# mlp-gaussian-blobs-rigl-")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--method", "rigl", "--density", "0"], "`--density` must be in (0, 1]. Got 0."),
        (["run", "--method", "rigl", "--density", "1.5"], "`--density` must be in (0, 1]. Got 1.5."),
        (["run", "--method", "rigl", "--density", "nan"], "`--density` must be in (0, 1]. Got nan."),
        (["run", "--method", "rigel", "--density", "0.1"], "Did you mean 'rigl'?"),
        (["run", "--model", "lenet-301"], "Did you mean 'lenet-300-100'?"),
        (["run", "--data", "mnits"], "Did you mean 'mnist'?"),
        (["run", "--lr", "-1"], "`learning_rate` of `Run` must be in"),
        (["run", "--lr", "nan"], "learning_rate"),
        (["run", "--epochs", "0"], "`epochs` of `Run` must be an integer of at least 1. Got 0."),
        (["run", "--set", "optimizer.momentun=0.9"], "Did you mean 'momentum'?"),
        (["run", "--optimizer", "sdg"], "Did you mean 'sgd'?"),
        (["run", "--autocast", "bf16"], "'none', 'bfloat16' or 'float16'"),
        (["run", "--autocast", "bfloat16", "--set", "dtype=float64"], "must be 'none' where `dtype` is 'float64'."),
        (["run", "--budget", "erkk", "--method", "set", "--density", "0.1"], "Did you mean 'erk'?"),
        (["run", "--model", "nowhere:Net"], "nowhere"),
        (["run", "--wiring", "no/such/file"], "There is no wiring at no/such/file."),
        (["run", "--modle", "mlp"], "Did you mean --model?"),
        (["rnu"], 'Did you mean "run"?'),
        (["data", "mnits"], "Did you mean 'mnist'?"),
        (["compare", "no-such-folder"], "There is no finished run in no-such-folder"),
        (["show", "no-such-run"], "There is no run"),
        (["study", "quickstrat"], "Did you mean 'quickstart'?"),
    ],
)
def test_bad_words_get_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = wirings(capsys, *words)
    assert code == 2, (out, err)
    assert sentence in err
    assert "Traceback" not in err
    assert err.startswith("wirings: ")


def test_a_broken_preset_is_told_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("epochs = = 3")
    code, _, err = wirings(capsys, "run", "--preset", broken)
    assert code == 2
    assert "is not TOML" in err
    assert "line 1" in err
    code, _, err = wirings(capsys, "run", "--preset", tmp_path / "absent.toml")
    assert code == 2
    assert "cannot be read" in err


def test_a_wiring_of_another_network_is_refused_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = Wiring({"conv9.weight": Topology.at((2, 3), [0])}).save(tmp_path / "other.safetensors")
    code, _, err = wirings(capsys, "run", *TINY, "--wiring", other, "--runs", tmp_path / "runs")
    assert code == 2
    assert "conv9.weight" in err


def test_missing_truncated_and_wrong_data_files_are_told_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRINGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WIRINGS_DATA", raising=False)
    words = ["data", "mnist", "--root", str(tmp_path / "root")]
    assert "not here" in wirings(capsys, *words)[1]
    folder = tmp_path / "root" / "mnist"
    folder.mkdir(parents=True)
    names = [f"{s}-{k}-ubyte.gz" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]
    for name, size in zip(names, (47_040_016, 60_008, 7_840_016, 10_008), strict=True):
        (folder / name).write_bytes(gzip.compress(bytes(size), compresslevel=1))
    code, _, err = wirings(capsys, *words)
    assert code == 2
    assert "and it has sha256:" in err
    for name in names:
        (folder / name).write_bytes(gzip.compress(b"cut short")[:-5])
    code, _, err = wirings(capsys, *words)
    assert code == 2
    assert "is damaged" in err


def test_a_run_folder_in_use_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*TINY, "--runs", str(tmp_path), "--jobs", "1"]
    assert wirings(capsys, "run", *words)[0] == 0
    folder = next(p for p in tmp_path.iterdir() if p.is_dir())
    record = folder / "run.json"
    unfinished = json.loads(record.read_text()) | {"status": "running"}
    record.write_text(json.dumps(unfinished))
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX)"
    say = "print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", f"{hold}; {say}", str(folder / "lock")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        code, out, err = wirings(capsys, "run", *words)
        assert code in (1, 2)
        assert "in use" in out + err
        assert json.loads(record.read_text())["status"] == "running"
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def test_help_needs_no_torch() -> None:
    code = "import sys; from wirings.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "A published experiment" in done.stdout


def test_torch_is_as_it_was_after_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert wirings(capsys, "run", *TINY, "--runs", tmp_path, "--jobs", "1")[0] == 0
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
