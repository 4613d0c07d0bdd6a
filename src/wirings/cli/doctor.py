"""``wirings doctor``: what this machine has, and what is missing."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def doctor_(*, calibrate: bool = False) -> int:
    """What this machine has: versions, processor, kernels, threads, memory, data sets; and what is missing, with the
    way out.

    Parameters
    ----------
    calibrate
        Measure where sparse layers are faster than dense ones here (some seconds), keep it, and print it.
    """
    import psutil
    import torch
    from rich.table import Table

    from wirings import __version__, data
    from wirings.cli.console import output
    from wirings.core.errors import DataError
    from wirings.kernels import native
    from wirings.training import host

    console = output()
    table = Table(box=None, show_header=False, pad_edge=False)
    machine = host.host()
    memory = psutil.virtual_memory()
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    for name, value in (
        ("wirings", __version__),
        ("python", platform.python_version()),
        ("torch", torch.__version__),
        ("processor", f"{machine['processor']}, {machine['cores']} cores, {machine['instructions']}"),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        ("threads", f"{torch.get_num_threads()} for one run alone, cores / runs beside others"),
        ("accelerator", accelerator),
        ("kernels", native.describe()),
        ("energy", host.Meter().energy()["source"]),
        ("data root", os.environ.get("WIRINGS_DATA", "WIRINGS_DATA is not set; mnist-mini ships with wirings")),
        ("cache", str(data.cache_folder())),
    ):
        table.add_row(f"[bold]{name}[/]", str(value))
    for name in data.names():
        try:
            place = str(data.locate(name) or "in the package")
        except DataError:
            place = "not here: wirings data --fetch, or set WIRINGS_DATA"
        table.add_row(f"[bold]{name}[/]", place)
    console.print(table)
    _break_even(console, calibrate)
    return 0


def _break_even(console: Console, calibrate: bool) -> None:
    """From which sparsity on layers are faster in sparse storage, where this machine was measured."""
    from rich.table import Table

    from wirings.analysis.calibrate import calibrated
    from wirings.kernels.calibration import saved
    from wirings.kernels.choose import break_even_table

    calibration = calibrated(fresh=True) if calibrate else saved()
    if calibration is None:
        console.print("[bold]break-even[/]   not measured: wirings doctor --calibrate", highlight=False)
        return
    heads = ("sparse is faster from", "batch", "training step", "forward pass")
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    found = break_even_table(calibration)
    for train, infer in zip(found[::2], found[1::2], strict=True):
        told = [_told(row.sparsity) for row in (train, infer)]
        table.add_row(train.layer, str(train.batch), *told)
    console.print(table)
    key = calibration.key
    console.print(
        f"measured {calibration.date[:10]}: {key.processor}, {key.isa}, {key.threads} thread(s)", markup=False
    )


def _told(sparsity: float | None) -> str:
    return "never" if sparsity is None else f"{100 * sparsity:.3g} %" if sparsity > 0 else "any"
