"""``wirings doctor``: what this machine has, and what is missing."""

from __future__ import annotations

import os
import platform


def doctor_() -> int:
    """What this machine has: versions, processor, kernels, threads, memory, data sets; and what is missing, with the
    way out."""
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
    return 0
