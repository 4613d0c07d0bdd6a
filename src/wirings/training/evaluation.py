"""How a network does on a set of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wirings.analysis.degrees import dead_logits
from wirings.data import Batches


@dataclass(frozen=True)
class Evaluation:
    """How a network does on a set of images: share of right answers, mean loss, and logits that never change."""

    accuracy: float
    loss: float
    dead_logits: int


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches) -> Evaluation:
    """Accuracy and cross-entropy over all images of ``batches``, in evaluation mode; the model's mode is put back."""
    training = model.training
    model.eval()
    right, loss = 0, 0.0
    logits = []
    for images, labels in batches.epoch(0):
        said = model(images)
        logits.append(said)
        right += int((said.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(said, labels, reduction="sum"))
    model.train(training)
    dead = len(dead_logits(torch.cat(logits))) if batches.count > 1 else 0
    return Evaluation(right / batches.count, loss / batches.count, dead)
