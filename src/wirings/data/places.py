"""Where data lies: the folders to look in."""

from __future__ import annotations

import os
from pathlib import Path

from wirings.core.cache import cache_folder


def download_folder() -> Path:
    """Where downloads go when nothing else was named."""
    return cache_folder() / "downloads"


def roots(root: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The folders to look in: ``root`` alone where it is given, else ``$WIRINGS_DATA`` and the downloads."""
    if root is not None:
        return (Path(root).expanduser(),)
    named = os.environ.get("WIRINGS_DATA")
    return (*((Path(named).expanduser(),) if named else ()), download_folder())
