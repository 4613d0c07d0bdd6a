"""Records: what finished runs left on disk, read lazily, so that a thousand are found in the blink of an eye."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wirings.core.errors import RunError
from wirings.core.wiring import Wiring
from wirings.training.folder import FINISHED, RunFolder, step_of
from wirings.training.settings import Run

if TYPE_CHECKING:
    from torch import Tensor, nn


class Record:
    """A run as it stands on disk. Nothing is read before it is asked for, and nothing is written.

    Example:
        >>> for record in find("runs"):
        ...     record.method, record.seed, record.density, record.test_accuracy_last

    Accuracies are shares of 1 and carry in their names how they were chosen; ``best_chosen_on`` says on which images
    ("held-out", or "test" under the protocol "paper").
    """

    def __init__(self, path: str | os.PathLike[str], *, info: dict[str, Any] | None = None) -> None:
        """``info``: what ``run.json`` says, by somebody who has read it already."""
        self.folder = RunFolder(Path(path))
        self.path = self.folder.path
        if info:
            self.info = info

    def __repr__(self) -> str:
        return f"Record({self.path.name}, {self.status})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.path.resolve() == other.path.resolve()

    def __hash__(self) -> int:
        return hash(self.path.resolve())

    # ------------------------------------------------------------------ run.json

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """All that ``run.json`` says.

        Raises:
            RunError: there is none, or it is damaged.
        """
        info = self.folder.read()
        if not info:
            raise RunError(f"There is no run in {self.path}.")
        return info

    @functools.cached_property
    def run(self) -> Run:
        """The settings that made it."""
        return Run.from_plain(self.folder.at_home(self.info["settings"]))

    @property
    def id(self) -> str:
        """The run's identity, seed and all."""
        return str(self.info["id"])

    @property
    def group(self) -> str:
        """The run's identity without its seed: equal for the runs of one table cell."""
        return str(self.info["group"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.info["seeds"]["seed"])

    @property
    def method(self) -> str:
        """What tables call the method."""
        return str(self.info["method"])

    @property
    def status(self) -> str:
        """``"finished"``, ``"diverged"``, ``"interrupted"``, ``"failed"`` or ``"running"`` (or killed while it ran)."""
        return str(self.info["status"])

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == FINISHED

    @property
    def results(self) -> dict[str, Any]:
        """The numbers at its end; empty before."""
        return dict(self.info.get("results", {}))

    @property
    def test_accuracy_last(self) -> float:
        """On the test set, of the last values."""
        return float(self._result("test_accuracy_last"))

    @property
    def test_accuracy_best(self) -> float:
        """On the test set, of the best epoch; ``best_chosen_on`` says what chose it."""
        return float(self._result("test_accuracy_best"))

    @property
    def best_chosen_on(self) -> str:
        """``"held-out"``, or ``"test"``: then ``test_accuracy_best`` is a maximum over looks at the test set."""
        return str(self._result("best_chosen_on"))

    @property
    def density(self) -> float:
        """Connections over positions, of the weights that could be sparse; of the network that was asked for, where a
        small dense one stands in for it."""
        small = self.info["settings"].get("small_dense")
        return float(small if small is not None else self._result("density"))

    @property
    def effective_density(self) -> float:
        """Connections on a path from input to output, over positions."""
        return float(self._result("effective_density"))

    @property
    def connections(self) -> int:
        """How many connections the network has at the end."""
        return int(self._result("connections"))

    @property
    def training_flops(self) -> float:
        """Floating-point operations of the whole training, by the convention of the papers."""
        return float(self._result("training_flops"))

    @property
    def seconds(self) -> float:
        """Wall time, all sittings together."""
        return float(self.info.get("seconds", 0.0))

    @property
    def busy_seconds(self) -> float:
        """Processor time of the run's process, all sittings together: what to compare where runs share a machine."""
        return float(self.info.get("busy_seconds", 0.0))

    @property
    def energy(self) -> dict[str, Any]:
        """``{"joules": ..., "source": "rapl" | "estimate", "of": ...}``."""
        return dict(self.info.get("energy", {}))

    # ------------------------------------------------------------------ the other files

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row an epoch, the first before training."""
        return self.folder.rows()

    @property
    def wiring(self) -> Wiring:
        """The wiring at the end."""
        return Wiring.load(self.folder.final / "wiring.safetensors")

    def history(self) -> Iterator[tuple[int, Wiring]]:
        """(step, wiring) as they were kept, the first before training; where a wiring stood still it is kept once."""
        for file in sorted(self.folder.wirings.glob("step-*.safetensors"), key=step_of):
            yield step_of(file), Wiring.load(file)

    def snapshot(self, step: int | None = None) -> Path:
        """The file with all values after ``step``; default: the only one there is.

        Raises:
            RunError: none was kept.
        """
        files = sorted(self.folder.snapshots.glob("step-*.safetensors"), key=step_of)
        found = [file for file in files if step is None or step_of(file) == step]
        if not found:
            raise RunError(
                f"{self.path} keeps no snapshot{'' if step is None else f' of step {step}'}; set `snapshot`."
            )
        return found[0]

    def values(self) -> dict[str, Tensor]:
        """The state dict at the end."""
        from wirings.training.checkpoints import load_values

        return load_values(self.folder.final / "model.safetensors")

    def model(self) -> nn.Module:
        """The network at the end, on the CPU, in evaluation mode; zero wherever nothing is connected."""
        from wirings.training.build import network, put_values

        channels, height, width = (int(n) for n in self.info["data"]["image_shape"])
        run = dataclasses.replace(self.run, values=None, device="cpu")
        model = network(run, (channels, height, width), int(self.info["data"]["classes"]))
        put_values(model, self.values(), self.path)
        return model.eval()

    def _result(self, name: str) -> Any:
        try:
            return self.info["results"][name]
        except KeyError:
            raise RunError(f"{self.path} has no `{name}` yet: the run is {self.status}.") from None


def find(root: str | os.PathLike[str]) -> list[Record]:
    """All runs below a folder, finished or not, in the order of their paths; what cannot be read is left out.

    Example:
        >>> finished = [record for record in find("runs") if record.finished]
    """
    return list(_below(Path(root)))


def _below(root: Path) -> Iterator[Record]:
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == "run.json" for entry in entries):
        with contextlib.suppress(RunError):
            yield Record(root, info=RunFolder(root).read())
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _below(Path(entry.path))
