"""How alike two finished networks represent the test images, layer by layer and every layer against every other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from wirings.analysis.similarity import Comparison, compare
from wirings.studies import words
from wirings.studies.measurement import Lab, Measurement
from wirings.training.build import network, task
from wirings.training.records import Record

MAPPED = ("svcca", "cka")
"""Measures of the layer x layer maps."""

MEASURES = ("svcca", "pwcca", "cka", "procrustes")
"""Measures of the layer curves."""


@dataclass(frozen=True, kw_only=True)
class Alike(Measurement):
    """Two networks on the same test images: what each layer with weights gives out, before its activation.

    Channels are units and positions of images are points; every image gives the same few positions in every layer of
    one size. The curve compares equal layers, the map (svcca and cka) every layer with every other.

    Args:
        a: run id of the one network.
        b: run id of the other; without one, the network of ``a`` as it is before training.
        fresh: seed of those untrained weights.
        images: of the test set, from its beginning.
        positions: of each image that become points, in convolutions.
        maps: whether every layer meets every other.
    """

    kind: ClassVar[str] = "alike"
    a: str
    b: str = ""
    fresh: int = 0
    images: int = 2000
    positions: int = 16
    maps: bool = False

    def measure(self, lab: Lab) -> dict[str, Any]:
        """Layers, curves and maps; plain lists in the order of the layers."""
        record = lab.record(self.a)
        left, right = record.model(), self._other(lab, record)
        layers = [words.layer(name) for name in record.wiring]
        batches = list(first_images(record, self.images, lab.data_root))
        same = compare(left, right, layers, batches, measures=MEASURES, pairs="same", positions=self.positions)
        result = {"layers": layers, "curves": {measure: _curve(same, measure) for measure in MEASURES}}
        if self.maps:
            every = compare(left, right, layers, batches, measures=MAPPED, positions=self.positions)
            result["maps"] = {measure: _rounded(every.map(measure)) for measure in MAPPED}
        return result

    def _other(self, lab: Lab, record: Record) -> nn.Module:
        if self.b:
            return lab.record(self.b).model()
        channels, height, width = record.info["data"]["image_shape"]
        run = replace(record.run, values=None, streams={}, seed=self.fresh, device="cpu")
        return network(run, (channels, height, width), record.info["data"]["classes"]).eval()


def first_images(record: Record, count: int, data_root: str | None = None) -> Iterator[Tensor]:
    """The first so many test images of a run, normalised as it saw them, in batches."""
    test = task(record.run, data_root).test
    for place, (images, _) in enumerate(itertools.islice(test.epoch(0), -(-count // test.batch_size))):
        yield images[: count - place * test.batch_size]


def _curve(found: Comparison, measure: str) -> dict[str, list[Any]]:
    cells = found.curve(measure)
    return {
        "value": [round(cell.value, 6) for cell in cells],
        "noise": [round(cell.noise_floor, 6) for cell in cells],
        "points": [cell.points for cell in cells],
        "directions": [list(cell.directions) for cell in cells],
        "notes": ["; ".join(cell.notes) for cell in cells],
    }


def _rounded(map_: Tensor) -> list[list[float]]:
    rows: Sequence[Sequence[float]] = map_.tolist()
    return [[round(value, 5) for value in row] for row in rows]


__all__ = ["MAPPED", "MEASURES", "Alike", "first_images"]
