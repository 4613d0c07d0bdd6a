"""``gaussian-blobs``: tiny made images for tests, learnable in a second."""

from __future__ import annotations

import numpy as np
import torch

from wirings.core.streams import stream
from wirings.data.image_data import Arrays, ImageData, described

NAME = "gaussian-blobs"


def blobs(
    *, train: int = 1000, test: int = 200, classes: int = 10, side: int = 8, channels: int = 1, seed: int = 0
) -> ImageData:
    """Each class is a bright Gaussian spot of its own place and size, plus noise; classes are balanced.

    Args:
        train: training images.
        test: test images.
        classes: how many classes.
        side: height and width in pixels.
        channels: 1 or more; every channel has spots of its own.
        seed: of the stream "blobs".
    """
    rng = stream(seed, "blobs")
    grid = torch.arange(side, dtype=torch.float64)
    centres = torch.rand(classes, channels, 2, generator=rng, dtype=torch.float64) * (side - 1)
    widths = side / 8 + torch.rand(classes, channels, 1, 1, generator=rng, dtype=torch.float64) * side / 8
    down = (grid[:, None] - centres[:, :, :1, None]) ** 2
    across = (grid[None, :] - centres[:, :, 1:, None]) ** 2
    spots = 200 * torch.exp(-(down + across) / (2 * widths**2))

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = (torch.arange(count) % classes)[torch.randperm(count, generator=rng)]
        noise = 25 * torch.randn(count, channels, side, side, generator=rng, dtype=torch.float64)
        return (spots[labels] + noise + 25).clamp(0, 255).to(torch.uint8).numpy(), labels.numpy()

    return described(NAME, Arrays(*draw(train), *draw(test)), classes)
