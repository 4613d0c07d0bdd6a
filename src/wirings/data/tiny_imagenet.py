"""Tiny ImageNet as its folder of JPEGs: train/<id>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt.

The labels of its test images were never published, so the validation images are the test set, as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wirings.core.errors import DataError
from wirings.data.files import missing
from wirings.data.image_data import Arrays, Images, Labels
from wirings.data.sources import Source

Listing = list[tuple[Path, int]]
"""Images and their labels."""


def find(source: Source, roots: Sequence[Path]) -> Path:
    """The folder with ``wnids.txt``.

    Raises:
        DataError: there is none.
    """
    for root in roots:
        for folder in (root / name for name in source.folders):
            if (folder / "wnids.txt").is_file():
                return folder
    raise missing(source, roots)


def key(folder: Path) -> str:
    """Hash over the names, sizes and times of all images: 110,000 files are not read again for each run."""
    digest = hashlib.sha256()
    train, test = listings(folder)
    for path, label in (*train, *test):
        about = path.stat()
        digest.update(f"{path.relative_to(folder)} {label} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def classes(folder: Path) -> tuple[str, ...]:
    """The WordNet ids of ``wnids.txt``, sorted; their places are the labels."""
    return tuple(sorted((folder / "wnids.txt").read_text().split()))


def listings(folder: Path) -> tuple[Listing, Listing]:
    """Training and test images with their labels.

    Raises:
        DataError: a part of the folder is missing.
    """
    ids = classes(folder)
    label = {name: i for i, name in enumerate(ids)}
    train = [(path, label[name]) for name in ids for path in _jpegs(folder / "train" / name / "images")]
    notes = folder / "val" / "val_annotations.txt"
    if not notes.is_file():
        raise DataError(
            f"`tiny-imagenet` in {folder} is incomplete: val/val_annotations.txt is missing. Copy it again."
        )
    test = []
    for line in notes.read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        path = folder / "val" / "images" / name
        if wnid not in label or not path.is_file():
            gone = f"val/images/{name} of class {wnid} is missing"
            raise DataError(f"`tiny-imagenet` in {folder} is damaged: {gone}. Copy it again.")
        test.append((path, label[wnid]))
    return train, test


def decode(folder: Path) -> Arrays:
    """All images as uint8 (N, 3, 64, 64); grey ones become RGB.

    Raises:
        DataError: Pillow is not installed, or an image is damaged or of another size than the first.
    """
    train, test = listings(folder)
    return Arrays(*_read(train), *_read(test))


def _jpegs(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if not found:
        raise DataError(f"`tiny-imagenet` is incomplete: there are no JPEG images in {folder}. Copy it again.")
    return found


def _read(listing: Listing) -> tuple[Images, Labels]:
    pillow = _pillow()
    images: Images | None = None
    for i, (path, _) in enumerate(listing):
        try:
            with pillow.open(path) as image:
                pixels = np.asarray(image.convert("RGB"), np.uint8).transpose(2, 0, 1)
        except Exception as wrong:  # a damaged JPEG can fail in any way
            raise DataError(f"`{path}` of `tiny-imagenet` is damaged: {wrong}. Copy it again.") from wrong
        if images is None:
            images = np.empty((len(listing), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise DataError(
                f"`{path}` of `tiny-imagenet` must be {images.shape[2]} × {images.shape[3]} pixels as the others. Got "
                f"{pixels.shape[1]} × {pixels.shape[2]}."
            )
        images[i] = pixels
    assert images is not None  # a listing is never empty
    return images, np.array([label for _, label in listing], np.int64)


def _pillow() -> Any:  # the module PIL.Image, which a fresh machine may lack
    try:
        from PIL import Image
    except ImportError as wrong:
        raise DataError("`tiny-imagenet` is a folder of JPEGs and needs Pillow: `pip install pillow`.") from wrong
    return Image
