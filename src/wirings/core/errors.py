"""What goes wrong, in one sentence each; the command line turns these into exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WiringsError(Exception):
    """The base of every error that a user can mend: bad settings, files, data or networks."""


class WiringError(WiringsError, ValueError):
    """A wiring and a network do not belong together."""


class SettingsError(WiringsError, ValueError):
    """A settings file, preset or flag says something that cannot be."""


class DataError(WiringsError):
    """A data set is missing, truncated or not what its hash says."""


class RunError(WiringsError):
    """A run folder is in use, damaged, or does not fit what was asked."""


def reason_of(error: BaseException) -> str:
    """What went wrong, without number, path and full stop, for the end of a sentence that names the file.

    Example:
        >>> reason_of(FileNotFoundError(2, "No such file or directory", "runs/a.toml"))
        'No such file or directory'
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).rstrip(".")


def nearest(name: str, known: Iterable[str]) -> str:
    """The way out for a misspelt name.

    Example:
        >>> nearest("rigel", ["rigl", "set"])
        "Did you mean 'rigl'? Known: rigl, set."
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}."
