"""A data set of a few hundred small images, and networks that misbehave, for runs that take a fraction of a second."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from wirings.data.image_data import Arrays, ImageData, described
from wirings.training import Run

STEPS = 24


def data() -> ImageData:
    """Three classes of 6 x 6 images that a small network can learn."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    centres = rng.integers(60, 200, (3, 1, 6, 6))
    images = (centres[labels] + rng.normal(0, 50, (300, 1, 6, 6))).clip(0, 255).astype(np.uint8)
    return described("small", Arrays(images[:240], labels[:240], images[240:], labels[240:]), 3)


def other_data() -> ImageData:
    """The same with one pixel changed."""
    made = data()
    made.train_images[0, 0, 0, 0] ^= 1
    return described("small", Arrays(made.train_images, made.train_labels, made.test_images, made.test_labels), 3)


def run(**settings: object) -> Run:
    """24 steps on the small images: 3 epochs of 8 batches, the last one smaller."""
    given = {
        "model": "mlp",
        "model_settings": {"hidden": [16, 8]},
        "data": "small_run:data",
        "batch_size": 28,
        "steps": STEPS,
        "held_out": 24,
    }
    return Run.from_plain({**given, **settings})


class Net(nn.Module):
    """Two layers with dropout and a batch norm, so that random state and buffers matter."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> None:
        super().__init__()
        hidden = max(round(20 * width), 1)
        self.first = nn.Linear(int(np.prod(image_shape)), hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(x.flatten(1))).relu()))


class Mortal(Net):
    """Dies as the first line of the file ``fate`` says, and takes the line away; without a file it lives.

    ``after 7``: in the 7th training step of its process, by SIGKILL. ``in 0.01``: after so many seconds, by SIGALRM,
    wherever it is.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, fate: str = "") -> None:
        super().__init__(image_shape, classes)
        self.left = -1
        file = Path(fate)
        if fate and (lines := file.read_text().splitlines()):
            file.write_text("\n".join(lines[1:]))
            how, when = lines[0].split()
            if how == "after":
                self.left = int(when)
            else:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, float(when))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class Slow(Net):
    """Takes a minute for a training step."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            time.sleep(60)
        return super().forward(x)


class Faulty(Net):
    """Raises in its first training step."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("this network is faulty")
        return super().forward(x)


class Drifting(Net):
    """Its logits become infinite in the training step ``at``."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, at: int) -> None:
        super().__init__(image_shape, classes)
        self.left = at

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        return super().forward(x) * (float("inf") if self.training and self.left == 0 else 1.0)
