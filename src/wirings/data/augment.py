"""Augmentation of whole batches, drawn from a generator of their own.

It is called with a uint8 batch (B, C, H, W) and a CPU generator, and returns uint8, or floats from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Augment = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class CropFlip:
    """Pad, crop at a random place, flip half of the images left to right: the usual augmentation of CIFAR.

    Args:
        pad: pixels added on each side; 4 in nearly every paper.
        mode: what is added: "zeros" (open_lth, SynFlow) or the image "reflect"-ed at its edge (RigL's CIFAR code).
        flip: whether half of the images are flipped.
        size: side of the crop; default: the image's own.
    """

    kind: Literal["crop-flip"] = "crop-flip"
    pad: int = 4
    mode: Literal["zeros", "reflect"] = "zeros"
    flip: bool = True
    size: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.pad, bool) or not isinstance(self.pad, int) or self.pad < 0:
            raise ValueError(f"`pad` of `CropFlip` must be a whole number of at least 0. Got {self.pad!r}.")
        if self.mode not in ("zeros", "reflect"):
            raise ValueError(f"`mode` of `CropFlip` must be zeros or reflect. Got {self.mode!r}.")
        _check_size("CropFlip", self.size)

    def __call__(self, images: Tensor, rng: Generator) -> Tensor:
        padded = _padded(images, self.pad, self.mode)
        height, width = (self.size, self.size) if self.size else images.shape[2:]
        cut = _crops(padded, height, width, rng)
        return _flipped(cut, rng) if self.flip else cut


@dataclass(frozen=True, kw_only=True)
class Distort:
    """Crop, flip, brightness and contrast as Alford et al. (2019) did on CIFAR-10; "per-image" standardisation follows.

    Args:
        size: side of the crop; the paper's 24.
        brightness: each image is shifted by U[−b, b], in units of 255; the paper's 63.
        contrast: each channel's distance from its own mean is multiplied by U[low, high]; the paper's (0.2, 1.8).
    """

    kind: Literal["distort"] = "distort"
    size: int = 24
    brightness: float = 63.0
    contrast: tuple[float, float] = (0.2, 1.8)

    def __post_init__(self) -> None:
        _check_size("Distort", self.size)
        if not self.brightness >= 0:
            raise ValueError(f"`brightness` of `Distort` must be at least 0. Got {self.brightness!r}.")
        if not 0 <= self.contrast[0] <= self.contrast[1]:
            raise ValueError(f"`contrast` of `Distort` must be a range 0 ≤ low ≤ high. Got {self.contrast!r}.")

    def __call__(self, images: Tensor, rng: Generator) -> Tensor:
        cut = _flipped(_crops(images, self.size, self.size, rng), rng).to(torch.float32)
        low, high = self.contrast
        draws = torch.rand(2, len(images), 1, 1, 1, generator=rng).to(images.device)
        cut = cut + (draws[0] * 2 - 1) * self.brightness
        mean = cut.mean((2, 3), keepdim=True)
        return (cut - mean) * (low + draws[1] * (high - low)) + mean


@dataclass(frozen=True, kw_only=True)
class CentreCrop:
    """The middle of each image, for evaluating what was trained on crops.

    Args:
        size: side of the crop.
    """

    kind: Literal["centre-crop"] = "centre-crop"
    size: int

    def __post_init__(self) -> None:
        _check_size("CentreCrop", self.size)

    def __call__(self, images: Tensor, rng: Generator) -> Tensor:
        top, left = ((n - self.size) // 2 for n in images.shape[2:])
        if min(top, left) < 0:
            raise _too_large(self.size, self.size, images)
        return images[:, :, top : top + self.size, left : left + self.size]


def _padded(images: Tensor, pad: int, mode: str) -> Tensor:
    if pad == 0:
        return images
    if mode == "zeros":
        return F.pad(images, (pad, pad, pad, pad))
    for dim in (2, 3):  # torch reflects no bytes, and a row twice is two index reads
        side = images.shape[dim]
        if pad >= side:
            raise ValueError(f"`pad` of `CropFlip` must be below the image's side {side} to reflect it. Got {pad}.")
        place = torch.arange(-pad, side + pad, device=images.device).abs()
        images = images.index_select(dim, torch.where(place >= side, 2 * (side - 1) - place, place))
    return images


def _crops(images: Tensor, height: int, width: int, rng: Generator) -> Tensor:
    """A window of each image at a place of its own: a view of all windows, then one gather."""
    rows, columns = images.shape[2] - height + 1, images.shape[3] - width + 1
    if min(rows, columns) < 1:
        raise _too_large(height, width, images)
    top = torch.randint(rows, (len(images),), generator=rng)
    left = torch.randint(columns, (len(images),), generator=rng)
    windows = images.unfold(2, height, 1).unfold(3, width, 1)
    each = torch.arange(len(images), device=images.device)
    return windows[each, :, top.to(images.device), left.to(images.device)]


def _flipped(images: Tensor, rng: Generator) -> Tensor:
    which = torch.randint(2, (len(images), 1, 1, 1), generator=rng, dtype=torch.bool).to(images.device)
    return torch.where(which, images.flip(3), images)


def _too_large(height: int, width: int, images: Tensor) -> ValueError:
    return ValueError(
        f"`size` of a crop must not exceed the (padded) image, {images.shape[2]} × {images.shape[3]}. Got {height} × "
        f"{width}."
    )


def _check_size(owner: str, size: int | None) -> None:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"`size` of `{owner}` must be a whole number of at least 1. Got {size!r}.")
