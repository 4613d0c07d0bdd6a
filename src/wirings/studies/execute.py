"""A study's runs and measurements: made side by side where they are missing, found where they are finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wirings.studies.measurement import Lab, kept, measure_all
from wirings.studies.study import Findings, Procedure, Study
from wirings.training import host
from wirings.training.folder import DIVERGED, FINISHED, place_of
from wirings.training.jobs import train_all
from wirings.training.loop import Listener
from wirings.training.records import Record
from wirings.training.settings import Run


def execute(
    study: Study,
    preset: str | None = None,
    root: str | os.PathLike[str] = "runs",
    *,
    seeds: int | None = None,
    jobs: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    listener: Listener | None = None,
) -> Findings:
    """Make what is missing of a study, runs first, then measurements, and give back all that is finished.

    A finished run is never made again, whichever study it was made for; an interrupted one goes on. A run that fails or
    diverges is named in ``missing`` and the others go on.

    Example:
        >>> found = execute(study_of("quickstart"), "smoke", "runs")
        >>> found.records, found.missing

    Args:
        study: whose runs.
        preset: at which scale; by default "laptop".
        root: the folder of all runs.
        seeds: how many, from 0; by default the preset's own.
        jobs: how many runs at a time; by default as many as there are cores.
        data_root: where data sets lie; default ``$WIRINGS_DATA``.
        listener: is told what happens, as in `train_all`.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; every live run saved a checkpoint.
        SettingsError: the study has no such preset.
    """
    runs, then = _asked(study, *_scale(study, preset, seeds))
    outcomes = train_all(runs, root, jobs=jobs, then=then, data_root=data_root, listener=listener)
    errors = {outcome.run.id: outcome.error for outcome in outcomes if not outcome.finished}
    found = collect(study, preset, root, seeds=seeds, errors=errors)
    measurements = [m for m in study.measurements(found) if m.possible()]
    if not measurements:
        return found
    tell = listener or (lambda event: None)
    tell({"event": "more", "id": "", "count": len(measurements)})
    errors |= measure_all(measurements, _lab(found, root, data_root), jobs=jobs or host.cores(), tell=tell)
    return collect(study, preset, root, seeds=seeds, errors=errors)


def collect(
    study: Study,
    preset: str | None = None,
    root: str | os.PathLike[str] = "runs",
    *,
    seeds: int | None = None,
    errors: dict[str, str] | None = None,
) -> Findings:
    """What is finished of a study, without training anything."""
    preset, chosen = _scale(study, preset, seeds)
    runs, then = _asked(study, preset, chosen)
    records: dict[str, Record] = {}
    missing: dict[str, str] = {}
    queue = list(reversed(runs))
    while queue:
        run = queue.pop()
        if run.id in records or run.id in missing:
            continue
        folder, info = place_of(run, root)
        status = info.get("status")
        if status == FINISHED:
            records[run.id] = Record(folder.path, info=info)
            queue += reversed(list(then(records[run.id])))
        else:
            said = (errors or {}).get(run.id) or info.get("error")
            missing[run.id] = str(said or ("it diverged" if status == DIVERGED else "it is not made yet"))
    found = Findings(
        study=study,
        preset=preset,
        seeds=tuple(chosen),
        records=tuple(records.values()),
        missing=missing,
        command=command(study, preset, seeds),
    )
    measurements = study.measurements(found)
    asked = {m.id: kept(m, root) for m in measurements}
    missed = [m.id for m in measurements if asked[m.id] is None and m.possible()]
    unmade = {name: (errors or {}).get(name, "it is not measured yet") for name in missed}
    return replace(
        found, measurements={name: it for name, it in asked.items() if it is not None}, missing=missing | unmade
    )


def count(study: Study, preset: str | None = None, *, seeds: int | None = None) -> int:
    """How many runs a study is made of, those that follow from others included."""
    work = study.runs(*_scale(study, preset, seeds))
    singles = {item.id if isinstance(item, Run) else item.first.id for item in work}
    return len(singles) + sum(item.rounds for item in work if not isinstance(item, Run))


def command(study: Study, preset: str, seeds: int | None = None) -> str:
    """The command line that makes a study.

    Example:
        >>> command(study_of("quickstart"), "smoke", 2)
        'wirings study quickstart --preset smoke --seeds 2'
    """
    words = ["wirings study", study.name]
    if preset != study.preset():
        words += ["--preset", preset]
    if seeds is not None and seeds != study.presets[preset].seeds:
        words += ["--seeds", str(seeds)]
    return " ".join(words)


def _lab(found: Findings, root: str | os.PathLike[str], data_root: str | os.PathLike[str] | None) -> Lab:
    return Lab(
        root=Path(root),
        data_root=None if data_root is None else os.fspath(data_root),
        paths={record.id: str(record.path) for record in found.records},
    )


def _scale(study: Study, preset: str | None, seeds: int | None) -> tuple[str, Sequence[int]]:
    preset = study.preset(preset)
    return preset, range(study.presets[preset].seeds if seeds is None else seeds)


def _asked(study: Study, preset: str, seeds: Sequence[int]) -> tuple[list[Run], Callable[[Record], list[Run]]]:
    """The runs to begin with, each once, and what follows from a finished one."""
    work = study.runs(preset, seeds)
    first = {run.id: run for item in work for run in [item if isinstance(item, Run) else item.first]}
    procedures = [item for item in work if not isinstance(item, Run)]
    return list(first.values()), lambda record: _following(procedures, record)


def _following(procedures: Iterable[Procedure], record: Record) -> list[Run]:
    return [run for procedure in procedures for run in procedure.then(record)]
