"""Whether a run can be made: all that it needs is built once and thrown away, before anything is trained or written."""

from __future__ import annotations

import os

import torch

from wirings.attach import attach
from wirings.core.errors import SettingsError, WiringsError
from wirings.makers.prunable import prunable
from wirings.training.build import network, task
from wirings.training.settings import Run


def check(run: Run, data_root: str | os.PathLike[str] | None = None) -> None:
    """Build a run's images, network, optimizer and first wiring, and train nothing.

    Raises:
        WiringsError: one sentence that says why the run cannot be.
    """
    with torch.random.fork_rng():
        try:
            images = task(run, data_root)
            model = network(run, images.image_shape, images.data.classes)
            optimizer = run.optimizer(model.parameters(), run.learning_rate)
            if run.method is not None:
                steps = run.total_steps(images.train.count)
                where = prunable(model, except_=run.except_)
                attach(model, optimizer, run.method, steps=steps, where=where, seed=run.seed_of("wiring")).detach()
        except WiringsError:
            raise
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{run.method_name} on {run.model}: {error}") from error
