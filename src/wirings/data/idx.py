"""The IDX format of MNIST and Fashion-MNIST: a magic number, big-endian sizes, bytes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wirings.core.errors import DataError
from wirings.data.files import Found
from wirings.data.image_data import Arrays


def decode(found: Found) -> Arrays:
    """The four IDX files as images (N, 1, 28, 28) and labels (N,)."""

    def images(name: str) -> NDArray[np.uint8]:
        return parse(found.read(name), dimensions=3, what=name)[:, None]

    def labels(name: str) -> NDArray[np.int64]:
        return parse(found.read(name), dimensions=1, what=name).astype(np.int64)

    train_images, train_labels, test_images, test_labels = (file.name for file in found.source.files)
    return Arrays(images(train_images), labels(train_labels), images(test_images), labels(test_labels))


def parse(raw: bytes, *, dimensions: int, what: str) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Example:
        >>> parse(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), dimensions=1, what="labels")
        array([7, 9], dtype=uint8)

    Raises:
        DataError: another magic number, or fewer or more bytes than the sizes say.
    """
    magic = bytes([0, 0, 8, dimensions])
    start = 4 + 4 * dimensions
    if raw[:4] != magic or len(raw) < start:
        raise DataError(f"`{what}` is not an IDX file of bytes: it must begin with {magic.hex()}. Got {raw[:4].hex()}.")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">i4", dimensions, 4))
    if min(shape) < 0 or math.prod(shape) != len(raw) - start:
        raise DataError(
            f"`{what}` is truncated or too long: its head says {' × '.join(map(str, shape))} bytes. Got "
            f"{len(raw) - start:,}."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
