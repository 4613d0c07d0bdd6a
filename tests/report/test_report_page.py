"""The page: whole in itself, readable by everybody, escaped, and the same for the same records."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from wirings.analysis.claims import Claim, judge
from wirings.report.page import Said, page, run_page, tight
from wirings.report.run_view import adjacency, curve_table, layer_table, run_figures
from wirings.report.tables import figure_csv, markdown, short_ids, table_csv, told
from wirings.report.write import measured_lines, write
from wirings.studies.figures import Axis, Figure, Panel, Series
from wirings.studies.measurement import Lab, Measurement
from wirings.studies.study import Findings
from wirings.studies.tables import Column, Row, Span, Spread, Table

VOID = {"meta", "br", "img", "input", "hr", "link", "circle", "path", "use", "rect", "image", "line"}


class Reader(HTMLParser):
    """Reads a page and keeps what the tests ask about; every element must be closed where it should."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="session")
def written(quick: Findings, quick_root: Path) -> Path:
    return write(quick, quick_root / "results")


@pytest.fixture(scope="session")
def html(written: Path) -> str:
    return written.read_text(encoding="utf-8")


def small(found: Findings, label: str) -> tuple[Findings, Said]:
    """A page of one table and one figure, every word of which is ``label``."""
    record = found.records[0]
    columns = (Column(title=label, unit=label, help=label), Column(title="Method"), Column(title="accuracy"))
    row = Row(values=(label, label, Spread((1.0, 2.0))), runs=(record.id, label), method="rigl")
    series = Series(label=label, method=label, x=(1.0, 2.0), y=(3.0, 4.0), runs=((record.id,), (label,)))
    panel = Panel(title=label, series=(series,))
    claim = Claim(id=label, sentence=label, statistic=label, threshold=0.0, direction="above", n=1)
    said = Said(
        tables=(Table(name="t", title=label, columns=columns, rows=(row,), caption=label),),
        figures=(Figure(name="f", title=label, caption=label, alt=label, panels=(panel,)),),
        verdicts=(judge(claim, None, scale="reduced", run_ids=(record.id,)),),
        answers=(label,),
    )
    study = dataclasses.replace(found.study, title=label, question=label, source=label)
    told_ = dataclasses.replace(found, study=study, records=(record,), missing={label: label}, command=label)
    return told_, said


