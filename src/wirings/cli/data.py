"""``wirings data``: which data sets are here, and fetching others."""

from __future__ import annotations

from pathlib import Path


def data_(names: str = "", /, *, root: Path | None = None, fetch: bool = False) -> int:
    """Data sets: which are here, and fetching others.

    Parameters
    ----------
    names
        Data sets to look at, "a,b"; all of them by default.
    root
        The folder that holds them; otherwise $WIRINGS_DATA, then the download folder.
    fetch
        Download what is not here (known addresses, known hashes).
    """
    from rich.table import Table

    from wirings import data
    from wirings.cli.console import output
    from wirings.cli.flags import listed
    from wirings.core.errors import DataError

    console = output()
    table = Table("data set", "training", "test", "image", "classes", "sha-256", "where", box=None, pad_edge=False)
    wanted = [data.canonical(n) for n in listed(names, str, flag="NAMES")] if names else list(data.names())
    for name in wanted:
        try:
            place = data.locate(name, root)
        except DataError:
            if not fetch:
                table.add_row(name, *[""] * 5, "not here; --fetch downloads it")
                continue
            place = data.download(name, root)
        found = data.load(name, root)
        shape = "x".join(map(str, found.train_images.shape[1:]))
        counts = (f"{len(found.train_labels):,}", f"{len(found.test_labels):,}")
        table.add_row(name, *counts, shape, str(found.classes), found.sha256[:12], str(place or "in the package"))
    console.print(table)
    return 0
