"""Figures drawn: with matplotlib, as SVG that is the same bytes for the same figure, and as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wirings.report.names import name_ends
from wirings.report.style import COLOURS, INK, PAPER, dash_of, hue, look_of
from wirings.report.svg import inline, lighter
from wirings.studies import words
from wirings.studies.figures import Axis, Figure, Panel, Picture, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure as Drawing
    from matplotlib.transforms import Transform

SIZES = {"wide": (680.0, 390.0), "half": (380.0, 280.0), "small": (300.0, 215.0), "tile": (140.0, 140.0)}
"""Width and height of panels, in points, which are CSS pixels on the page."""

NARROW = (350.0, 330.0)
"""The wide panel on a phone."""

_STYLE: Any = {  # Any: matplotlib types its settings by their names
    "svg.fonttype": "none",
    "svg.hashsalt": "wirings",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK["edge"][0],
    "axes.labelcolor": INK["soft"][0],
    "axes.titlecolor": INK["ink"][0],
    "axes.linewidth": 0.8,
    "text.color": INK["ink"][0],
    "xtick.color": INK["edge"][0],
    "ytick.color": INK["edge"][0],
    "xtick.labelcolor": INK["soft"][0],
    "ytick.labelcolor": INK["soft"][0],
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Point:
    """Where a point of a panel lies, in the panel's own units from its upper left corner, and what it says."""

    x: float
    y: float
    text: str
    run: str


@dataclass(frozen=True)
class Plate:
    """A panel as it stands on a page.

    Args:
        svg: its ``<svg>`` element, with CSS variables for colours, without ids of its own.
        points: what can be hovered.
    """

    svg: str
    width: float
    height: float
    points: tuple[Point, ...]


def plate(panel: Panel, name: str, *, narrow: bool = False) -> Plate:
    """A panel for a page; ``name`` keeps its inner references apart from those of others.

    ``narrow``: as a phone shows it.
    """
    width, height = NARROW if narrow and panel.size == "wide" else SIZES[panel.size]
    with _drawing(width, height) as drawing:
        axes = drawing.subplots()
        _paint(axes, panel)
        _settle(drawing, [(axes, panel)])
        height = drawing.get_figheight() * 72
        points = tuple(_points(axes, panel, height))
        svg = _svg(drawing)
    return Plate(svg=inline(svg, name), width=width, height=height, points=points)


def whole(figure: Figure) -> dict[str, bytes]:
    """A figure with all its panels on white, as the bytes of files: ``{"svg": ..., "png": ...}``."""
    columns = min({"wide": 1, "half": 2, "small": 3, "tile": 5}[figure.panels[0].size], len(figure.panels))
    rows = math.ceil(len(figure.panels) / columns)
    width, height = SIZES[figure.panels[0].size]
    with _drawing(width * columns, (height + 26) * rows) as drawing:
        places = list(drawing.subplots(rows, columns, squeeze=False).flat)
        for axes, panel in zip(places, figure.panels, strict=False):
            _paint(axes, panel)
            if panel.title:
                axes.set_title(panel.title, pad=20 if panel.y.label else 8)
        for axes in places[len(figure.panels) :]:
            axes.set_axis_off()
        _settle(drawing, list(zip(places, figure.panels, strict=False)), down=rows)
        out = io.BytesIO()
        drawing.savefig(out, format="png", dpi=144, facecolor=PAPER[0], metadata={"Software": None})
        return {"svg": _svg(drawing, opaque=True).encode(), "png": out.getvalue()}


