"""How everything looks: one colour a method everywhere, for light and for dark, with sufficient contrast on both.

Drawings use the light colours; on a page every colour becomes a CSS variable, so that one drawing serves both themes.
"""

from __future__ import annotations

import hashlib

from wirings.studies import words

Dash = str | tuple[int, tuple[float, ...]]
"""A line's pattern as matplotlib takes it."""

PAPER = ("#ffffff", "#14171c")
"""Behind everything, light and dark."""

INK = {
    "ink": ("#1b2027", "#e8eaed"),
    "soft": ("#5b6470", "#a3abb6"),
    "edge": ("#828a95", "#717a87"),
    "rule": ("#d9dde2", "#343a43"),
    "link": ("#1a56b0", "#8ab8ff"),
}
"""Neutral colours by role: text and dense networks, what is beside the point, axes, lines between rows, links."""

COLOURS = {
    "blue": ("#1860bd", "#6aaeff"),
    "orange": ("#b54708", "#ffa45c"),
    "green": ("#147a45", "#54cf8e"),
    "violet": ("#7440c4", "#bfa0ff"),
    "red": ("#c3262e", "#ff8580"),
    "teal": ("#0a7682", "#45cfd9"),
    "magenta": ("#b3257d", "#ff88c7"),
    "brown": ("#7d5535", "#d4a680"),
    "olive": ("#69690b", "#c9c653"),
    "grey": ("#68707c", "#9aa3af"),
    "navy": ("#3d4b94", "#a4b1f5"),
}
"""Colours of methods; each has at least 4.5 : 1 against the paper of its theme, so that text may have it too."""

METHODS = {
    "dense": ("ink", "o"),
    "small-dense": ("ink", "s"),
    "static": ("grey", "o"),
    "rigl": ("blue", "o"),
    "set": ("orange", "s"),
    "dnw": ("green", "^"),
    "dnw-frozen": ("teal", "v"),
    "gradual": ("violet", "D"),
    "lottery": ("red", "P"),
    "snfs": ("navy", "s"),
    "top-kast": ("magenta", "o"),
    "edge-popup": ("brown", "^"),
    "gem-miner": ("teal", "D"),
    "granet": ("navy", "o"),
    "mest": ("brown", "s"),
    "srigl": ("navy", "^"),
    "synflow": ("magenta", "s"),
    "snip": ("olive", "o"),
    "grasp": ("brown", "o"),
    "grasp-synflow-data": ("orange", "^"),
    "magnitude": ("violet", "X"),
    "radix": ("blue", "X"),
    "expander": ("teal", "X"),
    "bernoulli": ("grey", "s"),
    "bi-regular": ("green", "P"),
    "x-net": ("orange", "X"),
    "smart-ratio": ("navy", "D"),
    "obd": ("violet", "^"),
    "one-time": ("magenta", "D"),
}
"""Method -> (colour, marker): never one alone."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


DASHES: tuple[Dash, ...] = ((0, (4.5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.4, 1.2, 1.4)), (0, (2.6, 1.2)))
"""Of lines that belong to a variant of a method."""

VARIANTS = {"re-initialised": 0, "shuffled": 1, "inverted": 2, "degrees kept": 3}
"""What was done to a method -> which dash and marker; the rest by its name."""


def look_of(method: str) -> tuple[str, str]:
    """(colour, marker) of a method; a variant has its parent's colour and another marker.

    One that nobody has named gets both from its name, the same everywhere.

    Example:
        >>> look_of("rigl"), look_of("rigl-structure")
        (('blue', 'o'), ('blue', 's'))
    """
    if not method:
        return "soft", "o"
    if method in METHODS:
        return METHODS[method]
    parent, done = words.lineage(method)
    if done and parent in METHODS:
        colour, own = METHODS[parent]
        others = [marker for marker in MARKERS if marker != own]
        return colour, others[_variant(done) % len(others)]
    number = _number(method)
    return sorted(COLOURS)[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]


def dash_of(method: str) -> Dash:
    """How a method's line is drawn: through, or dashed where it is a variant of another.

    Example:
        >>> dash_of("rigl"), dash_of("rigl-shuffled")
        ('-', (0, (1.2, 1.4)))
    """
    _, done = words.lineage(method)
    return DASHES[_variant(done) % len(DASHES)] if done and method not in METHODS else "-"


def _variant(done: tuple[str, ...]) -> int:
    return VARIANTS.get(done[-1], _number(done[-1]))


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def hue(name: str) -> str:
    """The light variant of a colour, as drawings have it."""
    return (COLOURS | INK)[name][0]


def variables(theme: int) -> str:
    """The CSS variables of a theme: 0 is light, 1 is dark."""
    pairs = {"paper": PAPER} | INK | COLOURS
    return "".join(f"--{name}:{colours[theme]};" for name, colours in pairs.items())


def themed(svg: str) -> str:
    """A drawing whose colours are CSS variables."""
    for name, (light, _) in (INK | COLOURS).items():
        svg = svg.replace(light, f"var(--{name})")
    return svg


def contrast(a: str, b: str) -> float:
    """The contrast of two colours after WCAG 2: 1 for the same, 21 for black on white.

    Example:
        >>> round(contrast("#000000", "#ffffff"))
        21
    """
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
