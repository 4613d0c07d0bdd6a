"""``wirings show``: one run, in the terminal or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wirings.training.records import Record


def show_(run: str, /, *, html: bool = False, runs: Path = Path("runs"), out: Path | None = None) -> int:
    """One run: its settings, its curve, its wiring.

        wirings show lenet-300-100-mnist-mini-rigl-0123456789-s0
        wirings show runs/lenet-300-100-mnist-mini-rigl-0123456789-s0 --html

    Parameters
    ----------
    run
        The run's folder, or its id, or the beginning of its id, or what its id ends with: hash and seed.
    html
        Write a page: curves, degrees, pictures of the wiring.
    runs
        The folder in which an id is looked for.
    out
        Where the page goes. [default: run.html in the run's folder]
    """
    from wirings.cli.console import output
    from wirings.cli.study import rich_table
    from wirings.core.files import write_text
    from wirings.report.page import run_page
    from wirings.report.run_view import curve_table, layer_table, run_figures

    record = found(run, runs)
    console = output()
    console.print(record.id, style="bold", markup=False, soft_wrap=True)
    console.print(f"{record.status}, {record.path}", markup=False, soft_wrap=True)
    console.print()
    console.print((record.run.to_toml().strip() or "# every setting is at its default"), markup=False, soft_wrap=True)
    tables = [curve_table(record), *([layer_table(record)] if record.finished else [])]
    for table in tables:
        console.print()
        console.print(rich_table(table, console.width), soft_wrap=not console.is_terminal)
    if record.finished:
        console.print()
        for name, value in numbers(record):
            console.print(f"{name:<22}{value}", markup=False, soft_wrap=True)
    elif record.info.get("error"):
        console.print(str(record.info["error"]), style="yellow", markup=False, soft_wrap=True)
    if html:
        target = out or record.path / "run.html"
        figures = run_figures(record) if record.finished else []
        write_text(target, run_page(record, record.id, tables, figures, target.parent))
        console.print(f"the page: {target}", markup=False, soft_wrap=True)
    return 0


def found(run: str, root: Path) -> Record:
    """The run of this folder, or of this id, or the only one whose id begins or ends so.

    Raises:
        RunError: there is none, or there are several.
    """
    from wirings.core.errors import RunError, nearest
    from wirings.training.records import Record, find

    for path in (Path(run), root / run):
        if (path / "run.json").is_file():
            record = Record(path)
            _ = record.info
            return record
    every = find(root)
    alike = [r for r in every if r.path.name.startswith(run) or r.path.name.endswith(f"-{run}")]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise RunError(
            f"`{run}` must name one run. {len(alike)} in {root} begin or end so: {alike[0].id}, {alike[1].id} ..."
        )
    if not every:
        raise RunError(f"There is no run in {root}; `wirings run --runs {root}` makes some.")
    hint = nearest(run, [record.path.name for record in every]).split(" Known:")[0]
    way = hint if hint.startswith("Did") else f"`wirings list {root}` names those that are there."
    raise RunError(f"There is no run `{run}` in {root}. {way}")


def numbers(record: Record) -> list[tuple[str, str]]:
    """What the run ended with, in words."""
    result = record.results
    said = [
        ("test accuracy", f"{100 * record.test_accuracy_last:.2f} % (last values)"),
        ("best epoch's", f"{100 * record.test_accuracy_best:.2f} % (chosen on {record.best_chosen_on})"),
        ("connections", f"{record.connections:,} of {result['weights']:,} ({100 * (1 - record.density):.4g} % sparse)"),
    ]
    if "effective_density" in result:
        said.append(("effective density", f"{100 * record.effective_density:.4g} %"))
    if "training_flops" in result:
        said.append(("training FLOPs", f"{record.training_flops:.4g}"))
    energy = record.energy
    said.append(("time", f"{record.seconds:.1f} s"))
    if energy:
        said.append(("energy", f"{energy['joules']:,.0f} J ({energy['source']}: {energy['of']})"))
    return said
