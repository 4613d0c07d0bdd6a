"""Floor 6: procedures chain trainings, and look at what came out of them.

Lottery tickets, structure only, fine-tuning; sensitivity to further pruning, linear mode connectivity.
"""

from __future__ import annotations

from wirings.procedures.connectivity import LinearPath, linear_path, linear_path_between
from wirings.procedures.finetuning import FineTuning
from wirings.procedures.lottery import Lottery, Pruning, Ticket, lottery, lottery_runs
from wirings.procedures.reinitialise import Control, Retrained, structure_only, structure_only_run
from wirings.procedures.retraining import Retraining
from wirings.procedures.sensitivity import Further, Sensitivity, recalibrated, sensitivity, sensitivity_of
from wirings.procedures.values import Fit

__all__ = [
    "Control",
    "FineTuning",
    "Fit",
    "Further",
    "LinearPath",
    "Lottery",
    "Pruning",
    "Retrained",
    "Retraining",
    "Sensitivity",
    "Ticket",
    "linear_path",
    "linear_path_between",
    "lottery",
    "lottery_runs",
    "recalibrated",
    "sensitivity",
    "sensitivity_of",
    "structure_only",
    "structure_only_run",
]
