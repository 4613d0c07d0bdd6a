"""What studies call methods, layers and sparsities when they speak to people."""

from __future__ import annotations

METHODS = {
    "dense": "dense",
    "small-dense": "small dense",
    "static": "random (static)",
    "set": "SET",
    "rigl": "RigL",
    "snfs": "SNFS",
    "dnw": "DNW",
    "dnw-frozen": "DNW, frozen",
    "gradual": "gradual magnitude",
    "lottery": "lottery ticket",
    "top-kast": "Top-KAST",
    "edge-popup": "edge-popup",
    "gem-miner": "Gem-Miner",
    "granet": "GraNet",
    "mest": "MEST",
    "srigl": "SRigL",
    "synflow": "SynFlow",
    "snip": "SNIP",
    "grasp": "GraSP",
    "obd": "OBD",
    "magnitude": "magnitude at the start",
    "radix": "RadiX-Net",
    "expander": "expander",
}
"""Method, as runs are labelled -> what people call it."""


def method(name: str) -> str:
    """What people call a method; its own name where nobody has said.

    Example:
        >>> method("rigl"), method("my-method")
        ('RigL', 'my-method')
    """
    return METHODS.get(name, name)


def sparsity(density: float) -> str:
    """A density as people say it: how much is missing.

    Example:
        >>> sparsity(0.02), sparsity(0.0004), sparsity(1.0)
        ('98 %', '99.96 %', '0 %')
    """
    missing = 100 * (1 - density)
    digits = 0
    while digits < 6 and abs(round(missing, digits) - missing) > 0.06 * (100 - missing):
        digits += 1
    return f"{missing:.{digits}f} %"


def layer(name: str) -> str:
    """A weight's layer.

    Example:
        >>> layer("fc1.weight")
        'fc1'
    """
    return name.removesuffix(".weight")
