"""Images by name: found in the usual places, hash-checked, decoded once, and served in repeatable batches.

>>> from wirings import data
>>> digits = data.load("mnist-mini")
>>> train, held_out = data.split(digits.train_labels, seed=0)
>>> len(train), len(held_out)
(9000, 1000)
"""

from __future__ import annotations

from wirings.core.cache import cache_folder
from wirings.data.augment import Augment, CentreCrop, CropFlip, Distort
from wirings.data.batches import Batches, Normalise, in_order
from wirings.data.download import download
from wirings.data.gaussian_blobs import blobs
from wirings.data.image_data import ImageData
from wirings.data.load import canonical, load, locate, names
from wirings.data.split import split

__all__ = [
    "Augment",
    "Batches",
    "CentreCrop",
    "CropFlip",
    "Distort",
    "ImageData",
    "Normalise",
    "blobs",
    "cache_folder",
    "canonical",
    "download",
    "in_order",
    "load",
    "locate",
    "names",
    "split",
]
