"""The learning rate of every step of a run."""

from __future__ import annotations

import math

from wirings.core.settings import resolved
from wirings.training.settings import Run


class Rate:
    """Step (counted from 1) -> learning rate: linear warm-up, then the run's schedule over what remains.

    Example:
        >>> rate = Rate(Run(learning_rate=0.1, schedule="cosine", warmup=2), steps=12)
        >>> [round(rate(n), 4) for n in (1, 2, 3, 8, 12)]
        [0.05, 0.1, 0.1, 0.05, 0.0024]
    """

    def __init__(self, run: Run, steps: int) -> None:
        self.run, self.steps = run, steps
        self.warmup = int(resolved(run, steps).warmup)

    def __call__(self, step: int) -> float:
        run = self.run
        if step <= self.warmup:
            return run.learning_rate * step / self.warmup
        done = step - 1 - self.warmup  # the step after the warm-up is made at the full rate
        if run.schedule == "cosine":
            return run.learning_rate * (1 + math.cos(math.pi * done / max(self.steps - self.warmup, 1))) / 2
        if run.schedule == "steps":
            passed = sum(step > round(share * self.steps) for share in run.milestones)
            return run.learning_rate * run.factor**passed
        return run.learning_rate
