"""What a benchmark says, as plain data: cases with rows, and what they were measured on; as a table and as a figure.

Every case is one run of `protocol.interleaved`: its contenders took turns. A row's ratio is the median time of the
fastest baseline of its case over its own median: how many times faster it is.
"""

from __future__ import annotations

import datetime
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from wirings.bench.protocol import interleaved
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.training.host import host, versions

Result = dict[str, Any]
_WHOLE = "processor time of all threads"


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a case.

    Args:
        name: ``"wirings"``, ``"dense"``, a peer.
        block: does it once.
        density: of its weights; ``None`` for dense.
        mask: where the connections are: ``"random"``, ``"uneven"``, ``"trained"``.
        baseline: whether ratios may be taken to it: what a user of torch would have.
        error: largest deviation from the same in float64, relative to the largest number; where it was checked.
        facts: anything else that belongs into its row.
        ready: called before ``block`` every time, untimed.
        whole: whether its processor time is that of all threads of the process, because it may have some of its own.
    """

    name: str
    block: Callable[[], object]
    density: float | None = None
    mask: str = ""
    baseline: bool = False
    error: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    ready: Callable[[], object] | None = None
    whole: bool = False


def begun(bench: str, command: str, *, threads: int, missing: Mapping[str, str] | None = None) -> Result:
    """A result without cases yet: what is measured, by which command, when, with which versions."""
    machine = host()
    return {
        "bench": bench,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": dict(versions()),
        "processor": f"{machine['processor']}, {machine['cores']} cores, {machine['instructions']}",
        "threads": threads,
        "missing": dict(missing or {}),
        "cases": [],
    }


def measured(name: str, contenders: Sequence[Contender], *, rounds: int, **facts: Any) -> dict[str, Any]:
    """Let the contenders of one case take turns, and write down what each took.

    Args:
        name: of the case.
        contenders: at least one is a baseline, or no ratio is told.
        rounds: how often each is timed.
        facts: of the case: batch, connections, ...
    """
    keys = [f"{i}" for i in range(len(contenders))]
    named = dict(zip(keys, contenders, strict=True))
    ready = {key: c.ready for key, c in named.items() if c.ready is not None}
    whole = [key for key, c in named.items() if c.whole]
    seconds = interleaved({key: c.block for key, c in named.items()}, rounds=rounds, ready=ready, whole=whole)
    medians = [statistics.median(seconds[k]) for k in keys]
    base = min((m for m, c in zip(medians, contenders, strict=True) if c.baseline), default=None)
    rows = []
    for key, median, contender in zip(keys, medians, contenders, strict=True):
        rows.append(
            {
                "contender": contender.name,
                "density": contender.density,
                "mask": contender.mask,
                "median_ms": 1e3 * median,
                "best_ms": 1e3 * min(seconds[key]),
                "ratio": None if base is None else base / max(median, 1e-12),
                "baseline": contender.baseline,
                "error": contender.error,
                **({"clock": _WHOLE} if contender.whole and torch.get_num_threads() == 1 else {}),
                **contender.facts,
            }
        )
    return {"case": name, "rounds": rounds, **facts, "rows": rows}


HEADS = ("case", "contender", "sparsity", "connections", "ms (median)", "ms (best)", "against dense", "error")
"""Of the table that every benchmark with rows has; one whose baseline is not dense says so in ``result["against"]``."""


def table(result: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and rows in words."""
    columns: dict[str, str] = result.get("columns", {})
    rows = []
    for case in result["cases"]:
        for i, row in enumerate(case["rows"]):
            density = row.get("density")
            rows.append(
                [
                    case["case"] if i == 0 else "",
                    row["contender"],
                    "" if density is None else f"{100 * (1 - density):.5g} %",
                    row.get("mask", ""),
                    _ms(row.get("median_ms")),
                    _ms(row.get("best_ms")),
                    "" if row.get("ratio") is None else f"{row['ratio']:.2f}",
                    "" if row.get("error") is None else f"{row['error']:.0e}",
                    *(_number(row.get(key)) for key in columns),
                ]
            )
    heads = (*HEADS, *columns.values())
    heads = tuple(f"against {result.get('against', 'dense')}" if head == "against dense" else head for head in heads)
    used = [i for i in range(len(heads)) if i < 2 or any(row[i] for row in rows)]
    return tuple(heads[i] for i in used), [[row[i] for i in used] for row in rows]


