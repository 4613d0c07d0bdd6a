"""Whole trainings on real data: the same run masked, truly sparse, dense and small-dense, each in a fresh process; the
dense and the truly sparse one also under bfloat16 autocast, dense with channels last, which torch's bfloat16 likes.

What counts is everything that a run does: its steps, its updates of the wiring, its evaluations, its files. Contenders
take turns, round by round with another seed, so that they meet the same moods of the machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from wirings.bench import peers
from wirings.bench.memory import peak_bytes
from wirings.bench.protocol import watched
from wirings.bench.result import Result, begun
from wirings.core.errors import RunError, SettingsError, nearest
from wirings.core.settings import to_plain
from wirings.data.augment import CropFlip
from wirings.makers.random import ErdosRenyi
from wirings.makers.snip import SNIP
from wirings.methods.drop_grow import RigL
from wirings.methods.static import Static
from wirings.training.optimizers import SGD, Adam, AnyOptimizer
from wirings.training.settings import Run

_COLUMNS = {
    "accuracy": "test accuracy (%)",
    "spread": "sd",
    "seconds": "seconds",
    "wall_seconds": "seconds (wall)",
    "peak_mb": "peak MB",
    "above_mb": "MB above imports and images",
}
_TO_ACCURACY = {
    "optimizer": "optimizer",
    "learning_rate": "learning rate",
    "steps": "steps",
    "held_out": "held-out accuracy (%)",
    "reached": "runs that reached it",
    "accuracy": "test accuracy (%)",
    "seconds": "seconds",
}

RUNS: Mapping[str, Run] = {
    "mnist": Run(
        model="lenet-300-100", data="mnist", method=RigL(begin=ErdosRenyi(0.05)), epochs=20, learning_rate=0.1
    ),
    "resnet20": Run(
        model="resnet-20",
        data="cifar10",
        method=RigL(begin=ErdosRenyi(0.05)),
        epochs=3,
        learning_rate=0.1,
        warmup=0.1,
        augment=CropFlip(),
        optimizer=SGD(weight_decay=5e-4),
    ),
    "resnet18": Run(
        model="resnet-18",
        data="cifar10",
        method=RigL(begin=ErdosRenyi(0.05)),
        steps=200,
        batch_size=64,
        learning_rate=0.05,
        warmup=0.1,
        held_out=1000,
    ),
}
"""Preset -> its masked run; the other contenders follow from it."""

QUICK = Run(model="lenet-300-100", data="mnist-mini", method=RigL(begin=ErdosRenyi(0.05)), steps=30)


@dataclass(frozen=True, kw_only=True)
class Race:
    """How soon a network is right often enough.

    Args:
        run: dense; what every contender has in common.
        target: held-out accuracy to reach, at the end of a run.
        densities: of the truly sparse contenders, wired by SNIP and static; the one that is there first is measured.
        lengths: steps of a run, ascending, each with its whole cosine schedule.
        recipes: optimizers and learning rates, the same for every contender.
        seeds: of the sweep that chooses length and recipe on held-out images; measured are others.
    """

    run: Run
    target: float
    densities: tuple[float, ...]
    lengths: tuple[int, ...]
    recipes: tuple[tuple[AnyOptimizer, float], ...]
    seeds: tuple[int, ...]


RACE = Race(
    run=Run(model="lenet-300-100", data="mnist", warmup=0.05),
    target=0.98,
    densities=(0.3, 0.2, 0.1),
    lengths=(430, 645, 860, 1075, 1290, 1505, 1720, 2150, 2580, 3440),
    recipes=(
        *((SGD(), rate) for rate in (0.06, 0.12, 0.24)),
        *((Adam(), rate) for rate in (0.002, 0.004, 0.008, 0.016)),
    ),
    seeds=(100, 101, 102),
)
QUICK_RACE = Race(
    run=Run(model="lenet-300-100", data="mnist-mini"),
    target=0.5,
    densities=(0.1,),
    lengths=(20, 60),
    recipes=((SGD(), 0.1),),
    seeds=(100,),
)

PRESETS = (*RUNS, "time-to-accuracy")


def run(
    *,
    preset: str = "mnist",
    rounds: int = 3,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench training",
    masked: Run | None = None,
    race: Race | None = None,
) -> Result:
    """Accuracy, seconds and peak memory of whole trainings, as plain data.

    Seconds are of processor time with one thread, else wall time. Ratios are to the dense run.

    Args:
        preset: one of `PRESETS`.
        rounds: seeds, from 0; each contender trains once with each.
        threads: of torch.
        against: dense networks are always there; "dense-bf16" adds the trainings in bfloat16.
        quick: a few steps on the embedded images.
        command: what was asked, to be written beside the result.
        masked: another run than the preset's.
        race: other settings than those of "time-to-accuracy".
    """
    if preset not in PRESETS:
        raise SettingsError(f"`--preset` knows no {preset!r}. {nearest(preset, list(PRESETS))}")
    result = begun(f"training-{preset}", command, threads=threads)
    with watched(result, threads=threads):
        if preset == "time-to-accuracy":
            result["columns"] = _TO_ACCURACY
            result["cases"].append(_raced(race or (QUICK_RACE if quick else RACE), rounds, threads))
        else:
            result["columns"] = _COLUMNS
            runs = contenders(masked or (QUICK if quick else RUNS[preset]), bf16="dense-bf16" in against)
            result["cases"].append(_compared(runs, rounds, threads))
    return result


# ---------------------------------------------------------------------- one run, several ways


def contenders(masked: Run, *, bf16: bool = False) -> dict[str, Run]:
    """The same training several ways: only what is stored and computed differs, or how large the network is."""
    density = masked.method.begin.density  # type: ignore[union-attr]
    dense = dataclasses.replace(masked, method=None)
    runs = {
        "dense": dense,
        "masked": masked,
        "truly sparse": dataclasses.replace(masked, execution="sparse"),
        "small-dense": dataclasses.replace(dense, small_dense=density),
    }
    if bf16:
        runs["dense, bf16"] = dataclasses.replace(dense, autocast="bfloat16", channels_last=True)
        runs["truly sparse, bf16"] = dataclasses.replace(runs["truly sparse"], autocast="bfloat16")
    return runs


def _compared(runs: Mapping[str, Run], rounds: int, threads: int) -> dict[str, Any]:
    masked = runs["masked"]
    told = _in_turns(runs, rounds, threads)
    base = statistics.median(one["seconds"] for one in told["dense"])
    rows = []
    for name, found in told.items():
        median = {key: statistics.median(one[key] for one in found) for key in ("seconds", "wall_seconds", "peak_mb")}
        accuracies = [100 * one["accuracy"] for one in found]
        rows.append(
            _row(
                name,
                base / max(median["seconds"], 1e-12),
                density=None if name.startswith("dense") else found[0]["density"],
                accuracy=statistics.fmean(accuracies),
                spread=statistics.stdev(accuracies) if rounds > 1 else None,
                above_mb=statistics.median(one["above_mb"] for one in found),
                runs=found,
                **median,
            )
        )
    length = f"{masked.steps} steps" if masked.steps is not None else f"{masked.epochs} epochs"
    return {"case": f"{masked.model}, {masked.data}, {length}", "rounds": rounds, "rows": rows}


def _row(contender: str, ratio: float | None, **facts: Any) -> dict[str, Any]:
    usual = {"density": None, "mask": "", "median_ms": None, "best_ms": None, "error": None}
    return {"contender": contender, "ratio": ratio, "baseline": contender == "dense", **usual, **facts}


def _in_turns(runs: Mapping[str, Run], rounds: int, threads: int) -> dict[str, list[dict[str, Any]]]:
    """Every contender once a round, in fresh processes; who begins rotates."""
    names = list(runs)
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(rounds):
        turn = seed % len(names)
        for name in names[turn:] + names[:turn]:
            (found,) = in_fresh_process([dataclasses.replace(runs[name], seed=seed, threads=threads)])
            if found.get("error"):
                raise RunError(f"The training benchmark of `{name}` with seed {seed} diverged: {found['error']}")
            told[name].append(found)
    return told


# ---------------------------------------------------------------------- time to accuracy


def _raced(race: Race, rounds: int, threads: int) -> dict[str, Any]:
    """Choose length, optimizer and rate of each contender on held-out images, then measure them with other seeds."""
    runs = {"dense": race.run}
    for density in race.densities:
        method = Static(begin=SNIP(density))
        runs[f"truly sparse, {100 * (1 - density):g} %"] = dataclasses.replace(
            race.run, method=method, execution="sparse"
        )
    swept = {name: _swept(one, race, threads) for name, one in runs.items()}
    recipes = {name: found for name, (found, _) in swept.items() if found is not None}
    sparse = [name for name in recipes if name != "dense"]
    if "dense" not in recipes or not sparse:
        raise RunError(f"No run of the sweep reached {100 * race.target:g} % on held-out images; allow longer ones.")
    fastest = min(sparse, key=lambda name: swept[name][1])
    chosen = {"dense": recipes["dense"], fastest: recipes[fastest]}
    told = _in_turns(chosen, rounds, threads)
    base = statistics.median(one["seconds_to_end"] for one in told["dense"])
    rows = []
    for name, found in told.items():
        median = statistics.median(one["seconds_to_end"] for one in found)
        rows.append(
            _row(
                name,
                base / max(median, 1e-12),
                density=None if name == "dense" else found[0]["density"],
                optimizer=type(chosen[name].optimizer).__name__,
                learning_rate=chosen[name].learning_rate,
                steps=chosen[name].steps,
                held_out=100 * statistics.fmean(one["held_out"] for one in found),
                reached=f"{sum(one['held_out'] >= race.target for one in found)} of {rounds}",
                accuracy=100 * statistics.fmean(one["accuracy"] for one in found),
                seconds=median,
                runs=found,
            )
        )
    case = f"{race.run.model}, {race.run.data}, to {100 * race.target:g} %"
    sweep = {
        name: {"seconds": seconds, "steps": None if found is None else found.steps}
        for name, (found, seconds) in swept.items()
    }
    return {"case": case, "rounds": rounds, "sweep": sweep, "rows": rows}


def _swept(one: Run, race: Race, threads: int) -> tuple[Run | None, float]:
    """The shortest training whose mean held-out accuracy reaches the target, by its best recipe; and its seconds."""
    for steps in race.lengths:
        tried = [
            dataclasses.replace(one, steps=steps, optimizer=optimizer, learning_rate=rate, seed=seed, threads=threads)
            for (optimizer, rate), seed in product(race.recipes, race.seeds)
        ]
        found = in_fresh_process(tried)
        size = len(race.seeds)
        by_recipe = [found[i : i + size] for i in range(0, len(found), size)]
        means = [statistics.fmean(each["held_out"] for each in group) for group in by_recipe]
        best = max(range(len(means)), key=means.__getitem__)
        if means[best] >= race.target:
            seconds = statistics.median(each["seconds_to_end"] for each in by_recipe[best])
            return tried[best * size], seconds
    return None, float("inf")


# ---------------------------------------------------------------------- in a process of its own


def in_fresh_process(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Make runs one after the other in a process of their own, and hear what each took.

    Raises:
        RunError: if the process died, with the last thing it said.
    """
    words = [sys.executable, "-m", "wirings.bench.training", json.dumps([to_plain(one) for one in runs])]
    source = str(Path(__file__).parents[2])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": source})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed; the memory may have run out"])[-1]
        raise RunError(f"The training benchmark of `{runs[0].method_name}` on {runs[0].model} died: {last}")
    told: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return told


