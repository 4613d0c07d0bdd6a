"""``wirings list``: the runs in a folder."""

from __future__ import annotations

from pathlib import Path


def list_(folder: Path = Path("runs"), /, *, json: bool = False) -> int:
    """The runs in a folder: status, method, sparsity, accuracy, time.

    Parameters
    ----------
    folder
        Where the runs are.
    json
        One JSON object a line, for programs.
    """
    import json as writer

    from rich.table import Table

    from wirings.cli.console import output
    from wirings.training.records import find

    records = find(folder)
    if json:
        for record in records:
            row = {"id": record.id, "status": record.status, "method": record.method, "seed": record.seed}
            print(writer.dumps(row | record.results | {"seconds": record.seconds, "path": str(record.path)}))
        return 0
    console = output()
    if not records:
        console.print(f"No run in {folder}.")
        return 0
    table = Table("run", "status", "sparsity", "last", "best", "seconds", box=None, pad_edge=False, header_style="bold")
    for record in records:
        if record.finished:
            numbers = (
                f"{100 * (1 - record.density):.4g} %",
                f"{100 * record.test_accuracy_last:.2f}",
                f"{100 * record.test_accuracy_best:.2f}",
            )
        else:
            numbers = ("", "", "")
        table.add_row(record.id, record.status, *numbers, f"{record.seconds:.1f}")
    console.print(table)
    return 0