def provenance(result: Mapping[str, Any]) -> list[str]:
    """Sentences that belong under the table: command, machine, date, how quiet it was, what is missing."""
    machine, v = result.get("machine", {}), result["versions"]
    said = [
        f"`{result['command']}`, {result['processor']}, {result['threads']} thread(s), torch {v.get('torch', '?')}, "
        f"wirings {v.get('wirings', '?')}, {result['date'][:10]}."
    ]
    if machine:
        before, after = machine["canary_before_ms"]["torch"], machine["canary_after_ms"]["torch"]
        drift = abs(after / before - 1)
        quiet = "" if drift <= 0.1 else "; the canary moved by more than 10 %, so take this table again"
        said.append(
            f"Medians of {machine['clock']}, contenders in turns; load {machine['load_before']} to "
            f"{machine['load_after']}, canary {before} to {after} ms{quiet}."
        )
    rows = [] if "lines" in result else [row for case in result["cases"] for row in case["rows"]]
    others = dict.fromkeys(row["contender"] for row in rows if row.get("clock") == _WHOLE)
    said += [f"{', '.join(others)}: {_WHOLE} of the process."] if others else []
    said += [f"{name}: {why}." for name, why in result.get("missing", {}).items()]
    return said


def markdown(result: Mapping[str, Any]) -> str:
    """The table and where it comes from, as Markdown."""
    if "lines" in result:
        return "\n".join(["```", *result["lines"], "```", "", *provenance(result)])
    heads, rows = table(result)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *provenance(result)])


def figure(result: Mapping[str, Any]) -> Figure:
    """How many times faster than dense each contender is by sparsity, a panel a case; of `scaling`, what a connection
    costs by their number.

    Raises:
        ValueError: if no row of the result has a density and a ratio.
    """
    if result["bench"] == "scaling":
        return _cost_figure(result)
    panels, looks = [], dict[str, str]()
    for case in result["cases"]:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in case["rows"]:
            if row.get("density") and row.get("ratio"):
                label = ", ".join(part for part in (row["contender"], row.get("mask", "")) if part)
                lines.setdefault(label, []).append((row["density"], row["ratio"]))
                looks.setdefault(label, _LOOKS[len(looks) % len(_LOOKS)])
        if lines:
            panels.append(_panel(case["case"], lines, looks))
    if not panels:
        raise ValueError(f"there is nothing to draw in the results of `{result['bench']}`.")
    return Figure(
        name=f"bench-{result['bench']}",
        title="How many times faster than dense",
        caption=" ".join(provenance(result)),
        alt="Speed against the fastest dense variant, by sparsity, for each case.",
        panels=tuple(panels),
    )


def _cost_figure(result: Mapping[str, Any]) -> Figure:
    """Nanoseconds a connection and sample against connections, all of one sparsity."""
    same = [case["rows"][0] for case in result["cases"] if not case["case"].endswith("neurons")]
    points = sorted((float(row["nnz"]), row["ns_per_sample"]) for row in same)
    if not points:
        raise ValueError(f"there is nothing to draw in the results of `{result['bench']}`.")
    x, y = zip(*points, strict=True)
    panel = Panel(
        x=Axis(label="connections of a layer", scale="log", ticks=x),
        y=Axis(label="nanoseconds a connection and sample, training step", low=0),
        series=(Series(label="wirings", x=x, y=y, method="rigl", style="line"),),
        labels="none",
    )
    return Figure(
        name="bench-scaling",
        title="What a connection costs, by how many there are",
        caption=" ".join(provenance(result)),
        alt="Nanoseconds a connection and sample against the number of connections.",
        panels=(panel,),
    )


_LOOKS = ("rigl", "set", "dnw", "gradual", "lottery", "top-kast", "dnw-frozen", "edge-popup", "snip", "snfs", "static")
"""Methods whose colours and markers contenders borrow, in turn: all are told apart by both."""


def _panel(title: str, lines: Mapping[str, Iterable[tuple[float, float]]], looks: Mapping[str, str]) -> Panel:
    series = []
    for label, points in lines.items():
        ordered = sorted(points, reverse=True)
        x, y = tuple(p[0] for p in ordered), tuple(p[1] for p in ordered)
        series.append(Series(label=label, x=x, y=y, method=looks[label], style="line"))
    series.append(Series(label="dense", x=(), y=(1.0,), style="level", quiet=True))
    return Panel(
        title=title,
        x=Axis(label="sparsity", scale="sparsity"),
        y=Axis(label="times faster than dense", scale="log"),
        series=tuple(series),
        size="half",
        labels="legend",
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


_PLACE = re.compile(r"(<!-- bench: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, tables: Mapping[str, str]) -> tuple[str, set[str]]:
    """A Markdown text with tables in their places, and the names of the places it has.

    Example:
        >>> text, places = filled("<!-- bench: mlp -->" + chr(10) + "old" + chr(10) + "<!-- end -->", {"mlp": "new"})
        >>> text.splitlines(), places
        (['<!-- bench: mlp -->', 'new', '<!-- end -->'], {'mlp'})
    """
    places = {found[2] for found in _PLACE.finditer(text)}

    def put(found: re.Match[str]) -> str:
        return f"{found[1]}{tables[found[2]]}\n{found[3]}" if found[2] in tables else found[0]

    return _PLACE.sub(put, text), places
