"""Floor 5: one training loop; runs as data, side by side, on disk, and found again.

>>> from wirings.training import Run, find, train, train_all
>>> record = train(Run(method=RigL(begin=ErdosRenyi(0.05)), epochs=20, seed=3), "runs")
"""

from __future__ import annotations

from wirings.training.build import equal_parameters
from wirings.training.evaluation import evaluate
from wirings.training.jobs import Outcome, train_all
from wirings.training.loop import train
from wirings.training.optimizers import SGD, Adam, AdamW
from wirings.training.records import Record, find
from wirings.training.settings import Run, Values
from wirings.training.stopping import Interrupted

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Interrupted",
    "Outcome",
    "Record",
    "Run",
    "Values",
    "equal_parameters",
    "evaluate",
    "find",
    "train",
    "train_all",
]
