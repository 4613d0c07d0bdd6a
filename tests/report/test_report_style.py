"""Colours: one a method, legible on light and dark, each told apart from the others."""

from __future__ import annotations

import pytest

from wirings.report.draw import plate
from wirings.report.style import COLOURS, INK, METHODS, PAPER, contrast, look_of, themed, variables
from wirings.studies.figures import Axis, Panel, Series


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
