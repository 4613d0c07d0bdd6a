"""The fork server behind `wirings.training.jobs`: ``python -m wirings.training.worker``.

Lines of JSON on standard input: ``{"id", "settings", "root", "data_root"}`` begins a run in a child of its own,
``{"stop": true}`` asks all children to save and end, ``{"kill": true}`` ends them at once; the end of the input does
both, one after the other. Lines of JSON on standard output: the events of all runs, and ``{"event": "ended", "id",
"code"}``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

PRELOAD = ("wirings.training.loop", "wirings.analysis", "safetensors.torch", "pydantic", "tomli_w", "torch._dynamo")
"""What every run needs, imported once before the first fork."""

PATIENCE = 30.0
"""Seconds that children have to save when the one who asked for them is gone."""


def main() -> NoReturn:
    """Serve until the input ends."""
    news = os.dup(1)  # children and imported code may print; that must not get between the lines
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forks = sys.platform == "linux"
    if forks:
        for name in PRELOAD:
            importlib.import_module(name)
        from wirings.training import host

        host.versions(), host.code_state(), host.host()  # found once, inherited by every child
    children: dict[int, tuple[str, subprocess.Popen[bytes] | None]] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.02 if children else None)
        _reap(children, news)
        if not ready:
            continue
        chunk = os.read(0, 1 << 16)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for text in lines:
            message = json.loads(text)
            if "id" in message:
                _begin(message, children, news, forks)
            else:
                _signal(children, signal.SIGTERM if "stop" in message else signal.SIGKILL)
    _signal(children, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while children and time.monotonic() < deadline:
        _reap(children, None)
        time.sleep(0.02)
    _signal(children, signal.SIGKILL)
    os._exit(0)  # nothing here is worth the time that torch takes to end


def _begin(
    message: Mapping[str, Any], children: dict[int, tuple[str, subprocess.Popen[bytes] | None]], news: int, forks: bool
) -> None:
    """A child for one run: forked where that is safe, else a process of its own."""
    if not forks:
        alone = subprocess.Popen(
            [sys.executable, "-m", "wirings.training.worker", json.dumps(message), str(news)],
            stdin=subprocess.DEVNULL,
            pass_fds=(news,),
        )
        children[alone.pid] = message["id"], alone
        return
    _fetch(message)
    pid = os.fork()
    if pid:
        children[pid] = message["id"], None
        return
    code = 1
    try:
        code = one(message, news)
    finally:
        os._exit(code)  # without the server's own ending


def _fetch(message: Mapping[str, Any]) -> None:
    """Decode the run's images once, here, for all children that want them; what is wrong with them they will say."""
    from wirings.core.errors import WiringsError
    from wirings.training.build import load_data

    name = message["settings"].get("data", "")
    if ":" not in name:  # somebody's own code is not run where it could take all runs with it
        with contextlib.suppress(WiringsError, OSError):
            load_data(name, message["data_root"])


def one(message: Mapping[str, Any], news: int) -> int:
    """Make one run in this process and say how it went, as an exit code."""
    from wirings.core.errors import WiringsError
    from wirings.training.folder import place_of
    from wirings.training.loop import train
    from wirings.training.settings import Run
    from wirings.training.stopping import Interrupted

    def tell(event: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the run goes on to its own end
            os.write(news, (json.dumps({"id": message["id"], **event}) + "\n").encode())

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asked decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _quiet(None)
    try:
        run = Run.from_plain(message["settings"])
        folder, _ = place_of(run, message["root"])
        _quiet(folder.log)
        train(run, message["root"], data_root=message["data_root"], listener=lambda event: tell(_short(event)))
        return 0
    except Interrupted as stopped:
        return 128 + stopped.signal
    except WiringsError as error:
        tell({"event": "failed", "error": str(error)})
        return 2
    except BaseException as error:
        traceback.print_exc()
        tell({"event": "failed", "error": f"{type(error).__name__}: {error}"[:1000]})
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _short(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event without its tables, so that a line is written to the pipe in one piece."""
    return {k: v for k, v in event.items() if not isinstance(v, Mapping)}


def _quiet(log: Path | None) -> None:
    """Take the server's input away from a child, and let what it prints go to its log."""
    if log is None:
        target = os.open(os.devnull, os.O_RDONLY)
        os.dup2(target, 0)
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(target, 1)
        os.dup2(target, 2)
    os.close(target)


def _reap(children: dict[int, tuple[str, subprocess.Popen[bytes] | None]], news: int | None) -> None:
    """Say which children have ended, and how."""
    for pid, (name, alone) in list(children.items()):
        if alone is not None:
            code = alone.poll()
        else:
            done, status = os.waitpid(pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if done else None
        if code is None:
            continue
        del children[pid]
        if news is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(news, (json.dumps({"event": "ended", "id": name, "code": code}) + "\n").encode())


def _signal(children: Mapping[int, object], number: int) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    raise SystemExit(one(json.loads(sys.argv[1]), int(sys.argv[2])))
