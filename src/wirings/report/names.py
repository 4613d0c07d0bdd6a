"""Names beside the ends of lines and beside points, where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wirings.report.style import PAPER, hue, look_of
from wirings.studies.figures import Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def name_ends(axes: Axes, panel: Panel) -> None:
    """Each line's name beside its last point, moved apart where they would touch."""
    if panel.labels != "direct" or panel.picture is not None:
        return
    named = [s for s in panel.series if s.label and s.style in ("line", "points", "level") and not s.quiet]
    early = [s for s in named if s.style == "line" and _end(axes, s)[0] < 0.9]
    beside = [s for s in named if s not in early and (s.style == "line" or (s.style == "level" and not s.across))]
    _name_points(axes, [s for s in named if s.style == "points"] + early)
    if not beside:
        return
    box = axes.get_window_extent()
    at = []
    for series in beside:
        y = series.y[0] if series.style == "level" else series.y[-1]
        x = series.x[-1] if series.x else None
        height = (axes.transData.transform((x if x is not None else axes.get_xlim()[0], y))[1] - box.y0) / box.height
        at.append((height, x, y, series))
    at.sort(key=lambda item: item[0])
    places = _spread_out([item[0] for item in at], 13.5 / box.height)
    apart = [abs(place - item[0]) * box.height > 3 for place, item in zip(places, at, strict=True)]
    for i, (place, (height, x, y, series)) in enumerate(zip(places, at, strict=True)):
        colour = hue(look_of(series.method)[0])
        touching = [j for j in (i - 1, i + 1) if 0 <= j < len(at) and abs(places[j] - place) * box.height < 15]
        moved = apart[i] or any(apart[j] for j in touching)
        end = (1.0, height) if x is None else axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
        start = (max(float(end[0]), 1.0) + 0.012, place)
        axes.annotate(
            series.label,
            xy=(float(end[0]) + 0.008, height),
            xytext=(start[0] + (14 / box.width if moved else 0), place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=10.5,
            annotation_clip=False,
            arrowprops=dict(_LEADER, color=colour) if moved else None,
        )


_LEADER: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2}
"""The thin line from a point to a name that had to move."""


def _end(axes: Axes, series: Series) -> tuple[float, float]:
    """The last point of a line, in shares of the axes."""
    x, y = axes.transAxes.inverted().transform(axes.transData.transform((series.x[-1], series.y[-1])))
    return float(x), float(y)


_PLACES = (
    (8, 0, "left"),
    (-8, 0, "right"),
    (0, 12, "center"),
    (0, -12, "center"),
    (5, 11, "left"),
    (5, -11, "left"),
    (5, 11, "right"),
    (5, -11, "right"),
)
"""Where a point's name may stand: right and up of the point, in points, and which side of the text that ties."""


def _name_points(axes: Axes, named: Sequence[Series]) -> None:
    """Each point's name at the first place beside it that is free; right of it for want of one; a line's at its end."""
    frame = axes.get_window_extent()
    marks = [axes.transData.transform((s.x[-1], s.y[-1])) for s in named]
    points = [axes.transData.transform(at) for s in named for at in zip(s.x, s.y, strict=True)]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    for series, (x, y) in zip(named, marks, strict=True):
        wide, high = 6.3 * len(series.label), 12.0
        boxes = [_box(x + dx, y + dy, wide, high, side) for dx, dy, side in _PLACES]
        free = [
            i
            for i, box in enumerate(boxes)
            if frame.x0 <= box[0] and box[2] <= frame.x1 + 6 and not any(_touch(box, other) for other in taken)
        ]
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        dx, dy, side = _PLACES[chosen]
        axes.annotate(
            series.label,
            xy=(series.x[-1], series.y[-1]),
            xytext=(dx, dy),
            textcoords="offset points",
            color=hue(look_of(series.method)[0]),
            ha=side,
            va="center",
            fontsize=10.5,
            bbox={"facecolor": PAPER[0], "linewidth": 0, "pad": 0.6},
            zorder=1.5,
        )


_Box = tuple[float, float, float, float]


def _box(x: float, y: float, wide: float, high: float, side: str) -> _Box:
    """Left, bottom, right and top of a text that is tied to a point by its side."""
    left = x - {"left": 0.0, "right": wide, "center": wide / 2}[side]
    return left, y - high / 2, left + wide, y + high / 2


def _touch(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved as little as needed to lie at least ``gap`` apart and within [0, 1] where they fit."""
    clusters: list[tuple[float, int]] = []  # (mean wish, count)
    for wish in heights:
        clusters.append((wish, 1))
        while len(clusters) > 1:
            (m1, n1), (m2, n2) = clusters[-2:]
            if m2 - m1 >= gap * (n1 + n2) / 2:
                break
            clusters[-2:] = [((m1 * n1 + m2 * n2) / (n1 + n2), n1 + n2)]
    placed = [mean + (i - (count - 1) / 2) * gap for mean, count in clusters for i in range(count)]
    over = max(placed[-1] - 1, 0.0)
    placed = [p - over for p in placed]
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed
