"""A page that everybody can read: what checkers of accessibility ask, and what a browser says of it."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_page import SEEDS, made_page, made_up, run_id

from wirings.report.page import page
from wirings.report.style import COLOURS, INK, PAPER, contrast
from wirings.studies.figures import Figure, Panel, Series

VOID = {"meta", "br", "img", "input", "hr", "link"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Node:
    """An element, its attributes, what stands in it, and what it stands in."""

    def __init__(self, tag: str, attrs: dict[str, str | None], parent: Node | None) -> None:
        self.tag, self.attrs, self.parent = tag, attrs, parent
        self.children: list[Node] = []
        self.words: list[str] = []

    def all(self, *tags: str) -> list[Node]:
        found = [self] if self.tag in tags else []
        return [*found, *(node for child in self.children for node in child.all(*tags))]

    def text(self) -> str:
        return "".join(self.words) + "".join(child.text() for child in self.children)

    def within(self, name: str, value: str) -> bool:
        return self.attrs.get(name) == value or (self.parent is not None and self.parent.within(name, value))


class Tree(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = self.at = Node("", {}, None)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.at = self.at.children[-1]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Node(tag, dict(attrs), self.at))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.at.tag == tag
            assert self.at.parent is not None
            self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.words.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return made_page()


@pytest.fixture(scope="module")
def tree(html: str) -> Node:
    return Tree(html).root


def test_the_page_has_a_language_a_title_one_main_part_and_one_first_heading(tree: Node) -> None:
    assert tree.all("html")[0].attrs["lang"] == "en"
    assert tree.all("title")[0].text().strip() == tree.all("h1")[0].text().strip() == "A page of everything"
    assert len(tree.all("main")) == len(tree.all("h1")) == 1
    assert "width=device-width" in str([meta.attrs for meta in tree.all("meta")])


def test_headings_go_down_one_step_at_a_time(tree: Node) -> None:
    levels = [int(node.tag[1]) for node in tree.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_picture_says_what_it_shows_and_holds_nothing_to_press(tree: Node) -> None:
    drawings = tree.all("svg")
    assert drawings
    for drawing in drawings:
        assert drawing.within("role", "img") or drawing.within("aria-hidden", "true")
    pictures = [node for node in tree.all("div") if node.attrs.get("role") == "img"]
    assert len(pictures) == 4  # the wide panel for a desk and for a phone, and two others
    for picture in pictures:
        assert len(picture.attrs["aria-label"] or "") > 20
        assert not picture.all("a", "button")
    assert not tree.all("img")


def test_heads_of_tables_say_what_they_are_heads_of_and_rows_are_complete(tree: Node) -> None:
    tables = tree.all("table")
    assert len(tables) >= 4
    for table in tables:
        heads = table.all("th")
        assert all(head.attrs.get("scope") == "col" and head.text().strip() for head in heads)
        assert {len(row.all("td")) for row in table.all("tbody")[0].all("tr")} == {len(heads)}


def test_links_and_summaries_have_words_and_hidden_ones_are_not_reached_by_keys(tree: Node) -> None:
    for link in tree.all("a"):
        if link.within("aria-hidden", "true"):
            assert link.attrs["tabindex"] == "-1"
        else:
            assert link.text().strip()
    assert all(node.text().strip() for node in tree.all("summary", "button"))
    for field in tree.all("input", "select", "textarea"):
        assert field.attrs.get("aria-label") or field.attrs.get("id")


def test_no_name_is_given_twice_and_none_is_asked_for_in_vain(tree: Node, html: str) -> None:
    def every(node: Node) -> list[Node]:
        return [node, *(n for child in node.children for n in every(child))]

    nodes = every(tree)
    ids = Counter(node.attrs["id"] for node in nodes if node.attrs.get("id"))
    assert ids.most_common(1)[0][1] == 1
    for node in nodes:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert set((node.attrs.get(name) or "").split()) <= set(ids)
        href = node.attrs.get("href") or ""
        assert not href.startswith("#") or href[1:] in ids, href
    assert not re.search(r"https?://", html)


@pytest.mark.parametrize("theme", [0, 1])
def test_every_pair_of_text_and_ground_has_contrast(theme: int, html: str) -> None:
    """Plain text, links, verdicts and captions on the page, on a row under the pointer and on a row linked to."""
    colours = {name: pair[theme] for name, pair in (INK | COLOURS).items()}
    css = re.search(r"<style>(.*?)</style>", html, re.S)
    assert css is not None
    texts = set(re.findall(r"[;{]color:var\(--(\w+)\)", css[1])) - {"paper"}
    assert {"ink", "soft", "link", "green", "red"} <= texts
    under = {share: _mixed(colours["rule"], PAPER[theme], share) for share in (0.0, 0.35)}
    for name in texts:
        for share, ground in under.items():
            assert contrast(colours[name], ground) >= 4.5, (name, share)
    target = _mixed(colours["blue"], PAPER[theme], 0.16)
    assert "var(--blue) 16%" in css[1]
    assert "var(--rule) 35%" in css[1]
    assert min(contrast(colours[name], target) for name in ("ink", "link")) >= 4.5
    assert contrast(PAPER[theme], colours["ink"]) >= 4.5  # the value at the pointer


def _mixed(over: str, under: str, share: float) -> str:
    """``color-mix`` of a colour with what is behind it."""
    pairs = [(int(over[i : i + 2], 16), int(under[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def test_verdicts_are_short_and_lead_to_their_runs_and_their_file(tree: Node) -> None:
    (table,) = [t for t in tree.all("table") if t.attrs.get("class") == "cards"]
    heads = [head.text() for head in table.all("th")]
    assert heads == ["Claim", "What is claimed", "Verdict", "Effect, 95 % interval", "n", "Published", "Runs"]
    rows = table.all("tbody")[0].all("tr")
    words = [row.all("span")[0] for row in rows]
    assert [w.attrs["class"] for w in words] == ["word yes", "word no", "word open", "word open"]
    cells = rows[0].all("td")
    assert cells[1].words == ["It is so at 10", "."]
    assert cells[1].all("sup")[0].text() == "2.5"
    assert "1.04" in cells[3].text()
    assert cells[5].text() == "1.125"
    assert {a.attrs["href"] for a in cells[6].all("a")} == {f"#run-{run_id('rigl', 0.02, seed)}" for seed in SEEDS}
    assert rows[3].all("td")[6].text() == "x-s9", "a run that is not finished is named, and leads nowhere"
    assert [a.text() for a in tree.all("a") if a.attrs.get("download") == "claims.csv"] == ["claims.csv"]


def test_many_runs_are_folded_and_few_stand_in_their_row(tree: Node) -> None:
    table = tree.all("table")[1]
    few, *_, many = [row.all("td")[-1] for row in table.all("tbody")[0].all("tr")]
    assert not few.all("details")
    assert [a.text() for a in few.all("a")] == ["s0", "s1", "s2"]
    assert many.all("summary")[0].text() == "6 runs"
    assert len(many.all("a")) == 6
    assert "SNIP" in many.all("p")[0].text()


def test_every_point_says_its_value_and_leads_to_a_run(tree: Node) -> None:
    points = [a for svg in tree.all("svg") if svg.attrs.get("class") == "over-points" for a in svg.all("a")]
    assert len(points) == 27  # three lines of three points: at a desk, on a phone, in the second figure
    for point in points:
        assert (point.attrs.get("href") or "").startswith("#run-")
        assert re.search(r"sparse · accuracy [\d.]+ % · 95 % interval [\d.]+ to [\d.]+ · n = 6", point.text())


def test_a_heavy_figure_keeps_its_numbers_in_a_file_beside_the_page() -> None:
    found, said = made_up()
    series = Series(label="long", x=tuple(map(float, range(4000))), y=(0.5,) * 4000)
    figure = Figure(name="long", title="t", caption="c", alt="a", panels=(Panel(series=(series,)),))
    text = page(found, dataclasses.replace(said, figures=(figure,)), Path("r"), ("figures/long.svg",))
    links = [a.attrs.get("href") for a in Tree(text).root.all("a") if a.text().startswith("long.")]
    assert links == ["figures/long.csv", "figures/long.svg"]


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the page in")
def test_a_browser_opens_the_page_without_complaint_and_sorts_its_tables(html: str, tmp_path: Path) -> None:
    press = """<script>
    const table = document.querySelectorAll("table[data-sortable]")[1];
    const button = table.querySelectorAll("th button")[2];
    const column = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[2].dataset.key));
    button.click(); document.body.dataset.down = column().join(" ");
    button.click(); document.body.dataset.up = column().join(" ");
    const point = document.querySelector(".over-points a");
    point.dispatchEvent(new PointerEvent("pointerenter", {clientX: 200, clientY: 200}));
    document.body.dataset.wide = document.documentElement.scrollWidth <= innerWidth;
    </script></body>"""
    file = tmp_path / "page.html"
    file.write_text(html.replace("</body>", press), encoding="utf-8")
    assert BROWSER is not None
    made = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900", "--dump-dom",
         f"{file.as_uri()}#run-{run_id('snip', 0.02, 5)}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in made.stderr, made.stderr
    body = Tree(made.stdout).root.all("body")[0]
    down, up = ([float(v) for v in (body.attrs[f"data-{way}"] or "").split()] for way in ("down", "up"))
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)
    assert len(set(up)) == 3
    (tip,) = [node for node in body.all("div") if node.attrs.get("id") == "tip"]
    assert "90 % sparse" in tip.text()
    (runs,) = [node for node in body.all("details") if node.attrs.get("id") == "runs"]
    assert "open" in runs.attrs, "a link to a run opens the table that holds it"
    assert body.attrs["data-wide"] == "true", "on a phone nothing reaches over the page's edge"
