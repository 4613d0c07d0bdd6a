"""The value every reader returns: images as bytes, labels, and what must be known to use and cite them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""(N, channels, height, width), 0 to 255; may be a memory map."""

Labels = NDArray[np.int64]
"""(N,), 0 to classes − 1."""


class Arrays(NamedTuple):
    """What a decoder makes of a data set's files."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageData:
    """A data set of images, ready to be split and batched.

    Args:
        name: the canonical name, as `data.names()` has it.
        train_images: uint8, (N, channels, height, width).
        train_labels: int64, (N,).
        test_images: as the training images.
        test_labels: as the training labels.
        classes: how many classes.
        mean: of the training pixels, a channel each, in units of [0, 1].
        std: of the training pixels, a channel each, in units of [0, 1].
        sha256: hash of the decoded images and labels, the same however the files were packed.
    """

    name: str
    train_images: Images = field(repr=False)
    train_labels: Labels = field(repr=False)
    test_images: Images = field(repr=False)
    test_labels: Labels = field(repr=False)
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as `models.build` takes it."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def normalise(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std), as `Batches` takes it."""
        return self.mean, self.std


def described(name: str, arrays: Arrays, classes: int) -> ImageData:
    """Arrays with their statistics and hash."""
    mean, std = statistics(arrays.train_images)
    return ImageData(name=name, **arrays._asdict(), classes=classes, mean=mean, std=std, sha256=content_hash(arrays))


def statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in units of [0, 1], from exact integer sums.

    Example:
        >>> statistics(np.array([[[[0, 255]]]], dtype=np.uint8))
        ((0.5,), (0.5,))
    """
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(images), 10_000):  # bounds the memory that bincount takes
            counts += np.bincount(images[start : start + 10_000, channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        centre = float(counts @ values / counts.sum())
        mean.append(centre)
        std.append(float(np.sqrt(counts @ (values - centre) ** 2 / counts.sum())))
    return tuple(mean), tuple(std)


def content_hash(arrays: Arrays) -> str:
    """SHA-256 over name, dtype, shape and bytes of the four arrays."""
    digest = hashlib.sha256()
    for name, array in arrays._asdict().items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
