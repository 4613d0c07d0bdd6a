"""Runs made once more under other conditions, in a folder of their own, and how far they end from where they ended.

A finished run is never made again, so what two trainings of one run have in common cannot be two runs. Here they are
measurements: each trains in a temporary folder and keeps hashes and numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from wirings.analysis.overlap import jaccard
from wirings.core.errors import RunError
from wirings.core.files import sha256_of
from wirings.core.streams import stream
from wirings.kernels import native
from wirings.studies.measurement import Lab, Measurement
from wirings.training import host
from wirings.training.build import network, task
from wirings.training.checkpoints import save_values
from wirings.training.live import dense_values
from wirings.training.loop import train
from wirings.training.records import Record
from wirings.training.settings import Run, Values

OTHER_PYTHON = "WIRINGS_OTHER_PYTHON"
"""Names the interpreter of an environment with another torch."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is different the second time.

    Args:
        title: what people call it.
        first: settings of both trainings that differ from the run's own.
        second: settings of the second one.
        kernels: instruction set of the truly sparse layers, the second time.
        environment: variables of a new process in which the second training goes.
        python: whether that process is the interpreter that ``WIRINGS_OTHER_PYTHON`` names.
        nudge: relative size of a random change of every first value.
        autocast: whether the second training goes through bfloat16.
        stands_for: what it substitutes, where that is not here.
    """

    title: str
    first: Mapping[str, Any] = field(default_factory=dict)
    second: Mapping[str, Any] = field(default_factory=dict)
    kernels: str = ""
    environment: Mapping[str, str] | None = None
    python: bool = False
    nudge: float = 0.0
    autocast: bool = False
    stands_for: str = ""


_OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin while they wait would take the cores of other runs
_SPARSE = {"execution": "sparse"}

CHANGES = {
    "nothing": Change(title="nothing"),
    "process": Change(title="nothing, in a new process", environment={}),
    "threads": Change(title="two threads instead of one", second={"threads": 2}, environment=_PATIENT),
    "sparse": Change(title="truly sparse instead of masked", second=_SPARSE),
    "sparse-64": Change(title="truly sparse instead of masked, float64", first={"dtype": "float64"}, second=_SPARSE),
    "generic": Change(title="sparse kernels without vector instructions", first=_SPARSE, kernels="generic",
                      stands_for="CPU against GPU"),
    "avx2": Change(title="sparse kernels for AVX2", first=_SPARSE, kernels="avx2", stands_for="CPU against GPU"),
    "older": Change(title="torch without AVX", environment=_OLDER, stands_for="CPU against GPU"),
    "torch": Change(title="another torch version", python=True, stands_for="CPU against GPU"),
    "cuda": Change(title="GPU instead of CPU", second={"device": "cuda"}),
    "nudge": Change(title="first values changed by 1e-7", nudge=1e-7),
    "float64": Change(title="float64 instead of float32", second={"dtype": "float64"}),
    "bfloat16": Change(title="bfloat16 (autocast) instead of float32", autocast=True),
    "order": Change(title="another data order", second={"streams": {"order": 1000}}),
    "wiring": Change(title="another random wiring", second={"streams": {"wiring": 1000}}),
    "init": Change(title="other first values", second={"streams": {"init": 1000}}),
}  # fmt: skip
"""Everything that may differ, by name; from what should not matter to what may."""


@dataclass(frozen=True, kw_only=True)
class Again(Measurement):
    """A stored run, made again from the settings in its folder.

    Args:
        run: id of the stored run.
        repeat: which repetition; every one is a process of its own, or nearly.
    """

    kind: ClassVar[str] = "again"
    run: str
    repeat: int = 0

    def measure(self, lab: Lab) -> dict[str, Any]:
        """Hashes of the values, the wiring and the data order, stored and again."""
        record = lab.record(self.run)
        stored = Run.from_toml(record.folder.config.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            again = train(replace(stored, label=record.method), folder, data_root=lab.data_root)
            return {"stored": _fingerprints(record), "again": _fingerprints(again)}


@dataclass(frozen=True, kw_only=True)
class Replay(Measurement):
    """Whether the data order of a stored run can be replayed: its hashes, epoch by epoch, and those of the order that
    its settings give now."""

    kind: ClassVar[str] = "replay"
    run: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        """Epochs, and how many are replayed exactly."""
        record = lab.record(self.run)
        batches = task(record.run, lab.data_root).train
        told = [(row["step"], row["order"]) for row in record.metrics if "order" in row]
        same = [batches.order_hash((step - 1) // len(batches)) == known for step, known in told]
        return {"epochs": len(told), "same": sum(same), "order": record.results["order"]}


@dataclass(frozen=True, kw_only=True)
class Divergence(Measurement):
    """Two trainings of one run side by side: how far apart their weights are, step by step, and how they end.

    Args:
        run: id of a stored run, whose settings both have.
        change: a name of `CHANGES`.
    """

    kind: ClassVar[str] = "divergence"
    run: str
    change: str

    def possible(self) -> bool:
        """Whether this machine has what the change needs: a GPU, another torch, an instruction set."""
        if self.change == "cuda":
            return torch.cuda.is_available()
        change = CHANGES[self.change]
        if change.python:
            return bool(os.environ.get(OTHER_PYTHON))
        return not change.kernels or change.kernels in native.installed()

    def measure(self, lab: Lab) -> dict[str, Any]:
        """Relative distance by step, and what the two have in common at the end."""
        record = lab.record(self.run)
        change = CHANGES[self.change]
        base = replace(record.run, label="", **change.first)
        steps = marks(int(record.info["steps"]))
        with tempfile.TemporaryDirectory() as folder:
            one, other = Path(folder, "one"), Path(folder, "other")
            left = traced(base, one, steps, lab.data_root)
            right, versions = _changed(base, change, other, steps, lab)
            distances = [_distance(left[step], right[step]) for step in steps]
            ends = _ends(_only(one), _only(other), lab.data_root)
            return {"steps": steps, "distance": distances, "versions": versions, **ends}


def marks(steps: int) -> list[int]:
    """Steps at equal ratios: 1, 2, 3, 5, 7, 10, ... and the last.

    Example:
        >>> marks(20)
        [1, 2, 3, 4, 6, 7, 10, 13, 18, 20]
    """
    ratio = 10**0.125
    found = {math.floor(ratio**i + 0.5) for i in range(math.floor(math.log(steps, ratio)) + 1)}
    return sorted(found | {1, steps})


def traced(
    run: Run, root: Path, steps: Sequence[int], data_root: str | None = None, *, autocast: bool = False
) -> dict[int, Tensor]:
    """Train, and keep all values after each of these steps, in one row each.

    Values are read when the network is next called after a step, so that a step of the optimizer and what the method
    does to it are both behind it.
    """
    kept: dict[int, Tensor] = {}
    made, due = 0, False

    def stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal made, due
        made, due = made + 1, made + 1 in steps

    def called(module: nn.Module, args: Any) -> None:
        nonlocal due
        if due:  # the first module that is called is the whole network
            due = False
            kept[made] = torch.cat([t.detach().cpu().flatten() for _, t in sorted(dense_values(module).items())])

    # no cache: it would keep the weights as they were cast at the first step
    through = torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if autocast else contextlib.nullcontext()
    handles = register_optimizer_step_post_hook(stepped), register_module_forward_pre_hook(called)
    try:
        with through:
            train(run, root, data_root=data_root)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def trace_elsewhere(config: str, root: str, target: str, steps: str, data_root: str = "") -> None:
    """What a process of its own is called with: `traced`, from a file of settings into a file of values."""
    kept = traced(Run.load(config), Path(root), [int(step) for step in steps.split(",")], data_root or None)
    torch.save({"kept": kept, "versions": host.versions()}, target)


def _changed(
    base: Run, change: Change, root: Path, steps: Sequence[int], lab: Lab
) -> tuple[dict[int, Tensor], dict[str, Any]]:
    """The second training, and the versions that it ran with."""
    run = replace(base, **{**change.second, "streams": {**base.streams, **change.second.get("streams", {})}})
    if change.nudge:
        run = replace(run, values=_nudged(run, change.nudge, root, lab.data_root))
    if change.python or change.environment is not None:
        return _elsewhere(run, change, root, steps, lab)
    kernels = native.using(change.kernels) if change.kernels else contextlib.nullcontext()
    with kernels:
        return traced(run, root, steps, lab.data_root, autocast=change.autocast), host.versions()


def _nudged(run: Run, size: float, root: Path, data_root: str | None) -> Values:
    """A file of the run's first values, each changed by a random share of itself."""
    images = task(run, data_root)
    model = network(run, images.image_shape, images.data.classes)
    rng = stream(run.seed, "nudge")
    state = {name: _times(t, size, rng) for name, t in model.state_dict().items()}
    file = root.with_suffix(".safetensors")
    save_values(state, file)
    return Values(path=str(file), sha256=sha256_of(file))


