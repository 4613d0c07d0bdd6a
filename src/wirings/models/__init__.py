"""The networks of the sparse-training literature, exactly as the papers count them, and their initial draws.

>>> from wirings import models
>>> model = models.build("lenet-300-100", seed=0)
>>> sum(p.numel() for n, p in model.named_parameters() if n.endswith("weight"))
266200
"""

from __future__ import annotations

from wirings.models.init import Initialiser, initialisers, reinitialise
from wirings.models.registry import build, canonical, names, settings

__all__ = ["Initialiser", "build", "canonical", "initialisers", "names", "reinitialise", "settings"]
