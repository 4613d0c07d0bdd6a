"""Every test here has a cache of its own; those that need the full data sets say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_NAMED = os.environ.get("WIRINGS_DATA")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for this test alone, and no WIRINGS_DATA."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("WIRINGS_CACHE", str(cache))
    monkeypatch.delenv("WIRINGS_DATA", raising=False)
    return cache


@pytest.fixture(scope="session")
def full_data() -> Path:
    """The folder WIRINGS_DATA named when the tests began."""
    if not _NAMED or not Path(_NAMED).is_dir():
        pytest.skip("needs the full data sets: set WIRINGS_DATA to a folder that holds mnist/ and the others")
    return Path(_NAMED)
