"""``mnist-mini``: 10,000 training and 2,000 test images of MNIST, inside the package.

``scripts/make_mnist_mini.py`` makes the file from the full set; docs/data.md names its authors and terms.
"""

from __future__ import annotations

import hashlib
import lzma
from importlib import resources

import numpy as np

from wirings.core.errors import DataError
from wirings.data.image_data import Arrays, ImageData, described

NAME = "mnist-mini"
FILE = "mnist_mini.xz"
SHA256 = "1e5f2fc93102980212325219b27464160ebb2d83f843386cadc050cafa210fdf"
TRAIN, TEST, SIDE = 10_000, 2_000, 28


def load() -> ImageData:
    """The embedded digits: 1,000 training and 200 test images of each.

    Raises:
        DataError: the file in the installed package is missing or damaged.
    """
    try:
        packed = (resources.files("wirings.data") / FILE).read_bytes()
    except OSError as wrong:
        raise DataError(f"`{FILE}` is missing from the installed package. Install wirings again.") from wrong
    if hashlib.sha256(packed).hexdigest() != SHA256:
        raise DataError(f"`{FILE}` in the installed package is damaged. Install wirings again.")
    return described(NAME, unpack(packed), classes=10)


def pack(arrays: Arrays) -> bytes:
    """Labels, then pixels, all as bytes, training before test, compressed by LZMA."""
    labels = np.concatenate([arrays.train_labels, arrays.test_labels]).astype(np.uint8)
    pixels = np.concatenate([arrays.train_images, arrays.test_images])
    # no literal-position bits and four context bits: what suits a stream of independent bytes
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
    return lzma.compress(labels.tobytes() + pixels.tobytes(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)


def unpack(packed: bytes) -> Arrays:
    """The arrays that `pack` was given."""
    raw = np.frombuffer(bytearray(lzma.decompress(packed)), np.uint8)  # a bytearray, so that torch may share it
    count = TRAIN + TEST
    labels = raw[:count].astype(np.int64)
    images = raw[count:].reshape(count, 1, SIDE, SIDE)
    return Arrays(images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:])
