"""The ``wirings`` command. Verbs load when they are used, so ``--help`` need not wait for torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from wirings import __version__

VERBS = {
    "run": "Train networks: any model, data, method and density; lists make a grid.",
    "compare": "A table of finished runs: means, intervals, paired tests.",
    "list": "The runs in a folder.",
    "show": "One run: its settings, its curve, its wiring.",
    "prune": "Write a wiring before training: SynFlow, SNIP, GraSP, RadiX-Nets, random.",
    "study": "A published experiment, from its runs to its page.",
    "report": "The page of runs that are there already.",
    "data": "Data sets: which are here, and fetching others.",
    "forecast": "Would a network be faster in sparse storage here? Layer by layer.",
    "bench": "Measure this machine: interleaved, as ratios.",
    "doctor": "What this machine has, and what is missing.",
}

app = App(
    name="wirings",
    help="Sparse neural networks: find a wiring, train it, take its structure apart.",
    version=f"wirings {__version__}",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # an interrupted run says how to go on
)
for _verb, _help in VERBS.items():
    app.command(f"wirings.cli.{_verb}:{_verb}_", name=_verb, help=_help)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 some run failed, 2 bad input, 130 interrupted."""
    errors = Console(stderr=True, highlight=False)
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        errors.print(f"[red]wirings:[/] {_plain(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt as stop:
        if str(stop):
            errors.print(str(stop), soft_wrap=True, markup=False)
        return 128 + int(getattr(stop, "signal", 2))
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if not _mendable(error):
            raise
        errors.print(f"[red]wirings:[/] {_plain(str(error))}", soft_wrap=True)
        return 2


def _mendable(error: Exception) -> bool:
    """Whether the user can mend it: one sentence is enough, no traceback."""
    from wirings.core.errors import WiringsError

    return isinstance(error, (WiringsError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError))


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("[", r"\[")
