"""Sphinx settings. Pages that are lists are written here, so that nothing can be forgotten or outdated.

The API page comes from `wirings._NAMES`, the table of studies from the verdicts in ``results/``.
"""

import csv
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
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing", "ref.python"]
intersphinx_mapping = {}


def _directive(module: str, name: str) -> list[str]:
    """How autodoc is told to describe one public name."""
    value = getattr(wirings, name)
    if isinstance(value, type):
        return [f".. autoclass:: {module}.{name}", "   :members:"]
    return [f".. {'autofunction' if inspect.isfunction(value) else 'autodata'}:: {module}.{name}"]


def _write_api_page() -> None:
    lines = ["# Every public name", "", "Flat from `import wirings as wr`; the headings say where each lives.", ""]
    for module, names in wirings._NAMES.items():
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