def test_the_page_is_well_formed_and_says_what_it_is(html: str) -> None:
    reader = read(html)
    assert html.startswith("<!DOCTYPE html>")
    assert reader.all("html")[0]["lang"] == "en"
    assert "Eight ways to a sparse network" in "".join(reader.text)
    ids = [attrs["id"] for _, attrs in reader.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    labels = {attrs["aria-labelledby"] for _, attrs in reader.elements if "aria-labelledby" in attrs}
    assert labels <= set(ids)


def test_the_page_asks_nothing_of_any_network(html: str) -> None:
    assert not re.search(r"https?://|//[a-z]+\.", html)
    reader = read(html)
    assert not reader.all("link")
    assert all("src" not in attrs for attrs in reader.all("script"))
    assert not re.search(r"@import|url\((?!#)", html)
    for tag, attrs in reader.elements:
        for name in ("href", "src"):
            where = attrs.get(name) or ""
            assert where.startswith(("#", "data:", "../", "figures/")) or not where, (tag, where)
    assert len(html.encode()) < 2_000_000


def test_every_figure_has_an_alternative_text(html: str) -> None:
    reader = read(html)
    images = [attrs for _, attrs in reader.elements if attrs.get("role") == "img"]
    assert len(images) >= len(reader.all("figure")) >= 5
    assert all(len(attrs["aria-label"] or "") > 20 for attrs in images)


def test_every_link_leads_somewhere(html: str, written: Path) -> None:
    reader = read(html)
    ids = {attrs.get("id") for _, attrs in reader.elements}
    for attrs in reader.all("a"):
        where = attrs.get("href") or ""
        if where.startswith("#"):
            assert where[1:] in ids
        elif where and not where.startswith("data:"):
            assert (written.parent / where).is_file()


def test_a_page_whose_runs_lie_elsewhere_names_them_and_says_how_to_make_them(
    quick: Findings, tmp_path: Path, html: str
) -> None:
    _, said = small(quick, "word")
    elsewhere = page(quick, said, tmp_path / "far" / "results" / "quickstart-smoke")
    assert not [a for a in read(elsewhere).all("a") if "run.json" in (a.get("href") or "")]
    assert quick.records[0].id in elsewhere
    assert "The runs themselves do not lie beside this page" in elsewhere
    assert "The runs themselves" not in html
    assert "repeats it alone" in html


def test_a_csv_tells_runs_by_what_is_theirs_alone(quick: Findings, written: Path) -> None:
    shorts = [short_ids(record.id) for record in quick.records]
    assert len(set(shorts)) == len(shorts)
    assert all(record.id.endswith(f"-{short}") for record, short in zip(quick.records, shorts, strict=True))
    text = (written.parent / "figures/accuracy.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {run for row in rows for run in row["runs"].split()} <= set(shorts)


def test_a_figures_csv_has_a_row_a_trace_and_no_empty_column() -> None:
    trace = Series(label="unit 1", x=(0.0, 0.1), y=(1 / 3, 2.0), style="trace", runs=(("r",), ("r",)))
    points = Series(label="p", x=(1.0,), y=(0.0,), style="points")
    panel = Panel(title="t", y=Axis(names=("here",)), series=(points,))
    figure = Figure(name="f", title="t", caption="c", alt="a", panels=(Panel(series=(trace,)), panel))
    assert figure_csv(figure).splitlines() == [
        "panel,series,x,y,runs", ",unit 1,0 0.1,0.333333 2,r", "t,p,1,here,",
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Walk(Measurement):
    kind: ClassVar[str] = "walk"
    drawn: ClassVar[tuple[str, ...]] = ("steps",)
    run: str = "r"

    def measure(self, lab: Lab) -> dict[str, float]:
        return {}


def test_what_was_measured_is_told_at_six_digits_and_without_what_figures_tell(quick: Findings) -> None:
    walk = Walk()
    kept = {"id": walk.id, "kind": "walk", "settings": walk.settings, "seconds": 1.0,
            "result": {"layers": {"fc1": {"steps": [1, 2], "gini": 1 / 3}}, "n": 1234567}}  # fmt: skip
    study = dataclasses.replace(quick.study, measurements=lambda found: [walk])
    (line,) = measured_lines(dataclasses.replace(quick, study=study, measurements={walk.id: kept}))
    assert json.loads(line) == {
        "id": walk.id,
        "kind": "walk",
        "settings": {"run": "r"},
        "result": {"layers": {"fc1": {"gini": 0.333333}}, "n": 1234567},
    }


def test_rows_and_points_link_to_their_runs(html: str, quick: Findings) -> None:
    for record in quick.records:
        assert f'id="run-{record.id}"' in html
        assert html.count(f'href="#run-{record.id}"') >= 1


def test_what_a_user_wrote_is_escaped_everywhere(quick: Findings, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&"\''
    found, said = small(quick, evil)
    text = page(found, said, tmp_path)
    reader = read(text)
    assert len(reader.all("script")) == 1
    assert "alert(" in text
    assert "<script>alert" not in text
    assert evil in "".join(reader.text).replace("\u00a0", " ")


def test_every_file_is_the_same_bytes_for_the_same_records(quick: Findings, quick_root: Path, written: Path) -> None:
    again = write(quick, quick_root / "again").parent
    names = {p.relative_to(again) for p in again.rglob("*") if p.is_file()}
    assert names == {p.relative_to(written.parent) for p in written.parent.rglob("*") if p.is_file()}
    for name in names:
        assert (again / name).read_bytes() == (written.parent / name).read_bytes(), name


def test_the_csv_holds_the_tables_numbers(html: str, quick: Findings) -> None:
    (table,) = quick.study.tables(quick)
    links = [a for a in read(html).all("a") if a.get("download") == "methods.csv"]
    text = base64.b64decode((links[0]["href"] or "").partition("base64,")[2]).decode()
    assert text == table_csv(table)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(table.rows) == 15
    for row, spoken in zip(table.rows, rows, strict=True):
        spread = row.values[2]
        assert isinstance(spread, Spread)
        assert float(spoken["Test accuracy (%)"]) == pytest.approx(spread.mean, abs=1e-12)
        assert float(spoken["Test accuracy (%) sd"]) == pytest.approx(spread.sd, abs=1e-12)
        assert spoken["Test accuracy (%) n"] == spoken["n"] == "2"
        assert told(spread, table.columns[2]) in html
        assert spoken["runs"] == short_ids(" ".join(row.runs))


def test_the_files_of_a_study_lie_where_they_should(written: Path) -> None:
    folder = written.parent
    assert folder.name == "quickstart-smoke"
    for name in ("tables/methods.md", "tables/methods.csv", "runs.csv", "cells.csv", "figures/accuracy.csv"):
        assert (folder / name).stat().st_size > 100
    svg = (folder / "figures/accuracy.svg").read_text(encoding="utf-8")
    assert "<svg" in svg
    assert "<dc:date>" not in svg
    assert (folder / "figures/accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_verdicts_stand_first_and_missing_runs_are_named(quick: Findings, tmp_path: Path) -> None:
    found, said = small(quick, "word")
    text = page(found, said, tmp_path)
    assert text.index("What was claimed") < text.index('id="t-t"') < text.index('id="f-f"') < text.index('id="how"')
    assert "1 of 2 runs are not finished" in text
    assert "unjudged" in text


def test_markdown_has_a_row_a_row_and_keeps_bars_apart() -> None:
    columns = (Column(title="a"), Column(title="b", unit="%"), Column(title="c", signed=True))
    row = Row(values=("x|y", Spread((1.0, 2.0)), Span(-1.0, 0.5)))
    table = Table(name="t", title="T", columns=columns, rows=(row,), caption="C")
    assert markdown(table).splitlines() == [
        "**T**", "", "| a | b (%) | c |", "| --- | ---: | ---: |", r"| x\|y | 1.50 ± 0.71 | −1.00 to +0.50 |", "", "C",
    ]  # fmt: skip


def test_missing_numbers_are_dashes_and_tiny_ones_are_not_zero() -> None:
    column = Column(title="x")
    assert told(None, column) == told(float("nan"), column) == "–"
    assert told(0.0004, column) == "0.0004"
    assert told(12345.678, column) == "12,345.68"
    assert tight("98 % with n = 3") == "98\u00a0% with n\u00a0=\u00a03"


def test_a_run_has_a_page_of_its_own(quick: Findings, tmp_path: Path) -> None:
    record = quick.of("rigl", density=0.02)[0]
    tables = [curve_table(record, most=3), layer_table(record)]
    assert [row.values[1] for row in tables[0].rows] == [0, 24, 48]
    assert sum(int(str(row.values[2])) for row in tables[1].rows) == record.wiring.nnz
    figures = run_figures(record)
    assert [figure.name for figure in figures] == ["curves", "degrees", "adjacency", "evolution"]
    text = run_page(record, record.id, tables, figures, tmp_path)
    assert read(text).all("figure")
    assert not re.search(r"https?://", text)


def test_a_down_sampled_picture_keeps_every_connection(quick: Findings) -> None:
    topology = quick.of("static", density=0.02)[0].wiring["fc1.weight"]
    picture, block = adjacency(topology, side=70)
    assert block == (5, 1)
    assert picture.shape == (60, 64)
    assert picture.sum() * 5 == pytest.approx(topology.nnz)
    uneven, block = adjacency(topology, side=37)
    assert block == (9, 2)
    assert 0 < uneven.max() <= 1
