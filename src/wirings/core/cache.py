"""The one folder where things lie that can be made again: decoded data, measurements of this machine."""

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
