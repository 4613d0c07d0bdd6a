"""How long it takes to score a network before training: the time to a mask of SynFlow and SNIP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from wirings.core.streams import stream
from wirings.makers.snip import SNIP
from wirings.makers.synflow import SynFlow
from wirings.methods import Static
from wirings.studies.measurement import Lab, Measurement
from wirings.training.build import network, task
from wirings.training.settings import Run


@dataclass(frozen=True, kw_only=True)
class TimeToMask(Measurement):
    """Wall seconds of one wiring by scores at initialisation, on one thread, data at hand.

    Args:
        run: a static run that begins with SynFlow or SNIP.
    """

    kind: ClassVar[str] = "time-to-mask"
    run: Run

    def measure(self, lab: Lab) -> Mapping[str, Any]:
        if not isinstance(self.run.method, Static) or not isinstance(self.run.method.begin, SynFlow | SNIP):
            raise ValueError("`run` of `TimeToMask` must be static and begin with SynFlow or SNIP.")
        images = task(self.run, lab.data_root)
        model = network(self.run, images.image_shape, images.data.classes)
        batches = [batch for _, batch in zip(range(getattr(self.run.method.begin, "batches", 0)),
                                             images.train.epoch(0), strict=False)]  # fmt: skip
        begun = time.perf_counter()
        wiring = self.run.method.begin.of_model(
            model, (1, *images.image_shape), batches, stream(self.run.seed_of("wiring"), "wiring")
        )
        return {
            "seconds": time.perf_counter() - begun,
            "density": wiring.density,
            "threads": torch.get_num_threads(),
        }


__all__ = ["TimeToMask"]
