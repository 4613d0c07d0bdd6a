"""SVG as text: fewer bytes for the same drawing, and what changes where it stands inside a page."""

from __future__ import annotations

import re

from wirings.report.style import PAPER, themed


def lighter(svg: str) -> str:
    """The same drawing in fewer bytes: places to a hundredth of a pixel, and neighbours that look alike told so once.

    Example:
        >>> lighter('<path d="M 1.23456 7 L 30.0001 2"/>')
        '<path d="M1.23 7L30 2"/>'
    """
    svg = re.sub(r"(?m)^[ \t]+|[ \t]+$", "", svg)
    svg = re.sub(r'(?<= )(d|x|y|transform)="([^"]*)"', lambda m: f'{m[1]}="{_NUMBER.sub(_hundredths, m[2])}"', svg)
    svg = re.sub(r'(?<= )d="[^"]*"', lambda m: re.sub(r"\s*([MLQCz])\s*", r"\1", m[0]), svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = _ALONE.sub(r"\1", _ALONE.sub(r"\1", svg))
    svg = svg.replace(f"{_FONT}; ", "").replace("</style>", f"text{{{_FONT}}}</style>", 1)
    return _ALIKE.sub(lambda m: f"<g{m[2]}>\n{m[0].replace(m[2], '')}</g>\n", svg)


_FONT = "font-family: 'DejaVu Sans', sans-serif"

_NUMBER = re.compile(r"-?\d+\.\d{3,}")

_ALONE = re.compile(r'<g(?: id="(?:line2d|text)_\d+")?>\n(<[^>]*/>\n|<text [^>]*>[^<]*</text>\n)</g>\n')
"""A group of one, which nothing points at."""

_ALIKE = re.compile(r'<(use|path) [^>]*?((?: clip-path="[^"]*")? style="[^"]*")/>\n(?:<\1 [^>]*?\2/>\n)+')
"""Points or lines one after the other that are cut off and styled alike."""


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def inline(svg: str, name: str) -> str:
    """The ``<svg>`` element for inside a page: no prolog, no ids but those that are pointed at, the page's font.

    ``name`` keeps its inner references apart from those of other drawings.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    svg = svg.replace(f"text{{{_FONT}}}", "")
    svg = re.sub(r"font-family:[^;\"]*;?\s*", "", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"\n\s*", "\n", svg)
    return themed(svg.replace(PAPER[0], "var(--paper)")).strip()
