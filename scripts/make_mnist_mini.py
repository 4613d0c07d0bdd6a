"""Make ``src/wirings/data/mnist_mini.xz`` from the full MNIST: 1,000 training and 200 test images of each digit.

    WIRINGS_DATA=<folder with mnist/> python scripts/make_mnist_mini.py

The images are drawn from the named streams ("mnist-mini", "train") and ("mnist-mini", "test") of seed 0, training
images from the training set and test images from the test set only, and keep the order they have there. The same
input gives the same bytes; the last line is the SHA-256 that ``wirings/data/mini.py`` holds.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from wirings import data
from wirings.core.streams import stream
from wirings.data import mini
from wirings.data.image_data import Arrays, Labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-root", type=Path, default=None, help="folder with the full MNIST")
    parser.add_argument("--out", type=Path, default=Path(mini.__file__).with_name(mini.FILE))
    options = parser.parse_args()
    packed = mini.pack(chosen(data.load("mnist", options.data_root)))
    options.out.write_bytes(packed)
    print(f"{options.out}: {len(packed):,} bytes")
    print(hashlib.sha256(packed).hexdigest())


def chosen(full: data.ImageData) -> Arrays:
    """The images and labels of mnist-mini."""
    train = draw(full.train_labels, mini.TRAIN // 10, "train")
    test = draw(full.test_labels, mini.TEST // 10, "test")
    return Arrays(full.train_images[train], full.train_labels[train], full.test_images[test], full.test_labels[test])


def draw(labels: Labels, each: int, part: str) -> np.ndarray:
    """Places of ``each`` images of every digit, in rising order."""
    rng = stream(0, "mnist-mini", part)
    members = [np.flatnonzero(np.asarray(labels) == digit) for digit in range(10)]
    return np.sort(np.concatenate([m[torch.randperm(len(m), generator=rng)[:each].numpy()] for m in members]))


if __name__ == "__main__":
    main()
