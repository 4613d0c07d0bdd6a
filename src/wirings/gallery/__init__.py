"""The gallery: small wirings that finished runs found, to look at, to compare with and to train again.

They are of LeNet-300-100 on the full MNIST, seed 0, every method of docs/results.md at 95 and 98 % sparsity.
``scripts/make_gallery.py`` takes them from the folder of those runs.
"""

from __future__ import annotations

import os
from pathlib import Path

from wirings.core.errors import WiringError, nearest
from wirings.core.wiring import Wiring

HOME = Path(__file__).parent
ENDING = ".safetensors"


def load_wiring(name: str | os.PathLike[str]) -> Wiring:
    """A wiring of the gallery by its name, or of a file by its path.

    Example:
        >>> wiring = load_wiring("lenet300-mnist-rigl-95-s0")
        >>> wiring.counts
        {'fc1.weight': 9051, 'fc2.weight': 3340, 'fc3.weight': 919}

    Args:
        name: one of `wiring_names`, or the path of a file that `Wiring.save` wrote.

    Raises:
        WiringError: there is no such wiring; the nearest name is told.
    """
    inside = HOME / f"{name}{ENDING}"
    if inside.is_file() and inside.parent == HOME:
        return Wiring.load(inside)
    if (path := Path(name)).is_file():
        return Wiring.load(path)
    raise WiringError(
        f"`{name}` is neither a file nor a wiring of the gallery. {nearest(os.fspath(name), wiring_names())}"
    )


def wiring_names() -> list[str]:
    """What the gallery has: ``<network>-<data>-<method>-<percent sparse>-s<seed>``."""
    return sorted(file.name.removesuffix(ENDING) for file in HOME.glob(f"*{ENDING}"))


__all__ = ["load_wiring", "wiring_names"]