def _settle(drawing: Drawing, parts: Sequence[tuple[Axes, Panel]], *, down: int = 1) -> None:
    """Lay the drawing out, name the lines where they end, lay out again for the names, and leave it so.

    A legend that would cover data goes below its panel, and the drawing grows for it, ``down`` panels high.
    """
    drawing.draw_without_rendering()
    lines = 0
    for axes, panel in parts:
        name_ends(axes, panel)
        if _covered(axes):
            lines = max(lines, _legend_below(axes))
    if lines:
        drawing.set_figheight(drawing.get_figheight() + down * (lines * 15.5 + 8) / 72)
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Drawing]:
    import matplotlib
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context(_STYLE):
        drawing = Drawing(figsize=(width / 72, height / 72), dpi=72)
        drawing.set_layout_engine("constrained", w_pad=2 / 72, h_pad=2 / 72, wspace=0.06, hspace=0.06)
        yield drawing


def _svg(drawing: Drawing, *, opaque: bool = False) -> str:
    out = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    drawing.savefig(out, format="svg", dpi=72, metadata=metadata, facecolor=PAPER[0] if opaque else "none")
    return lighter(out.getvalue())


# ---------------------------------------------------------------------- one panel


def _paint(axes: Axes, panel: Panel) -> None:
    if panel.picture is not None:
        _picture(axes, panel.picture)
        return
    barred = [s for s in panel.series if s.style == "line" and any(a < b for a, b in zip(s.low, s.high, strict=True))]
    for series in panel.series:
        _draw(axes, series, barred.index(series) - (len(barred) - 1) / 2 if series in barred else 0.0)
    _axis(axes, "x", panel.x)
    _axis(axes, "y", panel.y)
    _reach(axes, panel)
    if panel.labels == "legend" and any(s.label for s in panel.series):
        axes.legend(loc="best", **_LEGEND)


_LEGEND: Any = {"handlelength": 1.6, "borderaxespad": 0.2, "labelspacing": 0.3, "columnspacing": 1.4}


def _reach(axes: Axes, panel: Panel) -> None:
    """Intervals of lines may stretch a panel to three times the height of its values; wider ones leave it."""
    lines = [s for s in panel.series if s.style == "line" and s.low and s.y]
    if not lines or panel.y.scale != "linear" or panel.y.low is not None or panel.y.high is not None:
        return
    values = [y for s in panel.series if s.style in ("line", "points", "level") and not s.across for y in s.y]
    least, most = min(values), max(values)
    span = most - least
    low = max(min(min(s.low) for s in lines), least - span)
    high = min(max(max(s.high) for s in lines), most + span)
    if span > 0:
        low, high = min(low, least), max(high, most)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _covered(axes: Axes) -> bool:
    """Whether the legend lies on a line or a point."""
    from matplotlib.collections import LineCollection

    legend = axes.get_legend()
    if legend is None:
        return False
    box = legend.get_window_extent()
    lines = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    lines += [path.transformed(c.get_transform()) for c in bars for path in c.get_paths()]
    points = [c.get_offset_transform().transform(c.get_offsets()) for c in axes.collections if c not in bars]
    return any(path.intersects_bbox(box, filled=False) for path in lines) or any(
        bool(((box.x0 <= at[:, 0]) & (at[:, 0] <= box.x1) & (box.y0 <= at[:, 1]) & (at[:, 1] <= box.y1)).any())
        for at in points
    )


