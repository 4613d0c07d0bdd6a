"""Colours: one a method, legible on light and dark, each told apart from the others."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

import pytest

from wirings.report.draw import plate
from wirings.report.style import COLOURS, INK, METHODS, PAPER, contrast, dash_of, look_of, themed, variables
from wirings.report.svg import lighter
from wirings.studies import words
from wirings.studies.figures import Axis, Panel, Series

Scale = Literal["log", "sparsity"]


@pytest.mark.parametrize("theme", [0, 1])
def test_every_colour_is_legible_as_text_on_its_paper(theme: int) -> None:
    for name, colours in (COLOURS | {"ink": INK["ink"], "soft": INK["soft"], "link": INK["link"]}).items():
        assert contrast(colours[theme], PAPER[theme]) >= 4.5, name
    assert contrast(INK["edge"][theme], PAPER[theme]) >= 3


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_no_two_methods_look_the_same_and_no_two_colours_are_one() -> None:
    assert len(set(METHODS.values())) == len(METHODS)
    every = [light for light, _ in (COLOURS | INK).values()]
    assert len(set(every)) == len(every)


def test_a_method_that_nobody_named_keeps_its_look() -> None:
    assert look_of("my-own") == look_of("my-own")
    assert look_of("my-own")[0] in COLOURS
    assert look_of("dense")[0] == "ink"


def test_a_drawing_has_variables_instead_of_colours() -> None:
    lines = tuple(
        Series(label=method, method=method, x=(1.0, 0.1), y=(90.0 + i, 80.0 + i)) for i, method in enumerate(METHODS)
    )
    panel = Panel(x=Axis(label="sparsity", scale="sparsity"), y=Axis(label="accuracy (%)"), series=lines)
    drawn = plate(panel, "p")
    for light, _ in (COLOURS | INK).values():
        assert light not in drawn.svg
    assert "var(--blue)" in drawn.svg
    assert f"--blue:{COLOURS['blue'][1]};" in variables(1)
    assert themed(COLOURS["red"][0]) == "var(--red)"


def test_drawings_are_the_same_bytes_and_points_lie_inside() -> None:
    panel = Panel(series=(Series(label="a", method="rigl", x=(1.0, 2.0), y=(3.0, 4.0), runs=(("r",), ("s",))),))
    one, two = plate(panel, "p"), plate(panel, "p")
    assert one == two
    assert [point.run for point in one.points] == ["r", "s"]
    for point in one.points:
        assert 0 <= point.x <= one.width
        assert 0 <= point.y <= one.height
    assert one.points[0].y > one.points[1].y


def test_a_phone_gets_a_narrower_drawing_of_the_wide_panels_alone() -> None:
    wide, half = Panel(), Panel(size="half")
    assert plate(wide, "p", narrow=True).width < plate(wide, "p").width
    assert plate(half, "p", narrow=True).width == plate(half, "p").width


def test_a_variant_has_its_parents_colour_and_another_marker_and_dash() -> None:
    assert words.method("rigl-structure") == "RigL, re-initialised"
    assert words.method("dnw-frozen-3-masked") == "DNW, frozen after epoch 3, masked"
    assert words.method("set-point") == "set-point"
    for parent in ("rigl", "gradual", "dnw-frozen", "gem-miner"):
        looks = {f"{parent}-{what}": look_of(f"{parent}-{what}") for what in ("structure", "shuffled", "inverted")}
        assert {colour for colour, _ in looks.values()} == {look_of(parent)[0]}
        assert len({look_of(parent), *looks.values()}) == 4
        assert dash_of(parent) == "-"
        assert len({dash_of(name) for name in looks}) == 3


def test_methods_of_one_figure_have_colours_of_their_own() -> None:
    assert len({look_of(name)[0] for name in ("gem-miner", "snip", "synflow", "edge-popup", "lottery", "static")}) == 6


@pytest.mark.parametrize(("low", "high"), [(2.1, 2.4), (0.011, 0.019), (3.0, 3.0), (0.5, 80.0)])
@pytest.mark.parametrize("scale", ["log", "sparsity"])
def test_a_logarithmic_axis_without_round_numbers_has_ticks(low: float, high: float, scale: Scale) -> None:
    if scale == "sparsity":
        low, high = low / 100, high / 100
    line = Series(label="a", x=(low, high), y=(low, high))
    drawn = plate(Panel(x=Axis(scale=scale), y=Axis(scale="log"), series=(line,)), "p")
    assert len(re.findall(r"<text|<use", drawn.svg)) > 3


def test_lines_show_their_intervals() -> None:
    line = Series(label="a", method="rigl", x=(1.0, 2.0), y=(3.0, 4.0))
    bars = dataclasses.replace(line, low=(2.5, 3.5), high=(3.5, 4.5))
    with_, without = (plate(Panel(series=(series,), labels="none"), "p").svg for series in (bars, line))
    assert with_.count("stroke-opacity: 0.6") > without.count("stroke-opacity: 0.6")


def test_published_lines_are_dotted_and_hollow_beside_ours() -> None:
    line = Series(label="a", method="rigl", x=(1.0, 2.0), y=(3.0, 4.0))
    ours, theirs = (plate(Panel(series=(s,)), "p").svg for s in (line, dataclasses.replace(line, quiet=True)))
    assert "stroke-dasharray: 1,2" in theirs
    assert "stroke-dasharray" not in ours
    assert "fill: var(--paper); stroke: var(--blue)" in theirs
    assert "fill: var(--blue); stroke: var(--paper)" in ours


def test_a_value_that_is_a_bound_is_an_arrow() -> None:
    point = Series(label="a", method="rigl", x=(1.0,), y=(3.0,), style="points")
    drawn = {
        plate(Panel(series=(dataclasses.replace(point, bound=bound, across=across),), labels="none"), "p").svg
        for bound in ("", "below", "above")
        for across in (False, True)
    }
    assert len(drawn) == 5  # a plain point is the same either way


def test_a_light_drawing_is_the_same_drawing() -> None:
    many = "".join(f'<use xlink:href="#m" x="{i}.123456" y="0" style="fill: #123456"/>\n' for i in range(3))
    svg = f'<g id="line2d_1">\n <g>\n{many} </g>\n</g>\n<text x="1.00001">0.123456</text>\n'
    assert lighter(svg).splitlines() == [
        '<g id="line2d_1">', "<g>", '<g style="fill: #123456">', '<use xlink:href="#m" x="0.12" y="0"/>',
        '<use xlink:href="#m" x="1.12" y="0"/>', '<use xlink:href="#m" x="2.12" y="0"/>', "</g>", "</g>", "</g>",
        '<text x="1">0.123456</text>',
    ]  # fmt: skip


def test_an_interval_that_is_wide_leaves_the_panel_and_does_not_flatten_the_lines() -> None:
    line = Series(label="a", x=(1.0, 2.0), y=(3.0, 4.0), low=(-90.0, 3.5), high=(100.0, 4.5))
    drawn = plate(Panel(series=(line,), labels="none"), "p")
    assert drawn.points[0].y - drawn.points[1].y > 0.2 * drawn.height


def test_a_legend_never_covers_data() -> None:
    lines = tuple(
        Series(
            label=f"a rather long name {i}", method=m, x=tuple(range(9)), y=tuple((i * 7 + j * 5) % 9 for j in range(9))
        )
        for i, m in enumerate(("rigl", "set", "dnw", "static", "dense", "lottery"))
    )
    crowded = plate(Panel(series=lines, size="half", labels="legend"), "p")
    told = plate(Panel(x=Axis(label="sparsity"), series=lines, size="half", labels="legend"), "p").svg
    places = [(float(y), text) for y, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]*)', told)]
    axis = max(y for y, text in places if text == "sparsity")
    assert axis + 8 < min(y for y, text in places if text.startswith("a rather long name"))
    alone = plate(Panel(series=lines[:1], size="half", labels="none"), "p")
    assert crowded.height > alone.height


def test_variants_of_methods_that_share_a_figure_are_told_apart() -> None:
    labels = [f"{parent}-{what}" for parent in ("gradual", "one-time", "rigl", "dnw", "lottery", "static", "gem-miner")
              for what in ("structure", "shuffled", "inverted", "degrees")]  # fmt: skip
    assert len({(look_of(label), str(dash_of(label))) for label in labels}) == len(labels)
