"""Where data lies: the folders to look in, and the cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$WIRINGS_CACHE``, or ``wirings`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    named = os.environ.get("WIRINGS_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "wirings"


def download_folder() -> Path:
    """Where downloads go when nothing else was named."""
    return cache_folder() / "downloads"


def roots(root: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The folders to look in: ``root`` alone where it is given, else ``$WIRINGS_DATA`` and the downloads."""
    if root is not None:
        return (Path(root).expanduser(),)
    named = os.environ.get("WIRINGS_DATA")
    return (*((Path(named).expanduser(),) if named else ()), download_folder())
