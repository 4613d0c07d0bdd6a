"""The one training loop of this library. Read :func:`_loop` from top to bottom; the rest is what stands around it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from wirings.attach import Sparsifier
from wirings.core.errors import RunError, SettingsError
from wirings.core.files import written_aside
from wirings.core.settings import resolved, to_plain
from wirings.core.streams import derived_seed
from wirings.data import Batches
from wirings.training import checkpoints, host
from wirings.training.beginning import Beginning
from wirings.training.build import Task, task
from wirings.training.evaluation import Evaluation, evaluate
from wirings.training.folder import (
    DIVERGED,
    FINISHED,
    SETTLED,
    RunFolder,
    claimed,
    line,
    now,
    place_of,
    stem,
    warn_of_new_place,
)
from wirings.training.live import Network, come_alive, dense_values
from wirings.training.measure import Measures
from wirings.training.precision import Precision
from wirings.training.rates import Rate
from wirings.training.records import Record
from wirings.training.settings import STREAMS, Run
from wirings.training.stopping import Interrupted, Stop, interruptible

Listener = Callable[[Mapping[str, Any]], None]
"""Called with an event: a plain dict with ``event`` ("started", "progress", "epoch", "finished", ...) and ``id``."""

PROGRESS_EVERY = 0.25
"""Seconds between "progress" events."""


def train(
    run: Run,
    root: str | os.PathLike[str] = "runs",
    *,
    data_root: str | os.PathLike[str] | None = None,
    listener: Listener | None = None,
) -> Record:
    """Make a run, or go on with it, or find it made; its record is in ``<root>/<run.id>`` either way.

    A finished run is never made again. One that was interrupted, killed or cut off goes on from its last checkpoint,
    and ends bit for bit where it would have ended uninterrupted. A run whose loss becomes NaN or infinite stops within
    one step with the status ``"diverged"``.

    Example:
        >>> record = train(Run(method=RigL(begin=ErdosRenyi(0.05)), epochs=20, seed=3), "runs")
        >>> record.test_accuracy_last

    Args:
        run: what to train.
        root: the folder of all runs.
        data_root: where data sets lie; default ``$WIRINGS_DATA``.
        listener: is told what happens.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
        RunError: the run's folder is in use by a living process, or damaged.
        SettingsError, DataError, WiringError: the run cannot be; one sentence.
    """
    folder, info = place_of(run, root)
    warn_of_new_place(run, folder, info)
    with claimed(folder), interruptible() as stop:
        status = folder.read().get("status")  # again: whoever held the folder may have finished it meanwhile
        if status == FINISHED:
            shutil.rmtree(folder.checkpoints, ignore_errors=True)  # left by one who died between the two
        elif status not in SETTLED:
            tell = _teller(run, folder, listener)
            try:
                with _torch_as(run):
                    _loop(_begin(run, folder, data_root), stop, tell)
            except Interrupted:
                raise
            except BaseException as error:
                _give_up(folder, error)
                raise
        return Record(folder.path)


def _loop(live: _Live, stop: Stop, tell: Listener) -> None:
    """From the first step that is not yet made to the last."""
    run, folder, batches, model, optimizer = live.run, live.folder, live.task.train, live.model, live.optimizer
    precision, rate = live.precision, Rate(run, live.steps)
    history, snapshot = resolved(run, live.steps).history, resolved(run, live.steps).snapshot
    last_saved = last_told = time.perf_counter()
    tell({"event": "started", "step": live.step, "steps": live.steps})
    if live.step == live.first:
        if snapshot == live.step:
            _snapshot(live)
        live.measures.keep(live.step, folder.wirings)
        _row(live, {"loss": None})

    for images, labels in _rest(batches, live.step, live.steps):
        live.step += 1
        for group in optimizer.param_groups:
            group["lr"] = rate(live.step)
        optimizer.zero_grad()
        with precision.autocast():
            loss = F.cross_entropy(model(images), labels, label_smoothing=run.label_smoothing)
        value = loss.item()
        if not (math.isfinite(value) and precision.backward(loss, optimizer)):
            _diverged(live, value, tell)
            return
        del loss  # and its graph, which float16 keeps for another try
        if run.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), run.clip_norm)
        live.measures.before_step(len(labels))
        optimizer.step()
        live.loss_sum += value
        live.loss_count += 1

        if live.step == snapshot:
            _snapshot(live)
        if history(live.step) or live.step == live.steps:
            live.measures.keep(live.step, folder.wirings)
        if live.step % len(batches) == 0 or live.step == live.steps:
            row = _row(live, {"loss": live.loss_sum / live.loss_count, "learning_rate": rate(live.step)})
            live.loss_sum, live.loss_count = 0.0, 0
            tell({"event": "epoch", "step": live.step, "steps": live.steps, **row})
        clock = time.perf_counter()
        if clock - last_told >= PROGRESS_EVERY:
            last_told = clock
            tell({"event": "progress", "step": live.step, "steps": live.steps, "loss": value})
        if (stop.asked is not None or clock - last_saved >= run.checkpoint) and live.step < live.steps:
            _save(live)
            last_saved = time.perf_counter()
            if stop.asked is not None:
                _interrupted(live, stop.asked, tell)
    _finish(live, tell)


@dataclass
class _Live:
    """Everything of a run that moves."""

    run: Run
    folder: RunFolder
    task: Task
    model: nn.Module
    optimizer: Optimizer
    sparse: Sparsifier | None
    precision: Precision
    measures: Measures
    meter: host.Meter
    info: dict[str, Any]
    steps: int  # in all
    first: int  # where the run begins: 0, or the step that its values have behind them
    step: int  # made so far
    loss_sum: float = 0.0  # since the last row
    loss_count: int = 0
    best: dict[str, Any] = field(default_factory=dict)  # the best epoch so far: step, accuracy, and its values
    best_values: dict[str, Tensor] = field(default_factory=dict)


# ---------------------------------------------------------------------- before


def _begin(run: Run, folder: RunFolder, data_root: str | os.PathLike[str] | None) -> _Live:
    """Build what the run needs; where a checkpoint is, put it back as it was."""
    images = task(run, data_root)
    steps = run.total_steps(images.train.count)
    first = 0 if run.values is None else run.values.step
    if first >= steps:
        raise SettingsError(f"`values` of `Run` have {first:,} steps behind them, but the run has only {steps:,}.")
    meter = host.Meter()
    before = folder.read()
    found = Beginning.read(folder.begin, before.get("begin"))
    net = come_alive(run, images, steps, beginning=found)
    if net.beginning is not None and net.beginning is not found:
        net.beginning.wiring.save(folder.begin)
    if net.sparse is not None:
        net.sparse.step = first
    live = _Live(
        run=run,
        folder=folder,
        task=images,
        model=net.model,
        optimizer=net.optimizer,
        sparse=net.sparse,
        precision=Precision(run.autocast, images.train.images.device),
        measures=Measures(net.plan, net.sparse, (1, *images.image_shape), shapes=net.shapes),
        meter=meter,
        info=_described(run, images, net, steps, before),
        steps=steps,
        first=first,
        step=first,
    )
    folder.write(live.info)
    folder.bring(live.info["settings"])
    if not folder.config.exists():
        folder.config.write_text(run.to_toml(), encoding="utf-8")
    _restore(live)
    live.model.train()
    folder.note("resumed" if live.step > first else "started", step=live.step, pid=os.getpid())
    return live


def _restore(live: _Live) -> None:
    saved = checkpoints.newest(live.folder.checkpoints)
    if saved is None:
        live.folder.keep_rows_up_to(live.first - 1)
        torch.manual_seed(derived_seed(live.run.seed, "network"))
        return
    step, values, state = saved
    live.model.load_state_dict(values)
    live.optimizer.load_state_dict(state["optimizer"])
    if live.sparse is not None:
        live.sparse.load_state_dict(state["sparse"])
    live.precision.load_state_dict(state.get("precision", {}))
    live.measures.load_state_dict(state["measures"])
    torch.set_rng_state(state["random"])
    if "random_device" in state:
        torch.cuda.set_rng_state(state["random_device"])
    live.step, live.loss_sum, live.loss_count = step, state["loss_sum"], state["loss_count"]
    live.best, live.best_values = state["best"], state["best_values"]
    live.meter.seconds_before, live.meter.joules_before = state["seconds"], state["joules"]
    live.meter.busy_before = state.get("busy", 0.0)
    live.folder.keep_rows_up_to(step)


def _described(run: Run, images: Task, net: Network, steps: int, before: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says while the run goes on.

    Raises:
        RunError: it was begun on other images.
    """
    said = before.get("data", {}).get("sha256")
    if said is not None and said != images.data.sha256:
        raise RunError(
            f"The run {run.id} was begun on other images: the data set `{run.data}` has changed since. "
            "Move its folder away to begin anew."
        )
    return {
        "id": run.id,
        "group": run.group,
        "method": run.method_name,
        "status": "running",
        "settings": to_plain(run),
        "steps": steps,
        "execution": _execution(net),
        **({} if net.beginning is None else {"begin": net.beginning.described()}),
        "seeds": {"seed": run.seed} | {name: run.seed_of(name) for name in STREAMS},
        "data": {
            "name": images.data.name,
            "sha256": images.data.sha256,
            "train": images.train.count,
            "held_out": 0 if images.held_out is None else images.held_out.count,
            "test": images.test.count,
            "image_shape": list(images.image_shape),
            "classes": images.data.classes,
        },
        "versions": host.versions(),
        "code": host.code_state(),
        "host": host.host(),
        "threads": torch.get_num_threads(),
        "device": str(images.train.images.device),
        "started": before.get("started", now()),
    }


