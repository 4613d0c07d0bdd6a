"""Where verbs print: as wide as the terminal, and wide enough for whole tables where there is none."""

from __future__ import annotations

from rich.console import Console

WIDTH_OF_A_PIPE = 220


def output() -> Console:
    """Standard output."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OF_A_PIPE)
