"""One self-contained page a study: verdicts, tables, figures, and how it was made. It asks nothing of any network."""

from __future__ import annotations

import base64
import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wirings import __version__
from wirings.analysis.claims import COLUMNS, Verdict
from wirings.report.draw import plate
from wirings.report.style import look_of, variables
from wirings.report.tables import DASH, POINT_HEADS, dicts_csv, figure_csv, is_number, sort_key, table_csv, told
from wirings.studies import words
from wirings.studies.figures import Figure
from wirings.studies.study import Findings
from wirings.studies.tables import Table
from wirings.training.records import Record

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST = 120
"""Rows of a figure's data that are shown as a table on the page; longer ones are in its CSV alone."""


LONG = 34
"""Letters of a cell that is set in several lines."""

HEAVY = 50_000
"""Letters of a figure's CSV that the page holds itself; a longer one lies beside it alone."""

SHORT = 16
"""Letters of the runs that are named in a row's cell; more are folded."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a study says about its findings: all that the page shows beside the runs themselves."""

    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    verdicts: tuple[Verdict, ...]
    answers: tuple[str, ...]

    @classmethod
    def of(cls, found: Findings) -> Said:
        """Ask the study, once."""
        study = found.study
        return cls(
            tables=tuple(study.tables(found)),
            figures=tuple(study.figures(found)),
            verdicts=tuple(study.claims(found)),
            answers=tuple(study.answers(found)),
        )


def page(found: Findings, said: Said, folder: Path, files: Sequence[str] = ()) -> str:
    """The page as HTML: the same text for the same records.

    Args:
        found: the runs.
        said: what the study makes of them.
        folder: where the page will lie; links to runs are relative to it.
        files: paths below ``folder`` that figures link to, named ``figures/<name>.<ending>``.
    """
    preset = found.study.presets.get(found.preset)
    scale = f"{found.preset}: {preset.takes}" if preset is not None and preset.takes else found.preset
    return _rendered(
        title=found.study.title,
        over=f"wirings study {found.study.name} · {scale}" if found.command else "wirings report",
        question=[text for text in found.study.question.split("\n\n") if text.strip()],
        source=found.study.source,
        answers=said.answers,
        missing=found.missing,
        verdicts=[_verdict(v, i) for i, v in enumerate(said.verdicts)],
        claims_csv=dicts_csv(COLUMNS, (v.to_row() for v in said.verdicts)),
        scale=found.scale,
        measured=bool(found.measurements),
        tables=[_table(table) for table in said.tables],
        figures=[_figure(figure, files) for figure in said.figures],
        command=found.command,
        details=_details(found),
        **_runs(found.records, folder),
    )


def run_page(record: Record, title: str, tables: Sequence[Table], figures: Sequence[Figure], folder: Path) -> str:
    """The page of one run."""
    return _rendered(
        title=title,
        over="wirings show",
        question=[],
        source="",
        answers=(),
        missing={},
        verdicts=[],
        claims_csv="",
        scale="",
        measured=False,
        tables=[_table(table) for table in tables],
        figures=[_figure(figure, ()) for figure in figures],
        command=f"wirings run --preset {record.path.name}/config.toml",
        details=_made_by([record]),
        **_runs([record], folder),
    )


def _rendered(**told_: Any) -> str:  # Any: what a template is given
    text = (
        _templates()
        .get_template("page.html")
        .render(
            css=_raw(_templates().get_template("page.css").render(light=variables(0), dark=variables(1))),
            js=_raw(_source("page.js")),
            version=__version__,
            data_uri=data_uri,
            foot="this page is one file and asks nothing of any network",
            **told_,
        )
    )
    return re.sub(r"\n\s*\n+", "\n", text)


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=PackageLoader("wirings.report", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
    )
    made.filters["rich"] = rich
    made.filters["runs_of"] = _told_run
    made.filters["folded"] = _folded
    made.filters["minus"] = lambda number: number.replace("-", "−")
    return made


def tight(text: str) -> str:
    """A text whose numbers stay with their units: ``98 %`` and ``n = 3`` are not torn apart at a line's end."""
    return text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")


def rich(text: str) -> Any:  # Any: jinja2's own string
    """A text of a study as HTML: escaped, tight, with powers of ten, minus signs and `code` set as they should be.

    Example:
        >>> rich("-0.3 at 10^2.5 in `paper`")
        Markup('−0.3 at 10<sup>2.5</sup> in <code>paper</code>')
    """
    from markupsafe import escape

    told = re.sub(r"10\^([-−]?\d+(?:\.\d+)?)", r"10<sup>\1</sup>", str(escape(tight(text))))
    told = re.sub(r"`([^`<>]+)`", r"<code>\1</code>", told)
    return _raw(re.sub(r"(?<![\w.)-])-(?=\d)", "−", told))


def _told_run(run: str, listed: Mapping[str, tuple[str, str]]) -> tuple[str, str, str]:
    return (*listed.get(run, ("", run)), run)


