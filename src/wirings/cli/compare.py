"""``wirings compare``: finished runs as a table, each beside the one it is compared with."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from wirings.studies.cells import Cell

HEADS = (
    "model",
    "data",
    "method",
    "sparsity",
    "n",
    "accuracy",
    "95 % interval",
    "best",
    "against",
    "p",
    "FLOPs",
    "seconds",
)


def compare_(
    folders: str = "runs",
    /,
    *,
    against: str = "dense",
    style: Literal["table", "md", "csv", "latex"] = "table",
    md: bool = False,
    csv: bool = False,
    latex: bool = False,
) -> int:
    """A table of finished runs: means, intervals, paired tests.

    Accuracy is of the last values, in percent of the test set, mean ± sd over the seeds. "against" is the mean paired
    difference to the runs of the method named there with the same seeds, on the same model and data (at the same
    sparsity where that method has one), with its 95 % interval; p is corrected over the table after Holm.

    Parameters
    ----------
    folders
        Folders with runs, "a,b".
    against
        The method to compare with: dense, static, ...
    style
        How to print it.
    md
        Short for --style md.
    csv
        Short for --style csv.
    latex
        Short for --style latex.
    """
    from wirings.cli.flags import listed
    from wirings.core.errors import RunError
    from wirings.studies.cells import cells_of
    from wirings.training.records import find

    records = [record for folder in listed(folders, str, flag="FOLDERS") for record in find(Path(folder))]
    cells = cells_of(records)
    if not cells:
        raise RunError(f"There is no finished run in {folders}; `wirings run --runs {folders}` makes some.")
    rows = rows_of(cells, against)
    chosen = "md" if md else "csv" if csv else "latex" if latex else style
    {"table": _table, "md": _markdown, "csv": _csv, "latex": _latex}[chosen](HEADS, rows)
    return 0


def rows_of(cells: Sequence[Cell], against: str) -> list[tuple[str, ...]]:
    """A row a cell, in words."""
    from wirings.analysis.statistics import holm, mean_interval, paired
    from wirings.studies.cells import dense_of, plus_minus

    effects = {}
    for cell in cells:
        rival = _rival(cell, cells, against)
        if rival is None:
            continue
        shared = sorted(set(cell.seeds) & set(rival.seeds))
        if len(shared) > 1:
            a, b = (dict(zip(c.seeds, c.last, strict=True)) for c in (cell, rival))
            effects[cell.group] = paired([a[s] for s in shared], [b[s] for s in shared])
    corrected = dict(zip(effects, holm([e.p for e in effects.values()]), strict=True)) if effects else {}
    rows: list[tuple[str, ...]] = []
    for cell in cells:
        effect, p = effects.get(cell.group), corrected.get(cell.group, math.nan)
        interval = mean_interval(cell.last) if cell.n > 1 else None
        dense = dense_of(cell, cells)
        rows.append(
            (
                cell.model,
                cell.data,
                _method(cell),
                f"{cell.sparsity:g} %",
                str(cell.n),
                plus_minus(cell.last),
                f"{interval.low:.2f} to {interval.high:.2f}" if interval else "",
                f"{statistics.fmean(cell.best):.2f} ({cell.chosen_on})",
                f"{effect.effect:+.2f} ({effect.low:+.2f} to {effect.high:+.2f})" if effect else "",
                "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
                _times(cell, dense),
                f"{cell.seconds:.1f}",
            )
        )
    return rows


def _method(cell: Cell) -> str:
    """The method, and whether its runs were truly sparse."""
    first = cell.records[0].info
    stored = first["settings"].get("execution") == "sparse" and first["settings"].get("method") is not None
    return f"{cell.method} (truly sparse)" if stored else cell.method


def _rival(cell: Cell, cells: Sequence[Cell], against: str) -> Cell | None:
    alike = [c for c in cells if (c.model, c.data, c.method) == (cell.model, cell.data, against) and c is not cell]
    if cell.method == against or not alike:
        return None
    return min(alike, key=lambda c: abs(c.sparsity - cell.sparsity))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    from wirings.cli.console import output

    console = output()
    same = [i for i in range(len(heads)) if i < 2 and len({row[i] for row in rows}) == 1]
    if same:
        console.print(", ".join(rows[0][i] for i in same), style="bold")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        if i not in same:
            table.add_column(head, justify="left" if i < 3 else "right", no_wrap=i > 2)
    for row in rows:
        table.add_row(*(value for i, value in enumerate(row) if i not in same))
    console.print(table)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    print("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]))


def _csv(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    print(text.getvalue(), end="")


def _latex(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    def escaped(text: str) -> str:
        return text.replace("%", r"\%").replace("_", r"\_").replace("±", r"$\pm$").replace("<", "$<$")

    print(r"\begin{tabular}{" + "lll" + "r" * (len(heads) - 3) + "}\n\\toprule")
    print(" & ".join(map(escaped, heads)) + r" \\" + "\n\\midrule")
    for row in rows:
        print(" & ".join(map(escaped, row)) + r" \\")
    print("\\bottomrule\n\\end{tabular}")


def _times(cell: Cell, dense: Cell | None) -> str:
    """Training FLOPs beside those of the dense network, where both are known."""
    if math.isnan(cell.flops):
        return ""
    return f"{cell.flops / dense.flops:.3g} x" if dense and dense.flops > 0 else f"{cell.flops:.3g}"
