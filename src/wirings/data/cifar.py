"""The "python version" of CIFAR-10 and CIFAR-100: pickles of arrays.

A pickle can run code. These are read only after their published hash was found right, and then by an unpickler that
makes numpy arrays, bytes, numbers, lists and dictionaries, and nothing else.
"""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np

from wirings.core.errors import DataError
from wirings.data.files import Found
from wirings.data.image_data import Arrays, Images, Labels

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


def decode(found: Found) -> Arrays:
    """The batches as images (N, 3, 32, 32) and labels (N,); CIFAR-100's labels are the fine ones."""
    names = [file.name for file in found.source.files]
    train = [batch(found.read(name), name) for name in names[:-1]]
    test_images, test_labels = batch(found.read(names[-1]), names[-1])
    return Arrays(
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        test_images,
        test_labels,
    )


def batch(raw: bytes, what: str) -> tuple[Images, Labels]:
    """Images and labels of one batch file.

    Raises:
        DataError: the pickle asks for something other than arrays, or holds no images.
    """
    content = restricted_load(raw, what)
    try:
        pixels = np.asarray(content[b"data"])
        labels = np.asarray(content[b"labels"] if b"labels" in content else content[b"fine_labels"], np.int64)
        if pixels.dtype != np.uint8 or labels.shape != (len(pixels),):
            raise ValueError("images and labels do not fit together")
        return pixels.reshape(-1, 3, 32, 32), labels
    except (KeyError, TypeError, ValueError) as wrong:
        raise DataError(f"`{what}` is not a batch of CIFAR images: {wrong}.") from wrong


def restricted_load(raw: bytes, what: str) -> Any:
    """Unpickle numpy arrays, bytes, numbers, lists and dictionaries; refuse everything else unread."""

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in _ALLOWED:
                raise DataError(
                    f"`{what}` is not a plain batch of images: its pickle asks for `{module}.{name}`. Delete it and "
                    "copy the published file again."
                )
            return _ALLOWED[module, name]

    try:
        return Restricted(io.BytesIO(raw), encoding="bytes").load()
    except DataError:
        raise
    except Exception as wrong:  # a damaged pickle can fail in any way
        raise DataError(f"`{what}` cannot be unpickled: {wrong}.") from wrong