def _folded(runs: Sequence[str], listed: Mapping[str, tuple[str, str]]) -> bool:
    """Whether a row's runs are too many, or too much alike, to stand in its cell."""
    told_ = [listed[run][1] if run in listed else run for run in runs]
    return len(set(told_)) < len(told_) or len(" ".join(told_)) > SHORT


def _source(name: str) -> str:
    loader = _templates().loader
    assert loader is not None
    return loader.get_source(_templates(), name)[0]


def _raw(text: str) -> Any:  # Any: jinja2's own string, which it does not escape again
    from markupsafe import Markup

    return Markup(text)


def data_uri(text: str) -> str:
    """A CSV text as an address that holds it.

    Example:
        >>> data_uri("a")
        'data:text/csv;charset=utf-8;base64,YQ=='
    """
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


# ---------------------------------------------------------------------- parts


def _table(table: Table) -> dict[str, Any]:
    numbers = [is_number(i, table) for i in range(len(table.columns))]
    named = next((i for i, column in enumerate(table.columns) if column.title == "Method"), 0)
    rows, before = [], None
    for row in table.rows:
        cells = [
            {
                "text": told(value, column),
                "key": sort_key(value),
                "number": number,
                "long": len(told(value, column)) > LONG,
                "colour": look_of(row.method)[0] if row.method and i == named else "",
            }
            for i, (value, column, number) in enumerate(zip(row.values, table.columns, numbers, strict=True))
        ]
        first = row.values[0]
        rows.append({"cells": cells, "runs": row.runs, "part": named > 0 and before is not None and first != before})
        before = first
    heads = [{"text": c.head, "help": c.help, "number": n} for c, n in zip(table.columns, numbers, strict=True)]
    return {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "heads": heads,
        "rows": rows,
        "linked": any(row.runs for row in table.rows),
        "csv": table_csv(table),
    }


def _figure(figure: Figure, files: Sequence[str]) -> dict[str, Any]:
    panels = []
    for number, panel in enumerate(figure.panels):
        sides = ("broad", "narrow") if panel.size == "wide" else ("",)
        plates = []
        for when in sides:
            drawn = plate(panel, f"{figure.name}-{number}{when[:1]}", narrow=when == "narrow")
            alt = f"{panel.title}: {figure.alt}" if panel.title else figure.alt
            plates.append(
                {
                    "when": when,
                    "alt": alt,
                    "svg": _raw(drawn.svg),
                    "width": drawn.width,
                    "height": drawn.height,
                    "points": drawn.points,
                }
            )
        panels.append({"title": panel.title, "plates": plates})
    data = list(figure.data())
    used = [head for head in POINT_HEADS[:-1] if any(row.get(head) not in (None, "") for row in data)]
    rows = [{"cells": [_short(row.get(h)) for h in used], "runs": str(row["runs"]).split()} for row in data]
    mine = [f for f in files if Path(f).stem == figure.name]
    text = figure_csv(figure)
    if mine and len(text) > HEAVY:
        text, mine = "", [f"figures/{figure.name}.csv", *mine]
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "size": figure.panels[0].size,
        "panels": panels,
        "heads": [*used, "runs"],
        "rows": rows if len(rows) <= LONGEST else [],
        "csv": text,
        "files": [(Path(f).name, f) for f in mine],
    }


def _verdict(verdict: Verdict, order: int) -> dict[str, Any]:
    claim = verdict.claim
    decided = verdict.word not in ("underpowered", "unjudged")
    yes = verdict.word in ("reproduced", "holds at reduced scale")
    return {
        "id": claim.id,
        "order": order,
        "sentence": claim.sentence,
        "how": _how(verdict),
        "word": verdict.word,
        "mood": ("yes" if yes else "no") if decided else "open",
        "why": "" if decided else verdict.reason,
        "published": DASH if claim.published is None else f"{claim.published:.4g}",
        "effect": _three(verdict.effect),
        "key": "" if verdict.effect is None else repr(verdict.effect),
        "interval": "" if verdict.low is None else f"{_three(verdict.low)} to {_three(verdict.high)}",
        "n": verdict.n,
        "runs": verdict.run_ids,
    }


def _how(verdict: Verdict) -> str:
    """What was measured, on what, against which threshold, and how the word was found."""
    claim = verdict.claim
    asked = f"{claim.direction} {_three(claim.threshold)}"
    if claim.direction == "within":
        asked = f"within {_three(claim.threshold)} of {_three(claim.target)}"
    told_ = [f"Measured: {claim.statistic.rstrip('.')}; claimed to be {asked}, from n = {claim.n}"]
    where = ", ".join(name for name in (verdict.net, verdict.data) if name)
    if where:
        told_.append(f"On {where}")
    told_.append(f"{verdict.reason[:1].upper()}{verdict.reason[1:]}")
    if verdict.method:
        told_.append(f"Interval: {verdict.method}" if not claim.exact else "Exact: smallest to largest value")
    if verdict.detectable is not None and not claim.exact:
        told_.append(f"Smallest detectable effect: {_three(verdict.detectable)}")
    if verdict.p_holm is not None:
        told_.append(f"p after Holm: {verdict.p_holm:.2g}")
    return ". ".join(told_) + "."


