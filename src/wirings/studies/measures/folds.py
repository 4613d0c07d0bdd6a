"""Ten folds of the embedded digits: the training images in ten parts, each in turn the test set of the other nine.

A run takes one by its name: ``Run(data="wirings.studies.measures.folds:ten.fold_3")``. Folds are the same on every
machine; class shares vary from fold to fold as chance has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wirings import data
from wirings.core.streams import stream
from wirings.data import ImageData
from wirings.data.image_data import Arrays, described


@dataclass(frozen=True)
class Folds:
    """A data set's training images in so many parts; ``fold_0``, ``fold_1``, ... are its data sets.

    Example:
        >>> Folds("mnist-mini", 10).fold_3.test_images.shape
        (1000, 1, 28, 28)
    """

    source: str
    count: int

    def __getattr__(self, name: str) -> ImageData:
        number = name.removeprefix("fold_")
        if name == number or not number.isdigit() or int(number) >= self.count:
            raise AttributeError(f"`{name}` must be one of fold_0 to fold_{self.count - 1}.")
        return fold(self.source, int(number), self.count)


def fold(source: str, number: int, count: int) -> ImageData:
    """One part of the training images as the test set, the others to learn from; the source's own test set stays out.

    Args:
        source: name of a data set.
        number: of the part, from 0.
        count: parts in all.
    """
    whole = data.load(source)
    import torch

    order = torch.randperm(len(whole.train_labels), generator=stream(0, "folds", source)).numpy()
    parts = np.array_split(order, count)
    test = np.sort(parts[number])
    train = np.sort(np.concatenate([part for place, part in enumerate(parts) if place != number]))
    images, labels = whole.train_images, whole.train_labels
    name = f"{whole.name}-fold-{number + 1}-of-{count}"
    return described(name, Arrays(images[train], labels[train], images[test], labels[test]), whole.classes)


ten = Folds("mnist-mini", 10)

__all__ = ["Folds", "fold", "ten"]
