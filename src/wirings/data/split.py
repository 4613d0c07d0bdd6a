"""Holding out training images: what "best" is chosen on, so that the test set is read once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from wirings.core.streams import stream


def split(
    labels: ArrayLike, held_out: int | float | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to train on and indices held out, in rising order, every class in its share.

    Example:
        >>> train, held_out = split(np.repeat(np.arange(10), 1000))
        >>> len(train), len(held_out), np.bincount(np.repeat(np.arange(10), 1000)[held_out]).tolist()
        (9000, 1000, [100, 100, 100, 100, 100, 100, 100, 100, 100, 100])

    Args:
        labels: (N,), the training labels.
        held_out: how many (int) or which share (float in [0, 1)); default 5,000, or a tenth of fewer than 50,000.
        seed: the run's seed; the draw is from its stream "held-out".

    Raises:
        ValueError: nothing would be left to train on.
    """
    labels = np.asarray(labels)
    count = _how_many(len(labels), held_out)
    rng = stream(seed, "held-out")
    classes, sizes = np.unique(labels, return_counts=True)
    chosen = [np.empty(0, np.int64)]
    for label, k in zip(classes, _shares(sizes, count), strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append(members[torch.randperm(len(members), generator=rng)[:k].numpy()])
    out = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), out), out


def _how_many(total: int, held_out: int | float | None) -> int:
    if held_out is None:
        return 5_000 if total >= 50_000 else round(total / 10)
    share = isinstance(held_out, float)
    if isinstance(held_out, bool) or not isinstance(held_out, int | float | np.integer) or not held_out >= 0:
        raise ValueError(f"`held_out` of `split` must be a whole number or a share in [0, 1). Got {held_out!r}.")
    if (share and held_out >= 1) or (count := round(total * held_out) if share else int(held_out)) >= total:
        raise ValueError(
            f"`held_out` of `split` must leave some of the {total:,} images to train on. Got {held_out!r}."
        )
    return count


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """``count`` split in proportion to the sizes, by largest remainder, ties to the lower class."""
    exact = sizes * count
    shares: NDArray[np.int64] = exact // sizes.sum()
    rest = count - int(shares.sum())
    order = np.argsort(-(exact % sizes.sum()), kind="stable")
    shares[order[:rest]] += 1
    return shares
