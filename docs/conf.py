"""Sphinx settings. The API pages are written from `wirings._NAMES`, so that none of them can be forgotten."""

import inspect
from pathlib import Path

import wirings

project = "wirings"
author = "The wirings authors"
copyright = "2026, the wirings authors"
release = wirings.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.intersphinx", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
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


_write_api_page()