def _execution(net: Network) -> dict[str, Any]:
    """How it runs, and what of a truly sparse network is masked nevertheless."""
    kind = "dense" if net.sparse is None else "masked" if net.plan is net.model else "sparse"
    return {"kind": kind, "masked": dict(net.beside)} if kind == "sparse" else {"kind": kind}


# ---------------------------------------------------------------------- while it goes


def _rest(batches: Batches, step: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of all steps that are not made yet."""
    while step < steps:
        epoch, start = divmod(step, len(batches))
        for batch in batches.epoch(epoch, start):
            if step == steps:
                return
            step += 1
            yield batch


def _row(live: _Live, learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate, measure the structure, and add both to ``metrics.jsonl``."""
    chosen_on = "test" if live.task.held_out is None else "held_out"
    seen = _evaluated(live, live.task.chosen_on)
    epoch = live.step / len(live.task.train)
    row = {"step": live.step, "epoch": round(epoch, 6), **learnt}
    row |= {
        f"{chosen_on}_accuracy": seen.accuracy,
        f"{chosen_on}_loss": _plain(seen.loss),
        "dead_logits": seen.dead_logits,
    }
    if live.step:
        row["order"] = live.task.train.order_hash((live.step - 1) // len(live.task.train))
    row |= live.measures.row()
    with live.folder.metrics.open("a", encoding="utf-8") as file:
        file.write(line(row))
    if live.step > live.first and _is_best(live.best, seen.accuracy, row["density"]):
        live.best = {"step": live.step, "epoch": row["epoch"], "accuracy": seen.accuracy, "density": row["density"]}
        if live.task.held_out is not None:  # to test it at the end
            live.best_values = {name: t.detach().cpu().clone() for name, t in live.model.state_dict().items()}
    return row


def _is_best(best: Mapping[str, Any], accuracy: float, density: float) -> bool:
    """Whether this epoch takes the place of the best so far; one at which the network was denser does not compete.

    Gradual pruning passes through dense networks: the best epoch of a sparse run must be a sparse one. One per cent is
    left for counts that breathe.
    """
    return not best or density < 0.99 * best["density"] or accuracy > best["accuracy"]


def _evaluated(live: _Live, batches: Batches) -> Evaluation:
    with live.precision.autocast():
        return evaluate(live.model, batches)


def _save(live: _Live) -> None:
    """A checkpoint: everything to go on from this step bit for bit."""
    with live.folder.metrics.open("rb") as file:
        os.fsync(file.fileno())
    state: dict[str, Any] = {
        "optimizer": live.optimizer.state_dict(),
        "sparse": None if live.sparse is None else live.sparse.state_dict(),
        "precision": live.precision.state_dict(),
        "measures": live.measures.state_dict(),
        "random": torch.get_rng_state(),
        "loss_sum": live.loss_sum,
        "loss_count": live.loss_count,
        "best": live.best,
        "best_values": live.best_values,
        "seconds": live.meter.seconds,
        "joules": live.meter.joules,
        "busy": live.meter.busy,
    }
    if live.task.train.images.device.type == "cuda":
        state["random_device"] = torch.cuda.get_rng_state()
    checkpoints.save(live.folder.checkpoints, live.step, live.model.state_dict(), state)
    live.folder.note("checkpoint", step=live.step, seconds=round(live.meter.seconds, 3))


def _snapshot(live: _Live) -> None:
    """All values after this step, to rewind to."""
    target = live.folder.snapshots / f"{stem(live.step)}.safetensors"
    with written_aside(target) as aside:
        checkpoints.save_values(dense_values(live.model), aside)


# ---------------------------------------------------------------------- after


def _finish(live: _Live, tell: Listener) -> None:
    """The one look at the test set, the last values and the last wiring, and the end of the record."""
    results = live.measures.results()
    last = _evaluated(live, live.task.test)
    results |= {
        "test_accuracy_last": last.accuracy,
        "test_loss_last": _plain(last.loss),
        "dead_logits": last.dead_logits,
    }

    def fill(aside: Path) -> None:
        checkpoints.save_values(dense_values(live.model), aside / "model.safetensors")
        live.measures.wiring.save(aside / "wiring.safetensors")

    checkpoints.whole_folder(live.folder.final, fill)
    if live.sparse is not None:
        live.sparse.detach()
    rows = live.folder.rows()
    results |= {
        "train_loss": rows[-1]["loss"],
        "best_epoch": live.best.get("epoch"),
        "best_step": live.best.get("step"),
    }
    if live.task.held_out is None:
        results |= {"best_chosen_on": "test", "test_accuracy_best": live.best.get("accuracy")}
    else:
        results |= {
            "best_chosen_on": "held-out",
            "held_out_accuracy_last": rows[-1]["held_out_accuracy"],
            "held_out_accuracy_best": live.best.get("accuracy"),
        }
        live.model.load_state_dict(live.best_values)
        results["test_accuracy_best"] = _evaluated(live, live.task.test).accuracy
    results["order"] = chained(row["order"] for row in rows if "order" in row)
    _settle(live, FINISHED, results)
    shutil.rmtree(live.folder.checkpoints, ignore_errors=True)
    tell({"event": "finished", "step": live.step, "steps": live.steps, "accuracy": results["test_accuracy_last"]})


def _diverged(live: _Live, loss: float, tell: Listener) -> None:
    """The loss is no number any more, or its gradients are none: say so, and keep the last good checkpoint."""
    if math.isfinite(loss):
        what = f"The gradients of step {live.step} overflow float16 at every scale"
        way_out = "a smaller learning rate, a warm-up or bfloat16"
    else:
        what, way_out = f"The loss of step {live.step} was {loss}", "a smaller learning rate or a warm-up"
    live.step -= 1  # this step was not made
    live.info["error"] = f"{what}; try {way_out}."
    _settle(live, DIVERGED, live.measures.results())
    tell({"event": "diverged", "step": live.step, "steps": live.steps, "error": live.info["error"]})


def _settle(live: _Live, status: str, results: Mapping[str, Any]) -> None:
    live.info |= {
        "status": status,
        "ended": now(),
        "step": live.step,
        "seconds": round(live.meter.seconds, 3),
        "busy_seconds": round(live.meter.busy, 3),
        "energy": live.meter.energy(),
        "peak_memory_bytes": host.peak_memory(),
        "results": dict(results),
    }
    live.folder.write(live.info)
    live.folder.note(status, step=live.step)


def _interrupted(live: _Live, by: int, tell: Listener) -> None:
    live.folder.write({**live.info, "status": "interrupted", "step": live.step})
    live.folder.note("interrupted", step=live.step)
    tell({"event": "interrupted", "step": live.step, "steps": live.steps})
    raise Interrupted(
        f"Stopped after step {live.step:,} of {live.steps:,}, saved in {live.folder.path}. "
        "Give the same command again to go on from there.",
        by,
    )


def _give_up(folder: RunFolder, error: BaseException) -> None:
    """Leave word of what went wrong; the run goes on from its last checkpoint when it is asked for again."""
    with contextlib.suppress(OSError):  # a full disk, say: then the first error is the one to tell
        info = folder.read()
        if not info:
            return
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        folder.write({**info, "status": status, "error": f"{type(error).__name__}: {error}"})
        folder.note(status, error="".join(traceback.format_exception(error)))


def chained(hashes: Iterable[str]) -> str:
    """One hash of many, in order: what names the whole data stream of a run."""
    return hashlib.sha256("/".join(hashes).encode()).hexdigest()[:16]


def _teller(run: Run, folder: RunFolder, listener: Listener | None) -> Listener:
    if listener is None:
        return lambda event: None
    said = {"id": run.id, "folder": str(folder.path)}
    return lambda event: listener({**said, **event})


@contextmanager
def _torch_as(run: Run) -> Iterator[None]:
    """Threads and random state of torch as the run wants them, and afterwards as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)


def _plain(x: float) -> float | None:
    """A number that JSON can hold."""
    return x if math.isfinite(x) else None
