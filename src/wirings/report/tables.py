"""Tables as text: for the terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from wirings.studies.figures import Figure
from wirings.studies.tables import Column, Span, Spread, Table, Value

DASH = "–"

POINT_HEADS = ("panel", "series", "x", "y", "low", "high", "value", "runs")
"""The columns of a figure's CSV; those that would be empty are left out."""


def told(value: Value, column: Column) -> str:
    """A value as people read it.

    Example:
        >>> told(Spread((97.0, 98.0)), Column(title="accuracy"))
        '97.50 ± 0.71'
    """
    if value is None:
        return DASH
    if isinstance(value, Spread):
        mean = told(value.mean, column)
        return mean if value.n < 2 else f"{mean} ± {value.sd:.{column.digits}f}"
    if isinstance(value, Span):
        return f"{told(value.low, column)} to {told(value.high, column)}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return DASH
        return _number(value, column.digits, column.signed)
    return str(value)


def sort_key(value: Value) -> str:
    """What a column is sorted by: the number where there is one, else the text."""
    if isinstance(value, Spread):
        value = value.mean
    if isinstance(value, Span):
        value = value.low
    if isinstance(value, str):
        number = value.replace("%", "").replace(",", "").strip()
        try:
            return repr(float(number))
        except ValueError:
            return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value)


def is_number(column: int, table: Table) -> bool:
    """Whether a column holds numbers, or would if it held anything, and is aligned to the right."""
    if table.columns[column].unit and all(row.values[column] is None for row in table.rows):
        return True
    return any(not isinstance(row.values[column], (str, type(None))) for row in table.rows)


def markdown(table: Table) -> str:
    """The table as Markdown, with its title and caption."""
    heads = [c.head for c in table.columns]
    rule = ["---:" if is_number(i, table) else "---" for i in range(len(heads))]
    rows = [[told(v, c).replace("|", r"\|") for v, c in zip(r.values, table.columns, strict=True)] for r in table.rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]
    return "\n".join([f"**{table.title}**", "", *lines, *(["", table.caption] if table.caption else []), ""])


def table_csv(table: Table) -> str:
    """The table as CSV, every number at full precision: a spread as mean, sd and n, an interval as low and high.

    Runs are told by the end of their ids, which is theirs alone: `wirings show` finds them by it.
    """
    heads: list[str] = []
    for i, column in enumerate(table.columns):
        parts = _parts({type(row.values[i]) for row in table.rows})
        heads += [f"{column.head}{part}" for part in parts]
    rows = []
    for row in table.rows:
        cells: list[object] = []
        for i, value in enumerate(row.values):
            kinds = {type(other.values[i]) for other in table.rows}
            if Spread in kinds:
                cells += [value.mean, value.sd, value.n] if isinstance(value, Spread) else [value, None, None]
            elif Span in kinds:
                cells += [value.low, value.high] if isinstance(value, Span) else [None, None]
            else:
                cells.append(value)
        rows.append([*cells, short_ids(" ".join(row.runs))])
    return rows_csv([*heads, "runs"], rows)


def figure_csv(figure: Figure) -> str:
    """What a figure draws as CSV, at six digits: a row a point, or a trace; runs as in `table_csv`."""
    rows = [row | {"runs": short_ids(str(row["runs"]))} for row in figure.data(joined=True)]
    heads = [head for head in POINT_HEADS if any(row.get(head) not in (None, "") for row in rows)]
    return rows_csv(heads, ([six_digits(row.get(head)) for head in heads] for row in rows))


def short_ids(ids: str) -> str:
    """Run ids, parted by spaces, without what their hash says anyway.

    Example:
        >>> short_ids("lenet-300-100-mnist-dnw-0123456789-s0 another-name")
        '0123456789-s0 another-name'
    """
    return " ".join(re.sub(r"^.+-(?=[0-9a-f]{10}-s\d+$)", "", run) for run in ids.split())


def six_digits(value: object) -> object:
    """Plain data whose numbers have at most six digits; integers and texts as they are.

    Example:
        >>> six_digits({"share": [1 / 3, 2.0, 1234567]})
        {'share': [0.333333, 2, 1234567]}
    """
    if isinstance(value, float) and math.isfinite(value):
        rounded = float(f"{value:.6g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded
    if isinstance(value, Mapping):
        return {key: six_digits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [six_digits(item) for item in value]
    return value


def rows_csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; None and NaN are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow(["" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in row])
    return text.getvalue()


def dicts_csv(heads: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Dictionaries as CSV."""
    return rows_csv(heads, ([row.get(head) for head in heads] for row in rows))


def _parts(kinds: set[type]) -> tuple[str, ...]:
    if Spread in kinds:
        return "", " sd", " n"
    return (" low", " high") if Span in kinds else ("",)


def _number(value: float, digits: int, signed: bool) -> str:
    """A number at fixed digits; a small one at two significant ones instead of zero."""
    sign = "+" if signed else ""
    tiny = value and abs(value) < 0.5 * 10**-digits
    return (f"{value:{sign}.2g}" if tiny else f"{value:{sign},.{digits}f}").replace("-", "−")
