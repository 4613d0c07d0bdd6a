"""A page over a thousand finished runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from wirings.cli import main
from wirings.studies.study import Findings


@pytest.mark.long
def test_a_page_over_a_thousand_runs_takes_seconds(quick: Findings, tmp_path: Path) -> None:
    made = 0
    for seed in range(60):
        for record in quick.records:
            if record.seed == 0 and made < 1000:
                info = json.loads(record.folder.info_file.read_text(encoding="utf-8"))
                name = info["id"].replace("-s0", f"-s{seed}")
                info["id"], info["seeds"]["seed"], info["settings"]["seed"] = name, seed, seed
                info["results"]["test_accuracy_last"] *= 1 - seed / 1000
                (tmp_path / "runs" / name).mkdir(parents=True)
                (tmp_path / "runs" / name / "run.json").write_text(json.dumps(info), encoding="utf-8")
                made += 1
    begun = time.monotonic()
    assert main(["report", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]) == 0
    assert made == 1000
    assert time.monotonic() - begun < 20
    assert (tmp_path / "runs" / "index.html").stat().st_size < 2_000_000
