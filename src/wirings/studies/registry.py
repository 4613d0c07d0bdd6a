"""Studies by name: every file of this folder that ends in ``study = Study(...)``, and plug-ins."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import warnings
from importlib.metadata import entry_points

from wirings.core.errors import SettingsError, nearest
from wirings.studies.study import Study

ENTRY_POINTS = "wirings.studies"


@functools.cache
def studies() -> dict[str, Study]:
    """Name -> study, the quickstart first; a plug-in that cannot be loaded is warned of and left out."""
    found: dict[str, Study] = {}
    package = importlib.import_module("wirings.studies")
    for module in pkgutil.iter_modules(package.__path__):
        study = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "study", None)
        if isinstance(study, Study):
            found[study.name] = study
    for point in entry_points(group=ENTRY_POINTS):
        try:
            study = point.load()
        except Exception as error:  # whatever a stranger's module raises, the others must stay usable
            warnings.warn(
                f"The study `{point.name}` ({point.value}) cannot be loaded: {error}. Mend or uninstall it.",
                stacklevel=2,
            )
            continue
        if isinstance(study, Study):
            found.setdefault(study.name, study)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "quickstart", item[0])))


def study_of(name: str) -> Study:
    """A study by its name.

    Raises:
        SettingsError: there is none of that name; the nearest one is named.
    """
    known = studies()
    if name not in known:
        raise SettingsError(f"`{name}` must be a known study. {nearest(name, known)}")
    return known[name]
