"""``wirings bench``: measure this machine; contenders take turns, results are ratios."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from wirings.bench.result import Result

BENCHES = {
    "attach": "what a method costs beside the plain dense loop",
    "linear": "products of single linear layers",
    "mlp": "whole training steps of fully connected networks",
    "conv": "the convolutions of ResNet-18, each by itself",
    "resnet18": "a whole training step of ResNet-18",
    "inference": "forward passes, batch 128 and 1",
    "memory": "peak memory of training, in fresh processes",
    "scaling": "cost follows connections, not neurons",
    "topology": "choosing connections, building indices, growing",
    "threads": "two threads against one",
    "seeds": "several seeds of one network in one batched step",
    "training": "whole trainings on real data: masked, truly sparse, dense, small-dense",
    "graph-challenge": "inference through the Sparse DNN Graph Challenge",
}


def bench_(
    what: Annotated[str, Parameter(show_default=False)],
    /,
    *files: Path,
    against: str = "dense,dense-bf16",
    threads: int | None = None,
    rounds: int | None = None,
    preset: str | None = None,
    quick: bool = False,
    json: Path | None = None,
    plot: Path | None = None,
    into: Path | None = None,
) -> int:
    """Measure this machine: attach, linear, mlp, conv, resnet18, inference, memory, scaling, topology, threads,
    seeds, training, graph-challenge; or `report`, which turns saved results into tables.

        wirings bench mlp --json results/mlp.json
        wirings bench report results/*.json --into docs/performance.md

    Contenders take turns, each result is a ratio of medians from one run, and the load of the machine and the time of a
    fixed piece of work, before and after, are written down beside it.

    Parameters
    ----------
    what
        The benchmark, or `report`.
    files
        For `report`: saved results.
    against
        Dense variants and peers: dense, dense-bf16, torch-csr, sparseprop, sparselab, mkl, scipy, onnxruntime,
        openvino. What is not installed is said under the table.
    threads
        Torch threads; one, and processor time, by default. [default: 1]
    rounds
        How often each contender is timed. [default: each benchmark's own]
    preset
        Of `training`: mnist, resnet20, resnet18 or time-to-accuracy. [default: mnist]
    quick
        Small cases and three rounds, to see that it works; not for quoting.
    json
        Write the result there.
    plot
        Draw how many times faster than dense, by sparsity (`scaling`: what a connection costs): FILE.svg or FILE.png.
        With `report`, from one saved result.
    into
        For `report`: put the tables into this Markdown file, between the lines <!-- bench: NAME --> and <!-- end -->.
    """
    from wirings.core.errors import SettingsError, nearest

    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise SettingsError(f"`--plot` must end in .svg or .png. Got {plot}.")
    if what == "report":
        return _report(files, into, plot)
    if what not in BENCHES:
        raise SettingsError(f"`wirings bench` knows no {what!r}. {nearest(what, [*BENCHES, 'report'])}")
    if files:
        raise SettingsError(f"`wirings bench {what}` takes no files. Got {files[0]}.")
    for flag, value in (("--threads", threads), ("--rounds", rounds)):
        if value is not None and value < 1:
            raise SettingsError(f"`{flag}` must be at least 1. Got {value}.")
    if preset is not None and what != "training":
        raise SettingsError(f"`--preset` is for `wirings bench training`. Got it with {what!r}.")
    words = _words(what, against, threads, rounds, preset, quick)
    result = _measured(what, against, threads, rounds, preset, quick, words)
    _print(result)
    if json is not None:
        from wirings.bench.protocol import save

        save(result, json)
    if plot is not None:
        _draw(result, plot)
    return 0


def _words(what: str, against: str, threads: int | None, rounds: int | None, preset: str | None, quick: bool) -> str:
    """The command, as it is written beside the numbers."""
    said = ["wirings bench", what]
    said += [f"--preset {preset}"] if preset is not None else []
    said += [f"--against {against}"] if against != "dense,dense-bf16" else []
    said += [f"--threads {threads}"] if threads is not None else []
    said += [f"--rounds {rounds}"] if rounds is not None else []
    return " ".join([*said, *(["--quick"] if quick else [])])


def _measured(
    what: str,
    against: str,
    threads: int | None,
    rounds: int | None,
    preset: str | None,
    quick: bool,
    command: str,
) -> Result:
    import importlib

    asked: dict[str, Any] = {} if threads is None else {"threads": threads}
    if preset is not None:
        asked["preset"] = preset
    if rounds is not None or quick:
        asked["rounds"] = rounds if rounds is not None else 3
    if what == "attach":
        from wirings.bench import attach
        from wirings.bench.result import begun

        found = attach.run(**asked)
        return {**begun("attach", command, threads=threads or 1), **found, "lines": attach.lines(found)}
    module = importlib.import_module(f"wirings.bench.{_MODULES.get(what, what)}")
    run: Callable[..., Result] = module.scaling if what == "scaling" else module.run
    names = tuple(part.strip() for part in against.split(",") if part.strip())
    return run(against=names, quick=quick, command=command, **asked)


_MODULES = {"scaling": "memory", "graph-challenge": "graph_challenge"}


def _print(result: Result) -> None:
    from rich.table import Table

    from wirings.bench.result import provenance, table
    from wirings.cli.console import output

    console = output()
    if "lines" in result:
        console.print("\n".join(result["lines"]), markup=False)
        return
    heads, rows = table(result)
    drawn = Table(*heads, box=None, pad_edge=False, header_style="bold")
    drawn.columns[0].no_wrap = True
    for column in drawn.columns[2:]:
        column.justify = "right"
    for i, row in enumerate(rows):
        if row[0] and i:
            drawn.add_row()
        drawn.add_row(*row)
    console.print(drawn)
    for sentence in provenance(result):
        console.print(sentence.replace("`", ""), markup=False)


def _draw(result: Result, path: Path) -> None:
    from wirings.bench.result import figure
    from wirings.core.errors import SettingsError
    from wirings.core.files import write_bytes
    from wirings.report.draw import whole

    if "lines" in result:
        raise SettingsError("`--plot` draws speed by sparsity, which `wirings bench attach` does not measure.")
    try:
        write_bytes(path, whole(figure(result))[path.suffix[1:]])
    except ValueError as error:
        raise SettingsError(f"`--plot`: {error}") from error


def _report(files: tuple[Path, ...], into: Path | None, plot: Path | None) -> int:
    """Saved results as Markdown, printed or put where a file marks their places; one of them drawn."""
    import json as reader

    from wirings.bench.result import filled, markdown
    from wirings.core.errors import RunError, SettingsError, reason_of
    from wirings.core.files import write_text

    if not files:
        raise SettingsError("`wirings bench report` needs results: files that `wirings bench NAME --json FILE` wrote.")
    results = []
    for path in files:
        try:
            found = reader.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or "bench" not in found or "command" not in found:
                raise ValueError("it is no result of `wirings bench`")
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {reason_of(error)}.") from error
        results.append(found)
    if plot is not None:
        if len(results) > 1:
            raise SettingsError(f"`--plot` draws one result. Got {len(results)} files.")
        _draw(results[0], plot)
        return 0
    tables = {found["bench"]: markdown(found) for found in results}
    if into is None:
        print("\n\n".join(tables.values()))
        return 0
    try:
        text = into.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{into} cannot be read: {reason_of(error)}.") from error
    filled_in, places = filled(text, tables)
    for name in tables:
        if name not in places:
            raise SettingsError(
                f"{into} has no place for `{name}`: a line <!-- bench: {name} --> and one <!-- end -->."
            )
    write_text(into, filled_in)
    return 0
