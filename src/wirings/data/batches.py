"""Batches without state: any batch of any epoch is a function of the seed, so a run resumes anywhere bit by bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wirings.core.streams import stream
from wirings.data.augment import Augment

Normalise = tuple[Sequence[float], Sequence[float]] | Literal["per-image"] | None
"""(mean, std) of each channel in units of [0, 1]; "per-image" standardisation (RigL, Alford et al.); None: / 255."""


class Batches:
    """Shuffled, augmented, normalised batches of images that stay in memory as bytes.

    The order of epoch e is drawn from ``stream(seed, "order", e)``, the augmentation of its batch i from
    ``stream(seed, "augment", e, i)``: nothing depends on what was drawn before.

    Example:
        >>> from wirings.data import blobs
        >>> data = blobs(train=1000)
        >>> batches = Batches(data.train_images, data.train_labels, batch_size=64, normalise=data.normalise)
        >>> [len(y) for x, y in batches.epoch(3, start=13)]        # resumes epoch 3 behind its 13th batch
        [64, 64, 40]

    Args:
        images: uint8, (N, channels, height, width); a memory map stays one.
        labels: (N,).
        batch_size: images a batch.
        seed: the run's seed.
        index: use only these images (as `split` gives them).
        augment: `CropFlip`, `Distort`, ...; called with the uint8 batch and the batch's own generator.
        normalise: (mean, std), "per-image", or None for plain [0, 1].
        drop_last: leave out the last batch of an epoch where it would be smaller.
        fixed_order: every epoch in stored order, as in Alford et al. (2019), and for evaluation.
        dtype: of the images that come out.
        memory_format: of the images that come out; ``torch.channels_last`` costs nothing here.
        device: where the images lie and come out.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | Tensor,
        labels: NDArray[np.int64] | Tensor,
        *,
        batch_size: int,
        seed: int = 0,
        index: NDArray[np.int64] | Tensor | None = None,
        augment: Augment | None = None,
        normalise: Normalise = None,
        drop_last: bool = False,
        fixed_order: bool = False,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.preserve_format,
        device: str | torch.device = "cpu",
    ) -> None:
        self.images = _tensor(images).to(device)
        self.labels = _tensor(labels).to(device, torch.int64)
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(
                "`images` of `Batches` must be uint8 of shape (N, channels, height, width). Got "
                f"{self.images.dtype} of shape {tuple(self.images.shape)}."
            )
        if self.labels.shape != (len(self.images),):
            raise ValueError(
                f"`labels` of `Batches` must be {len(self.images)}, one an image. Got {tuple(self.labels.shape)}."
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` of `Batches` must be a whole number of at least 1. Got {batch_size!r}.")
        self.index = None if index is None else _tensor(index).to("cpu", torch.int64)
        self.batch_size, self.seed = batch_size, seed
        self.augment, self.drop_last, self.fixed_order = augment, drop_last, fixed_order
        self.dtype, self.memory_format = dtype, memory_format
        self._scale, self._shift, self._per_image = self._affine(normalise)
        self._last: tuple[int, Tensor] | None = None
        if len(self) == 0:
            raise ValueError(f"`Batches` has no batch: {self.count} images make none of {batch_size}.")

    @property
    def count(self) -> int:
        """How many images an epoch draws on."""
        return len(self.images) if self.index is None else len(self.index)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.count // self.batch_size if self.drop_last else -(-self.count // self.batch_size)

    def epoch(self, e: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``e`` (from 0), from batch ``start`` on."""
        for i in range(start, len(self)):
            yield self.batch(e, i)

    def batch(self, e: int, i: int) -> tuple[Tensor, Tensor]:
        """Batch ``i`` of epoch ``e``: images (B, channels, height, width) and labels (B,)."""
        if not 0 <= i < len(self):
            raise IndexError(f"`i` of `batch` must be in [0, {len(self)}). Got {i}.")
        chosen = self.order(e)[i * self.batch_size : (i + 1) * self.batch_size].to(self.images.device)
        x = self.images.index_select(0, chosen)  # several times faster than indexing
        if self.augment is not None:
            x = self.augment(x, stream(self.seed, "augment", e, i))
        return self._normalised(x), self.labels.index_select(0, chosen)

    def order(self, e: int) -> Tensor:
        """The images of epoch ``e`` in their order, as places in ``images``: (count,) int64."""
        if self._last is None or self._last[0] != e:
            if self.fixed_order:
                order = torch.arange(self.count)
            else:
                order = torch.randperm(self.count, generator=stream(self.seed, "order", e))
            self._last = (e, order if self.index is None else self.index[order])
        return self._last[1]

    def order_hash(self, e: int) -> str:
        """Sixteen hex digits that name the order of epoch ``e``: runs on the same data stream have the same."""
        return hashlib.sha256(self.order(e).numpy().astype("<i8").tobytes()).hexdigest()[:16]

    def _normalised(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype, copy=True, memory_format=self.memory_format)
        if self._per_image:
            x = x.div_(255)
            flat = x.flatten(1)
            # TensorFlow's floor for the deviation, so that an image of one colour becomes zero
            std = flat.std(1, correction=0).clamp_min(flat.shape[1] ** -0.5)
            return (x - flat.mean(1)[:, None, None, None]) / std[:, None, None, None]
        return x.mul_(self._scale).sub_(self._shift)

    def _affine(self, normalise: Normalise) -> tuple[Tensor, Tensor, bool]:
        """(x / 255 − mean) / std as one product and one difference."""
        channels = self.images.shape[1]
        if isinstance(normalise, str) and normalise != "per-image":
            raise ValueError(f"`normalise` of `Batches` must be (mean, std), 'per-image' or None. Got {normalise!r}.")
        mean: Sequence[float] = [0.0] * channels
        std: Sequence[float] = [1.0] * channels
        if normalise is not None and not isinstance(normalise, str):
            mean, std = normalise
        if len(mean) != channels or len(std) != channels or not all(s > 0 for s in std):
            raise ValueError(
                f"`normalise` of `Batches` must give a mean and a positive std for each of {channels} channels. Got "
                f"{normalise!r}."
            )
        scale = 1 / (255 * torch.tensor(list(std), dtype=torch.float64))
        shift = torch.tensor(list(mean), dtype=torch.float64) / torch.tensor(list(std), dtype=torch.float64)
        placed = [t.view(1, -1, 1, 1).to(self.images.device, self.dtype) for t in (scale, shift)]
        return placed[0], placed[1], normalise == "per-image"


def in_order(
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[np.int64] | Tensor,
    *,
    batch_size: int = 1000,
    index: NDArray[np.int64] | Tensor | None = None,
    augment: Augment | None = None,
    normalise: Normalise = None,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.preserve_format,
    device: str | torch.device = "cpu",
) -> Batches:
    """Batches for evaluation: every image once, in stored order; ``augment`` may be a `CentreCrop`.

    Example:
        >>> from wirings.data import blobs
        >>> data = blobs(test=200)
        >>> [len(y) for x, y in in_order(data.test_images, data.test_labels, batch_size=150).epoch(0)]
        [150, 50]
    """
    return Batches(
        images,
        labels,
        batch_size=batch_size,
        index=index,
        augment=augment,
        normalise=normalise,
        fixed_order=True,
        dtype=dtype,
        memory_format=memory_format,
        device=device,
    )


def _tensor(array: NDArray[np.generic] | Tensor) -> Tensor:
    """An array as a tensor, shared where that is allowed: torch warns of arrays that cannot be written."""
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(array if array.flags.writeable else array.copy())
