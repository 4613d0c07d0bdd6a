"""Names of weights: those of the bare model, whatever wraps it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

WRAPPERS = ("module.",)
"""What (Distributed)DataParallel puts before every name; ``_orig_mod.`` of ``torch.compile`` may stand anywhere."""


def bare(name: str) -> str:
    """The name as the user's own model has it.

    Example:
        >>> bare("module._orig_mod.fc.weight")
        'fc.weight'
    """
    name = name.replace("_orig_mod.", "")  # wherever it stands: a submodule may be compiled alone
    changed = True
    while changed:
        changed = False
        for prefix in WRAPPERS:
            if name.startswith(prefix):
                name, changed = name.removeprefix(prefix), True
    return name


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a weight's name (``"layer1.0.conv.weight"``), its module's, or a parent's fits one of the patterns.

    A single pattern may stand alone, without a tuple around it.

    Example:
        >>> matches("layer1.0.conv.weight", ["layer1"]), matches("fc.weight", ["conv*"])
        (True, False)
    """
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    parts = name.split(".")
    candidates = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return any(fnmatch.fnmatchcase(candidate, pattern) for pattern in patterns for candidate in candidates)
