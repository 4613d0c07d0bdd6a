"""A page of made-up runs: everything a page can hold, without a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from wirings.analysis.claims import Claim, Verdict, judge, judge_all
from wirings.report.page import Said, page
from wirings.studies.figures import Axis, Figure, Panel, Picture, Series
from wirings.studies.study import Findings, Preset, Study
from wirings.studies.tables import Column, Row, Span, Spread, Table
from wirings.training.records import Record

METHODS = ("rigl", "rigl-structure", "snip")
DENSITIES = (0.1, 0.05, 0.02)
SEEDS = range(6)


def run_id(method: str, density: float, seed: int) -> str:
    return f"lenet-{method}-{density:g}-s{seed}"


def records() -> tuple[Record, ...]:
    """Finished runs, as far as a page reads them."""
    made = []
    for method in METHODS:
        for density in DENSITIES:
            for seed in SEEDS:
                info: dict[str, Any] = {
                    "settings": {"model": "lenet-300-100"},
                    "data": {"name": "mnist", "train": 55000, "held_out": 5000, "test": 10000, "sha256": "0" * 64},
                    "versions": {"wirings": "0", "torch": "0"},
                    "host": {"processor": "p", "cores": 2, "instructions": "avx2", "system": "s"},
                    "threads": 1, "device": "cpu", "started": "2026-01-01T00:00:00", "peak_memory_bytes": 1 << 20,
                }  # fmt: skip
                results = {"test_accuracy_last": 0.9 + seed / 1000, "test_accuracy_best": 0.91, "training_flops": 1e9}
                made.append(
                    SimpleNamespace(
                        id=run_id(method, density, seed),
                        method=method,
                        density=density,
                        seed=seed,
                        seconds=1.0,
                        results=results,
                        energy={"joules": 5.0, "source": "measured"},
                        info=info,
                        path=Path("runs") / run_id(method, density, seed),
                    )
                )
    return cast(tuple[Record, ...], tuple(made))


def verdicts() -> tuple[Verdict, ...]:
    """One of each mood."""
    claim = Claim(id="S1", sentence="It is so at 10^2.5.", statistic="a - b", threshold=0.0, direction="above", n=5,
                  published=1.125, effect=0.5)  # fmt: skip
    ids = tuple(run_id("rigl", 0.02, seed) for seed in SEEDS)
    yes, no, open_ = [1.0, 1.1, 1.2, 0.9, 1.0], [-1.0, -1.1, -1.2, -0.9, -1.0], [-3.0, 3.0, 1.0, -1.0, 2.0]
    made = [
        judge(claim, values, scale="reduced", net="lenet", data="mnist", run_ids=ids) for values in (yes, no, open_)
    ]
    return (*judge_all(made), judge(claim, None, scale="reduced", run_ids=("x-s9",)))


def table() -> Table:
    columns = (Column(title="Sparsity"), Column(title="Method"), Column(title="accuracy", unit="%", help="of the test"),
               Column(title="interval", unit="%"), Column(title="not run", unit="%"), Column(title="told"))  # fmt: skip
    rows = []
    for density in DENSITIES:
        for method in METHODS:
            ids = tuple(run_id(method, density, seed) for seed in SEEDS)
            spread = Spread((90.0 + 100 * density, 91.0))
            words = "a long sentence in a cell that has to be set in several lines"
            values = (f"{100 * (1 - density):g} %", method, spread, Span(1.0, 2.0), None, words)
            rows.append(Row(values=values, runs=ids if density < 0.1 else ids[:3], method=method))
    return Table(name="t", title="Accuracy", columns=columns, rows=tuple(rows), caption="Mean ± sd at 10^1 and -0.5.")


def figures() -> tuple[Figure, ...]:
    lines = tuple(
        Series(
            label=method, method=method, x=DENSITIES, y=(90.0, 89.0 - i, 80.0 - i), low=(89.0, 88.0 - i, 70.0 - i),
            high=(91.0, 90.0 - i, 85.0 - i),
            runs=tuple(tuple(run_id(method, density, seed) for seed in SEEDS) for density in DENSITIES),
        )
        for i, method in enumerate(METHODS)
    )  # fmt: skip
    axes: dict[str, Any] = {"x": Axis(label="sparsity", scale="sparsity"), "y": Axis(label="accuracy (%)")}
    picture = Picture(values=np.eye(4), unit="share", method="rigl")
    said = {"caption": "What is to be seen.", "alt": "Lines of accuracy against sparsity, one a method."}
    return (
        Figure(name="wide", title="Which?", panels=(Panel(series=lines, **axes),), **said),
        Figure(name="half", title="Where?", **said, panels=(
            Panel(title="a", series=lines, size="half", labels="legend", **axes),
            Panel(title="b", picture=picture, size="half"),
        )),
    )  # fmt: skip


def made_up() -> tuple[Findings, Said]:
    study = Study(
        name="made", title="A page of everything", question="Is it so?\n\nAnd how sure?", runs=lambda preset, seeds: (),
        presets={"laptop": Preset(seeds=6, takes="no time")}, tables=lambda found: (), figures=lambda found: (),
    )  # fmt: skip
    found = Findings(
        study=study, preset="laptop", seeds=tuple(SEEDS), records=records(), missing={"x-s9": "it failed"},
        measurements={"m": {"id": "m", "result": 1}}, command="wirings study made",
    )  # fmt: skip
    return found, Said(tables=(table(),), figures=figures(), verdicts=verdicts(), answers=("It is so (n = 5).",))


def made_page() -> str:
    found, said = made_up()
    return page(found, said, Path("results/made-laptop"), ("figures/wide.svg", "figures/wide.png"))