def _legend_below(axes: Axes) -> int:
    """Put the legend below the panel's axis, in as many columns as fit; how many rows it has."""
    from matplotlib.transforms import ScaledTranslation

    legend = axes.get_legend()
    assert legend is not None
    box, frame = legend.get_window_extent(), axes.get_window_extent()
    count = len(legend.get_texts())
    columns = max(1, min(count, int(frame.width // (box.width + 8))))
    # points, not a share of a height that the legend itself is about to change
    under = ScaledTranslation(0, -(34 if axes.get_xlabel() else 20) / 72, axes.figure.dpi_scale_trans)
    place = {"bbox_to_anchor": (-0.01, 0), "bbox_transform": axes.transAxes + under}
    axes.legend(loc="upper left", ncols=columns, **place, **_LEGEND)
    return math.ceil(count / columns)


_DOTS = (0, (1, 2))
"""The line of what lies behind the message."""

_ARROWS = {("below", False): "v", ("above", False): "^", ("below", True): "<", ("above", True): ">"}
"""(where the values lie, whether along x) -> marker."""

STEP = 2.6
"""Points by which lines with intervals stand beside each other, so that their bars do not cover each other."""


def _draw(axes: Axes, series: Series, aside: float) -> None:
    name, marker = look_of(series.method)
    colour = hue(name)
    if series.style == "level":
        draw = axes.axvline if series.across else axes.axhline
        value = series.x[0] if series.across else series.y[0]
        draw(value, color=colour, linewidth=1.2, linestyle=(0, (4, 2.5)), zorder=1)
    elif series.style == "steps":
        axes.stairs(series.y, series.x, color=colour, fill=True, linewidth=0, alpha=0.16 if series.quiet else 0.22)
        axes.stairs(series.y, series.x, color=colour, linewidth=1.1 if series.quiet else 1.6, label=series.label)
    elif series.style == "trace":
        axes.plot(series.x, series.y, color=colour, linewidth=0.9, alpha=0.45, solid_joinstyle="round")
    elif series.style == "line":
        size = 8.0 if marker in "PX" else 6.4
        look: Any = {"linewidth": 1.9, "linestyle": dash_of(series.method), "markeredgecolor": PAPER[0],
                     "markeredgewidth": 0.8}  # fmt: skip
        if series.quiet:
            look = {"linewidth": 1.0, "linestyle": _DOTS, "markerfacecolor": PAPER[0], "markeredgewidth": 1.2}
        drawn: list[Any] = axes.plot(
            series.x, series.y, color=colour, marker=marker, markersize=size, label=series.label,
            solid_capstyle="round", clip_on=False, **look,
        )  # fmt: skip
        if series.low:
            drawn.append(_bars(axes, series, colour))
        for artist in drawn if aside else ():  # after it is there: the axes' limits are those of the data
            artist.set_transform(_beside(axes, aside))
    else:
        if series.low:
            _bars(axes, series, colour)
        size, alpha = (14, 0.45) if series.quiet else (44, 1.0)
        if series.bound:
            marker = _ARROWS[series.bound, series.across]
        axes.scatter(
            series.x, series.y, s=size, marker=marker, color=colour, alpha=alpha, linewidths=0, label=series.label,
            zorder=2.5 if series.quiet else 3, clip_on=False,
        )  # fmt: skip


def _beside(axes: Axes, steps: float) -> Transform:
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure()
    assert figure is not None
    return axes.transData + ScaledTranslation(steps * STEP / 72, 0, figure.dpi_scale_trans)


def _bars(axes: Axes, series: Series, colour: str) -> LineCollection:
    """Intervals: thinner behind lines, where those of several methods stand at the same place."""
    look: Any = {"color": colour, "linewidth": 2.4, "alpha": 0.75}
    if series.style == "line":
        look = {"color": colour, "linewidth": 1.5, "alpha": 0.6, "zorder": 1.8}
    if series.across:
        return axes.hlines(series.y, series.low, series.high, **look)
    return axes.vlines(series.x, series.low, series.high, **look)


def _picture(axes: Axes, picture: Picture) -> None:
    """The colour's own pixels, as opaque as the value is large: it works on light and dark alike."""
    full = picture.full or float(picture.values.max()) or 1.0
    shade = np.clip((picture.values - picture.none) / max(full - picture.none, 1e-12), 0, 1)
    light, dark = (COLOURS | INK)[look_of(picture.method)[0]]
    middle = [(int(light[i : i + 2], 16) + int(dark[i : i + 2], 16)) // 2 for i in (1, 3, 5)]
    pixels = np.empty((*shade.shape, 4), dtype=np.uint8)
    pixels[..., :3] = middle
    pixels[..., 3] = np.round(255 * shade)
    axes.imshow(pixels, interpolation="none", aspect="auto" if max(shade.shape) > 3 * min(shade.shape) else "equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _axis(axes: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    line = axes.xaxis if which == "x" else axes.yaxis
    limits = axes.set_xlim if which == "x" else axes.set_ylim
    scale = axes.set_xscale if which == "x" else axes.set_yscale
    if which == "y" and axis.label:  # horizontal, above the axis: read without turning the head
        axes.annotate(
            axis.label, xy=(0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points",
            color=INK["soft"][0], ha="left", va="bottom", annotation_clip=False,
        )  # fmt: skip
    elif axis.label:
        axes.set_xlabel(axis.label, loc="left")
    if axis.names:
        line.set_major_locator(FixedLocator(range(len(axis.names))))
        line.set_major_formatter(FuncFormatter(lambda value, _: axis.names[round(value)]))
        limits(*((len(axis.names) - 0.5, -0.5) if which == "y" else (-0.5, len(axis.names) - 0.5)))
        line.set_tick_params(length=0, labelcolor=INK["ink"][0])
        return
    if axis.scale != "linear":
        scale("log")
        line.set_minor_locator(NullLocator())
        line.set_minor_formatter(NullFormatter())
        low, high = limits()
        ticks = axis.ticks or _log_ticks(low, high)
        line.set_major_locator(FixedLocator(_apart(ticks)))
        tell = words.sparsity if axis.scale == "sparsity" else lambda value: f"{value:g}"
        line.set_major_formatter(FuncFormatter(lambda value, _: tell(value)))
        if axis.scale == "sparsity":
            limits(high, low)
    else:
        line.set_major_locator(
            FixedLocator(axis.ticks) if axis.ticks else MaxNLocator(5 if which == "y" else 6, steps=[1, 2, 2.5, 5, 10])
        )
    if axis.low is not None or axis.high is not None:
        low, high = limits()
        limits(low if axis.low is None else axis.low, high if axis.high is None else axis.high)


def _log_ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers for a logarithmic axis; on one too short for two of them, what a linear one would have."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(low, high), max(low, high)
    found = tuple(_round_ticks(low, high))
    if len(found) > 1:
        return found
    finer = (round(float(tick), 12) for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    return tuple(tick for tick in finer if low <= tick <= high) or found or (low,)


def _round_ticks(low: float, high: float) -> Iterator[float]:
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for digit in (1, 2, 5):
            if low <= digit * 10.0**power <= high:
                yield digit * 10.0**power


def _apart(ticks: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic axis that do not touch: the outer ones and the even ones first."""
    if not ticks:
        return []
    kept: list[float] = []
    ordered = [ticks[-1], ticks[0], *ticks[1:-1]] if len(ticks) > 1 else list(ticks)
    span = abs(math.log(max(ticks) / min(ticks))) or 1.0
    for tick in ordered:
        if all(abs(math.log(tick / other)) > 0.09 * span for other in kept):
            kept.append(tick)
    return sorted(kept)


# ---------------------------------------------------------------------- what can be hovered


def _points(axes: Axes, panel: Panel, height: float) -> Iterator[Point]:
    for series in panel.series:
        if series.style not in ("line", "points"):
            continue
        for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            right, up = axes.transData.transform((x, y))
            runs = series.runs[i] if series.runs else ()
            parts = [series.label, _said(panel.x, x), _said(panel.y, y)]
            if series.low:
                parts.append(f"95 % interval {series.low[i]:.4g} to {series.high[i]:.4g}")
            if len(runs) > 1:
                parts.append(f"n = {len(runs)}")
            yield Point(round(float(right), 1), round(height - float(up), 1), " · ".join(p for p in parts if p),
                        runs[0] if runs else "")  # fmt: skip


def _said(axis: Axis, value: float) -> str:
    if axis.names:
        return axis.name_at(value)
    if axis.scale == "sparsity":
        return f"{words.sparsity(value)} sparse"
    return f"{axis.label.split(' (')[0]} {value:.4g}{_unit(axis.label)}"


def _unit(label: str) -> str:
    unit = label.rpartition("(")[2].removesuffix(")") if "(" in label else ""
    return f" {unit}" if unit else ""
