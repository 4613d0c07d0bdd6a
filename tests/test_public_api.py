"""The public names and their signatures, as a snapshot: whoever changes them says so by changing `public_api.txt`.

To write it anew: ``python tests/test_public_api.py``.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import wirings as wr

SNAPSHOT = Path(__file__).with_name("public_api.txt")
README = Path(__file__).parents[1] / "README.md"


def described() -> str:
    """One line a name: what it is and how it is called."""
    lines = []
    for name in sorted(wr.__all__):
        value = getattr(wr, name)
        if callable(value) and (inspect.isclass(value) or inspect.isfunction(value)):
            try:
                signature = str(inspect.signature(value))
            except ValueError:
                signature = "(...)"
            signature = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", signature)
            lines.append(f"{name}{signature}")
        else:
            lines.append(f"{name} = {type(value).__name__}")
    return "\n".join(lines) + "\n"


def test_public_names_and_signatures_are_those_of_the_snapshot() -> None:
    assert described() == SNAPSHOT.read_text(encoding="utf-8")


def test_every_public_name_says_what_it_is() -> None:
    silent = [name for name in wr.__all__ if not (getattr(wr, name).__doc__ or "").strip()]
    assert silent == []


def test_unknown_names_are_refused_as_python_does() -> None:
    assert not hasattr(wr, "rigel")
    assert "attach" in dir(wr)


def test_the_readme_opens_with_lines_of_use_that_run() -> None:
    import torch
    from torch import nn

    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert max(len(line) for line in code[1].splitlines()) <= 88
    model = nn.Linear(20, 10)
    names = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    exec(code[1], names)
    assert names["sparse"].wiring.nnz == 10  # type: ignore[attr-defined]


if __name__ == "__main__":
    SNAPSHOT.write_text(described(), encoding="utf-8")
