"""A study's results on disk: its page, tables, figures, run list, and the claims of all studies in one file.

``<out>/``

    claims.csv                   a row a claim, scale, network and data set, of every study
    <study>-<preset>/index.html  the page
    <study>-<preset>/runs.csv    a row a finished run
    <study>-<preset>/cells.csv   a row a setting, over its seeds
    <study>-<preset>/measured.json  what was measured beside the runs, at six digits, and no figure's CSV holds
    <study>-<preset>/tables/     each table as Markdown and CSV; claims.md tells the verdicts of this study alone
    <study>-<preset>/figures/    each figure as SVG, PNG and the CSV of what is drawn

In the CSV of tables and figures runs are told by the end of their ids.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wirings.analysis.claims import COLUMNS, Claim, Verdict
from wirings.core.files import write_bytes, write_text
from wirings.report.draw import whole
from wirings.report.page import RUN_HEADS, Said, page, run_values
from wirings.report.tables import DASH, dicts_csv, figure_csv, markdown, rows_csv, six_digits, table_csv
from wirings.studies.cells import Cell
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.training.records import Record


def write(found: Findings, out: str | Path = "results", *, said: Said | None = None) -> Path:
    """Write everything that a study says, and give back the path of its page.

    Example:
        >>> write(execute(study_of("quickstart")), "results")
        PosixPath('results/quickstart-laptop/index.html')

    Args:
        found: the finished runs of a study.
        out: the folder of all results.
        said: what the study says about them, where it was asked already.
    """
    said = Said.of(found) if said is None else said
    folder = Path(out) / (f"{found.study.name}-{found.preset}" if found.preset else found.study.name)
    files = []
    for table in (*said.tables, *([claims_table(said.verdicts)] if said.verdicts else ())):
        write_text(folder / "tables" / f"{table.name}.md", markdown(table))
        write_text(folder / "tables" / f"{table.name}.csv", table_csv(table))
    for figure in said.figures:
        write_text(folder / "figures" / f"{figure.name}.csv", figure_csv(figure))
        for kind, content in whole(figure).items():
            files.append(f"figures/{figure.name}.{kind}")
            write_bytes(folder / files[-1], content)
    write_text(folder / "runs.csv", rows_csv([head for head, _ in RUN_HEADS], map(run_values, found.records)))
    write_text(folder / "cells.csv", dicts_csv(CELL_HEADS, map(_cell, found.cells)))
    if found.measurements:
        write_text(folder / "measured.json", "[\n" + ",\n".join(measured_lines(found)) + "\n]\n")
    if said.verdicts:
        merge_claims(Path(out) / "claims.csv", said.verdicts)
    target = folder / "index.html"
    write_text(target, page(found, said, folder, files))
    return target


def measured_lines(found: Findings) -> Iterator[str]:
    """A line a measurement, without what figures tell."""
    drawn = {measurement.kind: measurement.drawn for measurement in found.study.measurements(found)}
    for kept in found.measurements.values():
        result = _without(kept["result"], drawn.get(kept["kind"], ()))
        told = {"id": kept["id"], "kind": kept["kind"], "settings": kept["settings"], "result": six_digits(result)}
        yield json.dumps(told, separators=(",", ":"))


def _without(data: Any, names: Collection[str]) -> Any:  # Any: what came from JSON
    if not isinstance(data, Mapping) or not names:
        return data
    return {name: _without(value, names) for name, value in data.items() if name not in names}


def merge_claims(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Put verdicts into the file of all claims.

    A verdict replaces the row of the same claim, scale, network and data set, unless it is unjudged and the row is not;
    all other rows stay. Rows are in the order of their claims.
    """
    rows = {_key(row): row for row in _rows(path)}
    for verdict in verdicts:
        row = {name: "" if value is None else str(value) for name, value in verdict.to_row().items()}
        before = rows.get(_key(row))
        if before is None or verdict.word != "unjudged" or before["verdict"] == "unjudged":
            rows[_key(row)] = row
    write_text(path, dicts_csv(COLUMNS, [rows[key] for key in sorted(rows, key=_place)]))


