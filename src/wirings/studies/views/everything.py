"""All finished runs of a folder as one page: no question of its own, but the same tables and figures."""

from __future__ import annotations

import os
from collections.abc import Sequence

from wirings.studies import words
from wirings.studies.cells import Cell, dense_of
from wirings.studies.figures import Figure, Series
from wirings.studies.study import Findings, Preset, Study, Work
from wirings.studies.tables import Column, Row, Spread, Table
from wirings.studies.views.comparison import accuracy_line, level
from wirings.studies.views.parts import over_sparsity
from wirings.training.records import find


def everything(root: str | os.PathLike[str]) -> Findings:
    """Every finished run below a folder."""
    records = tuple(record for record in find(root) if record.finished)
    seeds = tuple(sorted({record.seed for record in records}))
    return Findings(study=_ALL, preset="", seeds=seeds, records=records)


def tables(found: Findings) -> list[Table]:
    """A row a setting."""
    cells = found.cells
    columns = (
        Column(title="Network"),
        Column(title="Method"),
        Column(title="Data"),
        Column(title="Sparsity"),
        Column(title="Test accuracy", unit="%", help="of the last values; mean ± standard deviation over seeds"),
        Column(title="95 % interval", unit="%", help="of the mean (Student's t)"),
        Column(title="n"),
        Column(title="Best epoch's", unit="%", help="chosen on held-out images, or as the table of runs says"),
        Column(title="Training FLOPs", unit="× dense"),
        Column(title="Wall time", unit="s", digits=1),
    )
    rows = []
    for cell in cells:
        spread, dense = Spread(cell.last), dense_of(cell, cells)
        rows.append(
            Row(
                values=(
                    cell.model,
                    words.method(cell.method),
                    cell.data,
                    words.sparsity(cell.density),
                    spread,
                    spread.interval,
                    cell.n,
                    Spread(cell.best),
                    cell.flops / dense.flops if dense is not None else None,
                    cell.seconds,
                ),
                runs=cell.ids,
                method=cell.method,
            )
        )
    return [Table(name="settings", title="Every setting", columns=columns, rows=tuple(rows))]


def figures(found: Findings) -> list[Figure]:
    """Accuracy against sparsity, a panel a network and data set."""
    panels = []
    cells = found.cells
    for model, data in sorted({(cell.model, cell.data) for cell in cells}):
        mine = [cell for cell in cells if (cell.model, cell.data) == (model, data)]
        series = _lines(mine)
        if series:
            panels.append(over_sparsity(series, title=f"{model}, {data}"))
    if not panels:
        return []
    return [
        Figure(
            name="accuracy",
            title="How much accuracy survives?",
            caption="Test accuracy of the last values against sparsity, a point a setting, mean over its seeds. "
            "Settings of one method may differ in more than their sparsity: see the table.",
            alt="Test accuracy against sparsity, a line a method.",
            panels=tuple(panels),
        )
    ]


def _lines(cells: Sequence[Cell]) -> list[Series]:
    """A line a method; a lone dense network as a level."""
    dense = [cell for cell in cells if cell.method == "dense"]
    methods = [method for method in dict.fromkeys(cell.method for cell in cells) if method != "dense" or len(dense) > 1]
    lines = [line for method in methods if (line := accuracy_line(cells, method)) is not None]
    return [level(dense[0]), *lines] if len(dense) == 1 and lines else lines or [level(cell) for cell in dense]


def _nothing(preset: str, seeds: Sequence[int]) -> list[Work]:
    return []


_ALL = Study(
    name="runs",
    title="Every finished run",
    question="All finished runs of a folder, by setting.",
    presets={"smoke": Preset(seeds=1, takes="")},
    runs=_nothing,
    tables=tables,
    figures=figures,
)
