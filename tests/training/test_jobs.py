"""Runs side by side: one that crashes takes no other with it, and everything may be killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_run import run
from test_train import METHODS, same_end

from wirings.core.settings import to_plain
from wirings.training import Interrupted, Record, Run, train, train_all
from wirings.training.folder import RunFolder, in_use
from wirings.training.jobs import _Server


def mortal(method: str, fate: Path | str = "", **settings: object) -> Run:
    return run(
        model="small_run:Mortal",
        model_settings={"fate": str(fate)} if fate else {},
        method=METHODS[method],
        checkpoint=0.0,
        **settings,
    )


def test_a_run_that_crashes_takes_no_other_with_it(tmp_path) -> None:
    (tmp_path / "fate").write_text("after 5")
    found = train(run(seed=9), tmp_path)
    wanted = [
        run(seed=0),
        mortal("rigl", tmp_path / "fate"),
        run(model="small_run:Faulty", model_settings={}),
        run(model="no-such-model"),
        run(model="small_run:Drifting", model_settings={"at": 4}),
        run(seed=1, method=METHODS["dnw"]),
        run(seed=9),
        run(seed=0),
    ]
    events: list[dict[str, object]] = []
    outcomes = train_all(wanted, tmp_path, jobs=2, listener=lambda event: events.append(dict(event)))
    assert [outcome.status for outcome in outcomes] == [
        "finished", "failed", "failed", "failed", "diverged", "finished", "finished", "finished",
    ]  # fmt: skip
    assert [outcome.run for outcome in outcomes] == wanted
    assert outcomes[1].error == "It was ended by signal SIGKILL."
    assert outcomes[2].error == "RuntimeError: this network is faulty"
    assert "There is no model 'no-such-model'." in outcomes[3].error
    assert outcomes[4].error.startswith("The loss of step 4 was nan")
    assert outcomes[0].finished
    assert outcomes[0].error == ""
    assert "small_run.py" in RunFolder(tmp_path / wanted[2].id).log.read_text()
    said = {(event["id"], event["event"]) for event in events}
    assert (found.id, "found") in said
    assert (found.id, "started") not in said
    assert {(wanted[0].id, "started"), (wanted[0].id, "epoch"), (wanted[0].id, "finished")} <= said
    assert sum(event == (wanted[1].id, "failed") for event in said) == 1
    same_end(outcomes[5].record, train(wanted[5], tmp_path / "alone"))
    # asked again, only what failed is tried again, and what was killed goes on
    again = train_all(wanted[:2], tmp_path, jobs=1)
    assert [outcome.status for outcome in again] == ["finished", "finished"]
    same_end(again[1].record, train(mortal("rigl"), tmp_path / "alone"))


def test_runs_may_follow_from_runs(tmp_path) -> None:
    first = run(steps=2)

    def then(record: Record) -> list[Run]:
        return [run(steps=record.run.steps + 1)] if record.run.steps < 4 else []  # type: ignore[operator]

    outcomes = train_all([first, run(seed=1)], tmp_path, jobs=1, then=then)
    assert [outcome.run.steps for outcome in outcomes] == [2, 24, 3, 4]
    order = sorted(outcomes, key=lambda outcome: outcome.record.info["started"])
    assert [outcome.run.steps for outcome in order] == [2, 3, 4, 24]  # what follows goes before what waits
    assert len(train_all([first], tmp_path, then=then)) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_every_live_run(tmp_path, number) -> None:
    # a process begun in the background may have been told to ignore SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = [run(seed=s, steps=20_000, method=METHODS["set"]) for s in range(3)]
    going: set[object] = set()

    def stop(event: dict[str, object]) -> None:
        if event["event"] == "progress" and event["id"] not in going:
            going.add(event["id"])
            if len(going) < 2:  # both are in their loops
                return
            signal.raise_signal(number)

    try:
        with pytest.raises(Interrupted, match=r"Stopped with \d runs saved and \d not begun. Give the same") as stopped:
            train_all(wanted, tmp_path, jobs=2, listener=stop)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.signal == number
    live = [record for record in (Record(tmp_path / mine.id) for mine in wanted) if record.path.exists()]
    assert len(live) == 2
    assert {record.status for record in live} == {"interrupted"}
    assert all(any(record.folder.checkpoints.iterdir()) for record in live)
    assert not any(in_use(record.folder) for record in live)


def test_asked_twice_it_ends_them_at_once_and_says_so(tmp_path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    mine = run(model="small_run:Slow", model_settings={})
    again = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))

    def stop(event: dict[str, object]) -> None:
        if event["event"] == "started":
            again.start()
            signal.raise_signal(signal.SIGINT)

    try:
        with pytest.raises(Interrupted, match=r"Stopped with 0 runs saved, 1 ended at once \(their last checkpoints"):
            train_all([mine], tmp_path, jobs=1, listener=stop)  # type: ignore[arg-type]
    finally:
        again.cancel()
        signal.signal(signal.SIGINT, before)
    record = Record(tmp_path / mine.id)
    assert record.status == "interrupted"
    assert not in_use(record.folder)


def test_jobs_must_be_a_number() -> None:
    with pytest.raises(ValueError, match=r"`jobs` of `train_all` must be an integer of at least 1. Got 0."):
        train_all([], jobs=0)


# ---------------------------------------------------------------------- kill -9


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    """One for all these deaths."""
    with _Server() as made:
        yield made


def killed(server: _Server, method: str, fates: list[str], folder: Path) -> tuple[Record, int]:
    """The record of a run that dies by these fates, one after the other, and how often it really did."""
    fate = folder / "fate"
    fate.write_text("\n".join(fates))
    mine = mortal(method, fate)
    deaths = 0
    while True:
        server.send({"id": mine.id, "settings": to_plain(mine), "root": str(folder), "data_root": None})
        while (news := server.next()) is not None and news["event"] != "ended":
            pass
        assert news is not None, "the server died"
        if news["code"] == 0:
            return Record(folder / mine.id), deaths
        assert -news["code"] in (signal.SIGKILL, signal.SIGALRM), news
        deaths += 1


def survives(server: _Server, method: str, fates: list[str], folder: Path) -> int:
    """Kill a run so, and compare its end with that of one that lived; how often it died."""
    (folder / method).mkdir()
    record, deaths = killed(server, method, fates, folder / method)
    same_end(record, train(mortal(method), folder / "alone"))
    return deaths


@pytest.mark.parametrize("method", METHODS)
def test_killed_in_a_step_it_ends_where_it_would_have_ended(server, tmp_path, method) -> None:
    assert survives(server, method, ["after 1", "after 6", "after 9"], tmp_path) == 3


def test_killed_anywhere_it_ends_where_it_would_have_ended(server, tmp_path) -> None:
    rng = random.Random(1)
    assert survives(server, "rigl", [f"in {rng.uniform(0.001, 0.05):.4f}" for _ in range(12)], tmp_path) > 0


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_killed_anywhere_two_hundred_times(server, tmp_path, method) -> None:
    rng = random.Random(0)
    deaths = survives(server, method, [f"in {rng.uniform(0.001, 0.1):.4f}" for _ in range(200)], tmp_path)
    print(json.dumps({"method": method, "deaths": deaths}))
    assert deaths > 50
