"""Whether a run can be made: all that it needs is built once and thrown away, before anything is trained or written."""

from __future__ import annotations

import os

import torch

from wirings.core.errors import SettingsError, WiringsError
from wirings.training.beginning import maker_of
from wirings.training.build import network, task
from wirings.training.live import come_alive
from wirings.training.settings import Run


def check(run: Run, data_root: str | os.PathLike[str] | None = None) -> None:
    """Build a run's images, network, optimizer and first wiring, and train nothing.

    A wiring that is found on the network and the images (SynFlow, SNIP, ...) may take minutes: that is left to the run.

    Raises:
        WiringsError: one sentence that says why the run cannot be.
    """
    with torch.random.fork_rng():
        try:
            images = task(run, data_root)
            if maker_of(run.method) is not None:
                network(run, images.image_shape, images.data.classes)
                return
            net = come_alive(run, images, run.total_steps(images.train.count))
            if net.sparse is not None:
                net.sparse.detach()
        except WiringsError:
            raise
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{run.method_name} on {run.model}: {error}") from error