def claims_table(verdicts: Iterable[Verdict]) -> Table:
    """The verdicts of one study as people read them: what was claimed, how it was measured, what came out.

    Numbers are rounded; ``claims.csv`` has all of them.
    """
    titles = ("Claim", "What is claimed, and what was measured", "On", "Verdict", "Effect", "95 % interval", "n",
              "Detectable", "Published")  # fmt: skip
    return Table(
        name="claims",
        title="What is claimed, and what our runs say",
        columns=tuple(Column(title=title) for title in titles),
        rows=tuple(Row(values=_verdict(verdict), runs=verdict.run_ids) for verdict in verdicts),
        caption="Effect and interval are those of the statistic in italics, whose threshold follows it; of an exact "
        "claim the worst value, and the smallest and largest. Detectable: the smallest effect beyond the threshold "
        "that this n and spread show four times in five. Underpowered: the interval does not decide, or not after "
        "Holm's correction for all claims of the study.",
    )


CELL_HEADS = ("model", "data", "method", "density", "n", "test_accuracy", "low", "high", "sd", "seconds", "joules",
              "energy_source", "wirings")  # fmt: skip
"""The columns of ``cells.csv``; accuracies in percent of the test images, with the mean's 95 % interval."""


def _verdict(verdict: Verdict) -> tuple[str | int, ...]:
    claim, decided = verdict.claim, verdict.word in ("reproduced", "holds at reduced scale")
    return (
        claim.id,
        f"{claim.sentence} *{claim.statistic.replace('*', '·')}; {_threshold(claim)}*",
        ", ".join(name for name in (verdict.net, verdict.data) if name and name != "none") or DASH,
        verdict.word if decided else f"{verdict.word}: {verdict.reason}",
        _number(verdict.effect),
        DASH if verdict.low is None else f"{_number(verdict.low)} to {_number(verdict.high)}",
        verdict.n,
        _number(verdict.detectable),
        _number(claim.published, 4),
    )


def _threshold(claim: Claim) -> str:
    if claim.direction != "within":
        return f"{claim.direction} {_number(claim.threshold, 4)}"
    if claim.threshold == 0:
        return f"equal to {_number(claim.target, 4)}"
    return f"within {_number(claim.threshold, 4)} of {_number(claim.target, 4)}"


def _number(value: float | None, digits: int = 3) -> str:
    """A number at so many digits, thousands and more in full."""
    if value is None:
        return DASH
    return format(value, ",.0f" if abs(value) >= 1000 else f".{digits}g").replace("-", "−")


def _cell(cell: Cell) -> dict[str, object]:
    span = Spread(cell.last).interval
    joules = [float(r.energy["joules"]) for r in cell.records if r.energy.get("joules") is not None]
    return {
        "model": cell.model,
        "data": cell.data,
        "method": cell.method,
        "density": f"{cell.density:.6g}",
        "n": cell.n,
        "test_accuracy": f"{statistics.fmean(cell.last):.4f}",
        "low": "" if span is None else f"{span.low:.4f}",
        "high": "" if span is None else f"{span.high:.4f}",
        "sd": "" if cell.n < 2 else f"{statistics.stdev(cell.last):.4f}",
        "seconds": f"{statistics.median(r.seconds for r in cell.records):.3f}",
        "joules": f"{statistics.median(joules):.1f}" if joules else "",
        "energy_source": " ".join(sorted({str(r.energy.get("source", "")) for r in cell.records})),
        "wirings": " ".join(map(_fingerprint, cell.records)),
    }


def _fingerprint(record: Record) -> str:
    """Of the wiring at the end, as its file carries it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(record.path / "final" / "wiring.safetensors", framework="np") as file:
            return str((file.metadata() or {}).get("fingerprint", ""))
    except (OSError, SafetensorError):
        return ""


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _key(row: Mapping[str, str]) -> tuple[str, ...]:
    return row["id"], row["scale"], row["net"], row["data"]


def _place(key: tuple[str, ...]) -> tuple[object, ...]:
    """S2.9 before S2.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key[0])], key
