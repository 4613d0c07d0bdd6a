"""Decode once, then map: uint8 arrays on disk, written aside and moved into place."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wirings.core.cache import cache_folder
from wirings.data.image_data import Arrays, ImageData, described

FORMAT = 1
"""Part of every key: raise it when decoding changes."""


def cached(name: str, key: str, classes: int, decode: Callable[[], Arrays]) -> ImageData:
    """The data set from the cache, or decoded and put there.

    Processes that share pages share the memory; what is written to the arrays stays in the process that wrote it.
    Where the cache cannot be written the arrays are returned from memory, with a warning.

    Args:
        name: canonical name of the data set.
        key: hash of its source files.
        classes: how many classes.
        decode: reads the source files; called only if they are not in the cache.
    """
    home = cache_folder() / "decoded"
    place = home / f"{name}-{key[:16]}-{FORMAT}"
    found = _opened(place, name)
    if found:
        return found
    data: ImageData | None = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home / f".{name}.lock"):
            found = _opened(place, name)  # another process may have been faster
            if found:
                return found
            data = described(name, decode(), classes)
            _write(data, place)
    except OSError as wrong:
        warnings.warn(
            f"`{name}` cannot be cached in {home} ({wrong.strerror or wrong}), so every run decodes it again; set "
            "WIRINGS_CACHE to a folder that can be written.",
            stacklevel=3,
        )
        return data or described(name, decode(), classes)
    return _opened(place, name) or data


def _opened(place: Path, name: str) -> ImageData | None:
    """The maps in a cache folder, or None where it is absent or damaged."""
    try:
        about: dict[str, Any] = json.loads((place / "about.json").read_text())
        # "c": copy on write, which torch takes without a copy or a warning
        arrays = Arrays(*(np.load(place / f"{part}.npy", mmap_mode="c") for part in Arrays._fields))
        lengths = [list(a.shape) for a in arrays]
        if lengths != about["shapes"]:
            return None
        return ImageData(
            name=name,
            **arrays._asdict(),
            classes=about["classes"],
            mean=tuple(about["mean"]),
            std=tuple(about["std"]),
            sha256=about["sha256"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(data: ImageData, place: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=place.parent))
    try:
        arrays = Arrays(data.train_images, data.train_labels, data.test_images, data.test_labels)
        for part, array in arrays._asdict().items():
            np.save(aside / f"{part}.npy", array)
        about = {
            "name": data.name,
            "classes": data.classes,
            "mean": data.mean,
            "std": data.std,
            "sha256": data.sha256,
            "shapes": [a.shape for a in arrays],
        }
        (aside / "about.json").write_text(json.dumps(about, indent=1))
        if place.exists():
            if _opened(place, data.name):  # another process without our lock was faster
                return
            place.rename(aside / "damaged")
        with contextlib.suppress(FileExistsError):
            os.rename(aside, place)
        shutil.rmtree(place / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; on a file system without locks, everybody (moving into place keeps that safe)."""
    with path.open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
