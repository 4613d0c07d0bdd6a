"""Data sets by name: `load` finds, checks, decodes once and maps them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wirings.core.errors import DataError, nearest
from wirings.data import cifar, gaussian_blobs, idx, mini, tiny_imagenet
from wirings.data.cache import cached
from wirings.data.files import find
from wirings.data.image_data import ImageData
from wirings.data.places import roots
from wirings.data.sources import SOURCES, Source


def load(name: str, root: str | os.PathLike[str] | None = None) -> ImageData:
    """A data set by name, with its hashes checked.

    ``mnist-mini`` ships with the package and ``gaussian-blobs`` is made; the others are sought under ``root``, else
    ``$WIRINGS_DATA``, else the cache's downloads, in the folder layouts that are usual, plain or packed.

    Example:
        >>> data = load("mnist-mini")
        >>> data.train_images.shape, data.classes
        ((10000, 1, 28, 28), 10)

    Args:
        name: one of `names()`; dashes, underscores and case do not matter ("CIFAR-10").
        root: the folder that holds the data sets.

    Raises:
        DataError: unknown name; files missing, truncated, or not the published ones.
    """
    known = canonical(name)
    if known == mini.NAME:
        return mini.load()
    if known == gaussian_blobs.NAME:
        return gaussian_blobs.blobs()
    return from_source(SOURCES[known], roots(root))


def names() -> tuple[str, ...]:
    """All data sets; the first two are there on every machine."""
    return (mini.NAME, gaussian_blobs.NAME, *SOURCES)


def canonical(name: str) -> str:
    """The proper name of a data set that was named loosely.

    Example:
        >>> canonical("CIFAR-10"), canonical("fashion_mnist")
        ('cifar10', 'fashion-mnist')

    Raises:
        DataError: no data set has such a name.
    """
    plain = {_squeezed(known): known for known in names()} | {"tinyimagenet200": "tiny-imagenet"}
    found = plain.get(_squeezed(str(name)))
    if found is None:
        raise DataError(f"There is no data set {name!r}. {nearest(str(name), names())}")
    return found


def locate(name: str, root: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder in which a data set's files lie, or None for those that need no files.

    Raises:
        DataError: unknown name, or the files are not there.
    """
    known = canonical(name)
    if known not in SOURCES:
        return None
    source = SOURCES[known]
    places = roots(root)
    return tiny_imagenet.find(source, places) if source.kind == "tiny-imagenet" else find(source, places).folder


def from_source(source: Source, places: Sequence[Path]) -> ImageData:
    """A published data set from the first of these folders that holds it."""
    if source.kind == "tiny-imagenet":
        folder = tiny_imagenet.find(source, places)
        key, classes = tiny_imagenet.key(folder), len(tiny_imagenet.classes(folder))
        return cached(source.name, key, classes, lambda: tiny_imagenet.decode(folder))
    found = find(source, places)
    decode = idx.decode if source.kind == "idx" else cifar.decode
    return cached(source.name, found.key(), source.classes, lambda: decode(found))


def _squeezed(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