def made(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What happens in the fresh process: a tiny run first, which loads everything that is loaded when used."""
    from wirings.training.build import load_data
    from wirings.training.loop import train

    found = []
    with tempfile.TemporaryDirectory() as folder:
        tiny = {"data": "mnist-mini", "model": "mlp", "model_settings": {"hidden": [8]}, "steps": 2}
        for execution in ("masked", "sparse"):
            train(dataclasses.replace(QUICK, **tiny, execution=execution), Path(folder) / "tiny")  # type: ignore[arg-type]
        for number, one in enumerate(runs):
            load_data(one.data)
            _forget_peak()
            before = peak_bytes()
            clock: Callable[[], float] = time.process_time if one.threads == 1 else time.perf_counter
            at: dict[str, float] = {}

            def listen(event: Mapping[str, Any], at: dict[str, float] = at, clock: Any = clock) -> None:
                at[event["event"]] = clock()  # of the last epoch, where there are several

            start = clock()
            record = train(one, Path(folder) / str(number), listener=listen)
            took, peak = clock() - start, peak_bytes()
            if not record.finished:  # it diverged: never right, as far as a sweep is concerned
                lost = {"held_out": 0.0, "accuracy": 0.0, "seconds_to_end": took, "error": record.info.get("error")}
                found.append({"seed": one.seed, **lost})
                continue
            found.append(
                {
                    "seed": one.seed,
                    "accuracy": record.test_accuracy_last,
                    "held_out": record.results["held_out_accuracy_last"],
                    "density": record.density,
                    "connections": record.connections,
                    "training_flops": record.training_flops,
                    "seconds": took,
                    "seconds_to_end": at["epoch"] - at["started"],  # of training, the last look at held-out images too
                    "wall_seconds": record.seconds,
                    "peak_mb": peak / 1e6,
                    "above_mb": (peak - before) / 1e6,
                }
            )
    return found


def _forget_peak() -> None:
    """Let Linux's count of the most memory begin anew from what is held now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # then the peak is that of the whole process


if __name__ == "__main__":
    sys.stdout.write(json.dumps(made([Run.from_plain(plain) for plain in json.loads(sys.argv[1])])) + "\n")
