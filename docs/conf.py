"""Sphinx settings. Pages that are lists are written here, so that nothing can be forgotten or outdated.

The API page comes from `wirings._NAMES` and from what the modules of `ASKED` hold, the table of studies from the
verdicts in ``results/``.
"""

import csv
import importlib
import inspect
from collections import Counter
from pathlib import Path

import wirings
from wirings.studies.registry import studies

project = "wirings"
author = "The wirings authors"
copyright = "2026, the wirings authors"
release = wirings.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.intersphinx", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "studies-table.md"]
html_theme = "furo"
html_title = "wirings"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 2
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing", "ref.python"]
intersphinx_mapping = {}


ASKED = (
    "wirings.analysis.degrees",
    "wirings.analysis.overlap",
    "wirings.analysis.paths",
    "wirings.analysis.collapse",
    "wirings.analysis.cost",
    "wirings.analysis.forecast",
    "wirings.analysis.profiles",
    "wirings.analysis.spectrum",
    "wirings.analysis.compression",
    "wirings.analysis.conservation",
    "wirings.analysis.similarity",
    "wirings.analysis.statistics",
    "wirings.analysis.claims",
    "wirings.procedures",
)
"""Modules whose names are not flat: what one asks of wirings and networks, in the order of the page ``analysis``."""


def _directive(module: str, name: str) -> list[str]:
    """How autodoc is told to describe one public name."""
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, type):
        return [f".. autoclass:: {module}.{name}", "   :members:"]
    return [f".. {'autofunction' if inspect.isfunction(value) else 'autodata'}:: {module}.{name}"]


def _own(name: str) -> list[str]:
    """The functions and classes of a module that are not flat: those it lists, else those that it defines."""
    module = importlib.import_module(name)
    flat = {id(getattr(wirings, public)) for public in wirings.__all__}
    listed = getattr(module, "__all__", None)
    names = listed or [n for n, v in vars(module).items() if getattr(v, "__module__", "") == name and n[0] != "_"]
    values = ((n, getattr(module, n)) for n in names)
    return [n for n, v in values if (inspect.isfunction(v) or isinstance(v, type)) and id(v) not in flat]


def _write_api_page() -> None:
    lines = ["# Every public name", "", "The headings say where each lives.", ""]
    lines += ["The first part is flat too, from `import wirings as wr`; the second is imported from its modules.", ""]
    for module, names in [*wirings._NAMES.items(), *((module, _own(module)) for module in ASKED)]:
        lines += [f"## {module}", ""]
        for name in names:
            lines += ["```{eval-rst}", *_directive(module, name), "```", ""]
    Path(__file__).with_name("api.md").write_text("\n".join(lines), encoding="utf-8")


def _write_studies_table() -> None:
    """A row a study that has a page: what was asked, and how many of its claims came out how on a laptop."""
    docs = Path(__file__).parent
    words = ("holds at reduced scale", "does not hold at reduced scale", "underpowered", "unjudged")
    lines = [
        "| Study | Paper | Question | Holds | Does not hold | Undecided | Unjudged |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, study in studies().items():
        if not (docs / "studies" / f"{name}.md").exists():
            continue
        verdicts = docs.parent / "results" / f"{name}-laptop" / "tables" / "claims.csv"
        counts = Counter[str]()
        if verdicts.exists():
            with verdicts.open(encoding="utf-8", newline="") as file:
                counts = Counter(row["Verdict"].split(":")[0] for row in csv.DictReader(file))
        told = [str(counts[word]) if counts else "–" for word in words]
        source, link = study.source.rstrip("."), f"[{name}](studies/{name}.md)"
        lines.append("| " + " | ".join([link, source, study.title, *told]) + " |")
    (docs / "studies-table.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


_write_api_page()
_write_studies_table()
