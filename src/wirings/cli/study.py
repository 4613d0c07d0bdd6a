"""``wirings study``: a published experiment, from its runs to its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wirings.studies.study import Findings, Study
    from wirings.studies.tables import Table


def study_(
    *names: str,
    preset: str | None = None,
    runs: Path = Path("runs"),
    out: Path = Path("results"),
    jobs: int | None = None,
    seeds: int | None = None,
    data_root: Path | None = None,
) -> int:
    """A published experiment, from its runs to its page; without a name, the studies there are.

    Finished runs are never made again, so the same command goes on where it was stopped.

        wirings study quickstart
        wirings study quickstart --preset smoke --seeds 2

    Parameters
    ----------
    names
        Studies, one after the other.
    preset
        smoke (seconds), laptop (at most half an hour on two cores), overnight, or paper (for a GPU). [default: laptop]
    runs
        The folder of all runs.
    out
        Where pages, tables, figures and claims are written.
    jobs
        Runs side by side. [default: cores / threads]
    seeds
        How many. [default: as the preset says]
    data_root
        The folder that holds data sets; otherwise $WIRINGS_DATA.
    """
    from wirings.core.errors import SettingsError
    from wirings.studies.registry import studies, study_of

    if not names:
        _list(list(studies().values()))
        return 0
    for flag, value in (("--seeds", seeds), ("--jobs", jobs)):
        if value is not None and value < 1:
            raise SettingsError(f"`{flag}` must be at least 1. Got {value}.")
    chosen = [study_of(name) for name in dict.fromkeys(names)]
    for study in chosen:
        study.preset(preset)  # refused before the first one trains
    return max(_one(study, preset, runs, out, jobs, seeds, data_root) for study in chosen)


def _list(known: Sequence[Study]) -> None:
    from wirings.cli.console import output

    console = output()
    width = max((len(study.name) for study in known), default=0)
    for study in known:
        console.print(f"[bold]{study.name:<{width}}[/]  {study.title} ({', '.join(study.presets)})", soft_wrap=True)


def _one(
    study: Study,
    preset: str | None,
    runs: Path,
    out: Path,
    jobs: int | None,
    seeds: int | None,
    data_root: Path | None,
) -> int:
    from wirings.cli.progress import shown
    from wirings.report.page import Said
    from wirings.report.write import write
    from wirings.studies.execute import count, execute

    with shown(count(study, preset, seeds=seeds)) as listener:
        found = execute(study, preset, runs, seeds=seeds, jobs=jobs, data_root=data_root, listener=listener)
    said = Said.of(found)
    target = write(found, out, said=said)
    show(found, said.tables[:1], target)
    return 1 if found.missing else 0


def show(found: Findings, tables: Sequence[Table], target: Path) -> None:
    """The main table, what is missing, and where the page is."""
    from wirings.cli.console import output

    console = output()
    for table in tables:
        console.print(rich_table(table, console.width), soft_wrap=not console.is_terminal)
    for name, why in found.missing.items():
        console.print(f"{name}: {why}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"{len(found.records)} finished runs; the page: {target}", markup=False, soft_wrap=True)


def rich_table(table: Table, width: int) -> object:
    """A table for the terminal; where that is too narrow, without its intervals, which are on the page."""
    from rich.markup import escape
    from rich.table import Table as Rich

    from wirings.report.tables import is_number, told
    from wirings.studies.tables import Span

    rows = [[told(v, c) for v, c in zip(row.values, table.columns, strict=True)] for row in table.rows]
    widths = [
        max(len(word) for word in [*(row[i] for row in rows), *c.head.split()]) for i, c in enumerate(table.columns)
    ]
    shown = list(range(len(table.columns)))
    if sum(widths) + len(widths) - 1 > width:
        shown = [i for i in shown if not any(isinstance(row.values[i], Span) for row in table.rows)]
    made = Rich(title=table.title, box=None, pad_edge=False)
    made.title_justify, made.title_style, made.header_style = "left", "bold", "bold"
    made.padding = (0, 2 if sum(widths[i] + 2 for i in shown) <= width else 1, 0, 0)
    for i in shown:
        head = escape(table.columns[i].head)
        made.add_column(head, justify="right" if is_number(i, table) else "left", width=widths[i])
    for row in rows:
        made.add_row(*(escape(row[i]) for i in shown))
    return made
