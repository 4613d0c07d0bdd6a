"""Sphinx settings. The API pages are written from `wirings._NAMES`, so that none of them can be forgotten."""

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


def _write_api_page() -> None:
    lines = ["# Every public name", "", "Flat from `import wirings as wr`; the headings say where each lives.", ""]
    for module, names in wirings._NAMES.items():
        lines += [f"## {module}", ""]
        for name in names:
            value = getattr(wirings, name)
            what = "autoclass" if isinstance(value, type) else "autofunction" if callable(value) else "autodata"
            kind = "autodata" if what == "autofunction" and not hasattr(value, "__name__") else what
            lines += ["```{eval-rst}", f".. {kind}:: {module}.{name}", "   :members:" if kind == "autoclass" else "", "```", ""]
    Path(__file__).with_name("api.md").write_text("\n".join(lines), encoding="utf-8")


_write_api_page()
