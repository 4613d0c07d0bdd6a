"""Checkpoints: folders that are whole or not there, and that carry the hashes of their files.

A folder is written aside, flushed, and moved into place; two are kept. The newest whose manifest verifies is the one
that is read, so neither a crash while writing nor a damaged file loses more than the steps since the one before.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wirings.core.errors import RunError
from wirings.core.files import sha256_of, sync_folder
from wirings.training.folder import clear_aside, stem, step_of

MANIFEST = "manifest.json"
KEEP = 2


def save(folder: Path, step: int, values: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of ``step`` below ``folder`` and let go of all but the two newest.

    Args:
        folder: where the run's checkpoints lie.
        step: completed steps.
        values: the model's state dict.
        state: whatever else is needed to go on: plain data and tensors only.
    """
    target = folder / stem(step)

    def fill(aside: Path) -> None:
        save_values(values, aside / "model.safetensors")
        torch.save(dict(state), aside / "train.pt")

    whole_folder(target, fill)
    older = sorted((p for p in folder.glob("step-*") if p != target and step_of(p) >= 0), key=step_of)
    for path in older[: max(len(older) - (KEEP - 1), 0)]:
        shutil.rmtree(path)
    return target


def newest(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Step, values and state of the newest checkpoint whose files are what its manifest says; ``None`` without any.

    A damaged one is passed over with a warning. Nothing in it is executed: values are safetensors, the rest is read
    with ``weights_only=True``.
    """
    for path in sorted(folder.glob("step-*"), key=step_of, reverse=True):
        wrong = damage(path)
        if wrong is None:
            try:
                state = torch.load(path / "train.pt", weights_only=True, map_location="cpu")
                return step_of(path), load_values(path / "model.safetensors"), state
            except (RunError, RuntimeError, pickle.UnpicklingError, ValueError, EOFError) as error:
                wrong = str(error).splitlines()[0].rstrip(".")
        warnings.warn(
            f"The checkpoint {path} is passed over: {wrong}. The run goes on from the one before.", stacklevel=2
        )
    return None


def whole_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """A folder that ``fill`` writes into, with a manifest, whole or not there.

    An older folder of that name is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_aside(target.parent)
    aside = target.parent / f".{target.name}.{os.getpid()}.tmp"
    aside.mkdir()
    try:
        fill(aside)
        files = sorted(p.name for p in aside.iterdir())
        manifest = {"files": {name: {"sha256": sha256_of(aside / name)} for name in files}}
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        for name in (*files, MANIFEST):
            with (aside / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(aside)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
        sync_folder(target.parent)
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that has a manifest, in half a sentence; ``None`` where all is well."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, said in listed.items():
            if Path(name).name != name:
                return f"its manifest names `{name}`, which lies outside"
            if sha256_of(folder / name) != said["sha256"]:
                return f"`{name}` does not match its hash"
    except FileNotFoundError as error:
        return f"`{Path(str(error.filename)).name}` is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its manifest cannot be read ({error})"
    return None


def save_values(values: Mapping[str, Tensor], path: Path) -> None:
    """A state dict as a safetensors file; tensors that share memory (tied weights) are written out one by one."""
    from safetensors.torch import save_file

    save_file({name: t.detach().cpu().contiguous().clone() for name, t in values.items()}, path)


def load_values(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file.

    Raises:
        RunError: there is none, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise RunError(f"There are no values at {path}.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or holds no values: {error}.") from error
