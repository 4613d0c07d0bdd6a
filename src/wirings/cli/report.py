"""``wirings report``: the page of runs that are there already."""

from __future__ import annotations

from pathlib import Path


def report_(
    *names: str,
    preset: str | None = None,
    runs: Path = Path("runs"),
    out: Path = Path("results"),
    seeds: int | None = None,
) -> int:
    """The page of runs that are there already; nothing is trained.

        wirings report quickstart
        wirings report --runs my-runs

    Parameters
    ----------
    names
        Studies whose pages to write again; without one, a page of all finished runs in the folder.
    preset
        At which scale: smoke, laptop, overnight, paper. [default: laptop]
    runs
        The folder of all runs.
    out
        Where pages, tables, figures and claims are written.
    seeds
        How many of the study's. [default: as the preset says]
    """
    from wirings.cli.console import output
    from wirings.core.errors import RunError
    from wirings.report.write import write
    from wirings.studies.execute import collect
    from wirings.studies.registry import study_of
    from wirings.studies.views.everything import everything

    console = output()
    if names:
        every = [collect(study_of(name), preset, runs, seeds=seeds) for name in dict.fromkeys(names)]
    else:
        every = [everything(runs)]
    for found in every:
        if not found.records:
            way = f"`{found.command}` makes them" if found.command else f"`wirings run --runs {runs}` makes some"
            raise RunError(f"There is no finished run for this page in {runs}; {way}.")
        target = write(found, out)
        said = f"{len(found.records)} finished runs"
        if found.missing:
            said += f", {len(found.missing)} not finished"
        console.print(f"{said}; the page: {target}", markup=False, soft_wrap=True)
    return 0