def _three(value: float | None) -> str:
    """A number of a verdict at three digits, or two after the point; all of them are in ``claims.csv``."""
    if value is None:
        return DASH
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3g}"


RUN_HEADS = (
    ("run", False), ("method", False), ("sparsity", True), ("seed", True), ("test accuracy (%)", True),
    ("best epoch's (%)", True), ("chosen on", False), ("effective density (%)", True), ("training FLOPs", True),
    ("seconds", True), ("energy (J)", True),
)  # fmt: skip


def run_values(record: Record) -> tuple[object, ...]:
    """What the table of runs says about one, in the order of `RUN_HEADS`."""
    result = record.results

    def share(name: str) -> float | None:
        return 100 * float(result[name]) if result.get(name) is not None else None

    return (
        record.id,
        words.method(record.method),
        words.sparsity(record.density),
        record.seed,
        share("test_accuracy_last"),
        share("test_accuracy_best"),
        result.get("best_chosen_on"),
        share("effective_density"),
        result.get("training_flops"),
        record.seconds,
        record.energy.get("joules"),
    )


def _runs(records: Iterable[Record], folder: Path) -> dict[str, Any]:
    rows, listed, values = [], {}, []
    for record in records:
        listed[record.id] = words.method(record.method), f"s{record.seed}"
        said = run_values(record)
        values.append(dict(zip((h for h, _ in RUN_HEADS), said, strict=True)))
        cells = [
            {"text": _short(v), "key": f"{v:.7g}" if isinstance(v, float) else sort_key(v), "number": n}  # type: ignore[arg-type]
            for v, (_, n) in list(zip(said, RUN_HEADS, strict=True))[1:]
        ]
        rows.append({"id": record.id, "link": _link(record.path / "run.json", folder), "cells": cells})
    heads = [head for head, _ in RUN_HEADS]
    return {
        "runs": rows,
        "listed": listed,
        "run_heads": RUN_HEADS,
        "runs_csv": dicts_csv(heads, values),
        "beside": all(row["link"] for row in rows),
    }


def _link(path: Path, folder: Path) -> str:
    """The way from the page to a run's file; empty where runs lie elsewhere than beside the folder of results.

    A page travels with what lies beside it, but not with what lies somewhere else on the machine that made it.
    """
    from urllib.parse import quote

    way = Path(os.path.relpath(path, folder))
    return quote(way.as_posix()) if way.parts[:3] != ("..",) * 3 and not way.is_absolute() else ""


def _details(found: Findings) -> list[tuple[str, str]]:
    seeds = ", ".join(map(str, found.seeds))
    return [("seeds", seeds or "as in the table of runs"), *_made_by(found.records)]


def _made_by(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Versions, machine, data and cost of these runs; where they differ, each once."""

    def each(values: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(v for v in values if v))

    infos = [record.info for record in records]
    if not infos:
        return []
    seconds = sum(record.seconds for record in records)
    joules = sum(float(record.energy.get("joules", 0.0)) for record in records)
    sources = each(str(record.energy.get("source", "")) for record in records)
    peak = max(int(info.get("peak_memory_bytes", 0)) for info in infos)
    return [
        ("data", each(f"{i['data']['name']}, {i['data']['train']:,} training, {i['data']['held_out']:,} held-out and "
                      f"{i['data']['test']:,} test images, sha-256 {i['data']['sha256'][:16]}" for i in infos)),
        ("network", each(str(i["settings"]["model"]) for i in infos)),
        ("protocol", each(_protocol(i) for i in infos)),
        ("versions", each(", ".join(f"{name} {v}" for name, v in i["versions"].items()) for i in infos)),
        ("code", each(_code(i.get("code", {})) for i in infos) or "an installed package"),
        ("machine", each(f"{i['host']['processor']}, {i['host']['cores']} cores, {i['host']['instructions']}, "
                         f"{i['host']['system']}; {i['threads']} thread{'s' if i['threads'] != 1 else ''} a run, "
                         f"{i['device']}" for i in infos)),
        ("made", f"{_time(min(i['started'] for i in infos))} to "
                 f"{_time(max(i.get('ended', i['started']) for i in infos))} UTC"),
        ("cost", f"{seconds:,.0f} s of training in all, {joules:,.0f} J ({sources}), "
                 f"at most {peak / 2**20:,.0f} MiB in one run"),
    ]  # fmt: skip


def _time(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def _protocol(info: dict[str, Any]) -> str:
    if info["settings"].get("protocol") == "paper":
        return "the paper's: the best epoch is chosen on the test set"
    return "the best epoch is chosen on held-out images; the test set is read once, at the end"


def _code(code: dict[str, Any]) -> str:
    return f"commit {code['commit'][:12]}{', changed since' if code.get('changed') else ''}" if code else ""


def _short(value: object) -> str:
    """A value as a cell of a long table shows it."""
    if value is None or value == "":
        return DASH
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
    return str(value)