def _times(tensor: Tensor, size: float, rng: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    factor = 1 + size * torch.randn(tensor.shape, generator=rng, dtype=torch.float64)
    return (tensor.double() * factor).to(tensor.dtype)


def _elsewhere(
    run: Run, change: Change, root: Path, steps: Sequence[int], lab: Lab
) -> tuple[dict[int, Tensor], dict[str, Any]]:
    """The same training in a process of its own.

    Raises:
        RunError: it failed; its last line.
    """
    config, target = root.with_suffix(".toml"), root.with_suffix(".pt")
    config.write_text(run.to_toml(), encoding="utf-8")
    python = os.environ.get(OTHER_PYTHON, "") if change.python else sys.executable
    if not python:
        raise RunError(
            f"Another torch version is asked for, but {OTHER_PYTHON} names no interpreter. Set it to one that has it."
        )
    program = f"import sys; from {__name__} import trace_elsewhere as go; go(*sys.argv[1:])"
    words = [python, "-c", program, str(config), str(root), str(target), ",".join(map(str, steps))]
    source = str(Path(__file__).parents[3])
    done = subprocess.run(
        [*words, lab.data_root or ""],
        env={**os.environ, **(change.environment or {}), "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise RunError(f"The training in a process of its own failed: {last}")
    found = torch.load(target, weights_only=True)
    return found["kept"], found["versions"]


def _only(root: Path) -> Record:
    """The one record below a folder."""
    (path,) = (file.parent for file in root.glob("*/run.json"))
    return Record(path)


def _distance(a: Tensor, b: Tensor) -> float:
    """``|a − b| / |a|``."""
    a, b = a.double(), b.double()
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(a))


@torch.no_grad()
def _ends(one: Record, other: Record, data_root: str | None) -> dict[str, Any]:
    """What two finished runs have in common."""
    a, b = one.values(), other.values()
    said = [torch.cat(list(_logits(record, data_root))) for record in (one, other)]
    return {
        "equal": all(torch.equal(a[name].to(b[name].dtype), b[name]) for name in a),
        "largest": max(float((a[name].double() - b[name].double()).abs().max()) for name in a),
        "logits": float((said[0] - said[1]).abs().max()),
        "predictions": float((said[0].argmax(1) != said[1].argmax(1)).double().mean()),
        "wiring": jaccard(one.wiring, other.wiring),
        "accuracy": [one.test_accuracy_last, other.test_accuracy_last],
        "order": one.results["order"] == other.results["order"],
        "seconds": [one.seconds, other.seconds],
    }


def _logits(record: Record, data_root: str | None) -> Iterator[Tensor]:
    """Of the whole test set, computed masked on the CPU in the run's own precision."""
    model = record.model()
    for images, _ in task(replace(record.run, device="cpu"), data_root).test.epoch(0):
        yield model(images).double()


def _fingerprints(record: Record) -> dict[str, Any]:
    """What names the end of a run to the last bit."""
    digest = hashlib.sha256()
    for name, value in sorted(record.values().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return {
        "values": digest.hexdigest()[:16],
        "wiring": record.wiring.fingerprint,
        "order": record.results["order"],
        "accuracy": record.test_accuracy_last,
    }


__all__ = ["CHANGES", "OTHER_PYTHON", "Again", "Change", "Divergence", "Replay", "marks", "trace_elsewhere", "traced"]
