"""What studies call methods, layers and sparsities when they speak to people."""

from __future__ import annotations

import re

METHODS = {
    "dense": "dense",
    "small-dense": "small dense",
    "other-order": "dense, another data order",
    "fine-tuned": "fine-tuned",
    "static": "random (static)",
    "bernoulli": "random (Bernoulli)",
    "set": "SET",
    "rigl": "RigL",
    "snfs": "SNFS",
    "dnw": "DNW",
    "dnw-frozen": "DNW, frozen",
    "gradual": "gradual magnitude",
    "one-time": "pruned at once",
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
    "smart-ratio": "smart ratios",
    "magnitude": "magnitude at the start",
    "magnitude-at-init": "magnitude at the start",
    "radix": "RadiX-Net",
    "x-net": "X-Net",
    "bi-regular": "bi-regular",
    "expander": "expander",
}
"""Method, as runs are labelled -> what people call it."""

PARTS = {
    "structure": "re-initialised",
    "anew": "re-initialised",
    "shuffled": "shuffled",
    "degrees": "degrees kept",
    "in-degrees": "in-degrees kept",
    "inverted": "inverted",
    "redrawn": "values drawn again",
    "tuned": "fine-tuned",
    "timed": "timed alone",
    "sweep": "learning-rate sweep",
    "init": "other first values",
    "order": "another data order",
    "wiring": "another wiring",
    "fold": "another fold",
    "masked": "masked",
    "sparse": "truly sparse",
    "twice": "twice as long",
    "permuted": "units permuted",
    "constant": "constant rate",
    "low-rate": "low rate",
    "warm-up": "warm-up",
}
"""What follows a method's name in a label, parted by hyphens -> in words."""

_PATTERNS = ((r"rate-([\d.]+)", "rate {}"), (r"(\d+)x", "{} × as long"), (r"(\d+)", "after epoch {}"))
"""Parts that hold a number."""


def method(name: str) -> str:
    """What people call a method, and what was done to it; its own name where nobody has said.

    Example:
        >>> method("rigl"), method("rigl-structure"), method("dnw-frozen-3-masked"), method("my-method")
        ('RigL', 'RigL, re-initialised', 'DNW, frozen after epoch 3, masked', 'my-method')
    """
    parent, parts = lineage(name)
    told = METHODS.get(parent, parent)
    for part in parts:
        told += (" " if part.startswith("after ") else ", ") + part
    return told


def lineage(name: str) -> tuple[str, tuple[str, ...]]:
    """The method that a label begins with, and what follows it, in words; the whole label where a part is unknown.

    Example:
        >>> lineage("gem-miner-tuned-redrawn")
        ('gem-miner', ('fine-tuned', 'values drawn again'))
    """
    for parent in sorted(METHODS, key=len, reverse=True):
        if name == parent:
            return name, ()
        if name.startswith(f"{parent}-") and (parts := _parts(name.removeprefix(f"{parent}-"))):
            return parent, parts
    return name, ()


def _parts(rest: str) -> tuple[str, ...]:
    """The rest of a label as words, the longest part first; nothing where some of it is unknown."""
    for length in range(len(rest), 0, -1):
        head, tail = rest[:length], rest[length:]
        said = _part(head) if tail[:1] in ("", "-") else ""
        if said and not tail:
            return (said,)
        if said and (more := _parts(tail[1:])):
            return said, *more
    return ()


def _part(text: str) -> str:
    if text in PARTS:
        return PARTS[text]
    found = ((re.fullmatch(pattern, text), said) for pattern, said in _PATTERNS)
    return next((said.format(match[1]) for match, said in found if match), "")


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
