"""Named random streams from one seed: adding a consumer never shifts what another one draws."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names``, the same on every machine and for ever.

    Example:
        >>> derived_seed(0, "order", 3) == derived_seed(0, "order", 3)
        True
        >>> derived_seed(0, "order", 3) == derived_seed(0, "order", 4)
        False
    """
    text = "/".join(["wirings", str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, *names: str | int) -> Generator:
    """A CPU generator for one purpose (``"init"``, ``"order"``, ``"augment"``, ``"wiring"``, ...) of one run.

    Draws happen on the CPU, so that every device sees the same numbers.
    """
    generator = torch.Generator("cpu")
    generator.manual_seed(derived_seed(seed, *names))
    return generator
