"""Wirings that are found on a run's own network and images (SynFlow, SNIP, GraSP, ...), once, before its first step.

A method's ``begin`` may be a maker that needs more than shapes. It sees the network with the run's first values, and
training images in batches of ten times the classes, in an order of their own: never held-out or test images. The
network is not written to: what trains are the first values, on the wiring found. (The original SNIP prunes one draw of
values and trains another; ``SNIP(original=True)`` scores a draw of its own, so the run's own values are that other.)
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from wirings.core.streams import derived_seed, stream
from wirings.core.wiring import Wiring
from wirings.data import Batches, CentreCrop
from wirings.makers.scoring import CollapseWarning, ModelMaker
from wirings.methods.method import Method
from wirings.training.build import Task, normalisation
from wirings.training.settings import Run

IMAGES_PER_CLASS = 10
"""In each batch that a maker looks at: 100 on MNIST, as in SNIP's paper."""


@dataclass(frozen=True)
class Beginning:
    """A wiring that a maker found.

    Args:
        maker: its kind.
        wiring: what it found.
        seconds: how long it took.
        warnings: what it warned of: layers that collapsed.
    """

    maker: str
    wiring: Wiring
    seconds: float
    warnings: tuple[str, ...]

    def described(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        return {
            "maker": self.maker,
            "fingerprint": self.wiring.fingerprint,
            "seconds": round(self.seconds, 3),
            "collapsed": [name for name, t in self.wiring.items() if not t.nnz and len(t.shape) > 1],
            "warnings": list(self.warnings),
        }

    @classmethod
    def read(cls, file: Path, described: Mapping[str, Any] | None) -> Beginning | None:
        """The one that this run found when it began; ``None`` where it has not come so far."""
        if not described or not file.exists():
            return None
        wiring = Wiring.load(file)
        if wiring.fingerprint != described["fingerprint"]:
            return None
        return cls(described["maker"], wiring, described["seconds"], tuple(described["warnings"]))


def maker_of(method: Method | None) -> ModelMaker | None:
    """The maker in a method's ``begin``, where it needs a network; ``None`` for all other beginnings."""
    begin = getattr(method, "begin", None)
    return begin if isinstance(begin, ModelMaker) else None


def find_beginning(run: Run, model: nn.Module, images: Task) -> Beginning:
    """Let the maker look at the network and at training images; what it warns of is kept, and warned of again."""
    maker = maker_of(run.method)
    assert maker is not None, "only asked for methods that begin so"
    if run.except_ and hasattr(maker, "except_"):
        dense = dict.fromkeys((*maker.except_, *run.except_))
        maker = dataclasses.replace(maker, except_=tuple(dense))  # type: ignore[type-var]
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", CollapseWarning)
        rng = stream(run.seed_of("wiring"), "maker")
        wiring = maker.of_model(model, (1, *images.image_shape), _sample(run, images).epoch(0), rng)
    seconds = time.perf_counter() - began
    for warning in told:
        warnings.warn(warning.message, warning.category, stacklevel=2)
    collapsed = tuple(str(w.message) for w in told if issubclass(w.category, CollapseWarning))
    return Beginning(str(getattr(maker, "kind", type(maker).__name__)), wiring, seconds, collapsed)


def _sample(run: Run, images: Task) -> Batches:
    """The training images, in an order that no other stream of the run has."""
    side = getattr(run.augment, "size", None)
    return Batches(
        images.train.images,
        images.train.labels,
        batch_size=IMAGES_PER_CLASS * images.data.classes,
        seed=derived_seed(run.seed_of("wiring"), "maker"),
        index=images.train.index,
        augment=None if side is None else CentreCrop(size=side),
        normalise=normalisation(run, images.data),
        dtype=images.train.dtype,
        memory_format=images.train.memory_format,
        device=images.train.images.device,
    )
