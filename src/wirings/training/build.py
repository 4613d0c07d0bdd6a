"""From the words of a run to live things: its images, its network, its weights that may be sparse."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wirings import data, models
from wirings.core.budgets import check_density
from wirings.core.errors import DataError, RunError, SettingsError, reason_of
from wirings.core.files import sha256_of
from wirings.core.streams import derived_seed
from wirings.core.wiring import Shapes
from wirings.data import Batches, CentreCrop, ImageData
from wirings.data.batches import Normalise
from wirings.makers.prunable import prunable
from wirings.training.checkpoints import load_values
from wirings.training.settings import Run

EVALUATION_BATCH = 1000
"""Images per forward pass where nothing is learnt."""


@dataclass(frozen=True)
class Task:
    """The images of one run, ready to be served.

    Args:
        data: the data set.
        train: shuffled, augmented batches to learn from.
        held_out: training images to choose the best epoch on; ``None`` under the protocol ``"paper"`` without any.
        test: read once, at the end; under the protocol ``"paper"``, after every epoch.
        image_shape: (channels, height, width) that the network sees.
    """

    data: ImageData
    train: Batches
    held_out: Batches | None
    test: Batches
    image_shape: tuple[int, int, int]

    @property
    def chosen_on(self) -> Batches:
        """The images that the best epoch is chosen on."""
        return self.test if self.held_out is None else self.held_out


def task(run: Run, data_root: str | os.PathLike[str] | None = None) -> Task:
    """The images of a run; the held-out ones are the same for every seed, so that runs compare."""
    images = load_data(run.data, None if data_root is None else os.fspath(data_root))
    if run.held_out is not None and run.held_out >= len(images.train_labels):
        raise SettingsError(
            f"`held_out` of `Run` must leave some of the {len(images.train_labels):,} training images of `{run.data}`. "
            f"Got {run.held_out:,}."
        )
    wanted = 0 if run.held_out is None and run.protocol == "paper" else run.held_out
    kept, held_out = data.split(images.train_labels, wanted, seed=0)
    side = getattr(run.augment, "size", None)
    shape = images.image_shape if side is None else (images.image_shape[0], side, side)
    shared: dict[str, Any] = {
        "normalise": normalisation(run, images),
        "dtype": getattr(torch, run.dtype),
        "memory_format": layout(run),
        "device": device_of(run),
    }
    still = {**shared, "batch_size": EVALUATION_BATCH, "augment": None if side is None else CentreCrop(size=side)}
    train = Batches(
        images.train_images,
        images.train_labels,
        batch_size=run.batch_size,
        seed=run.seed_of("order"),
        index=kept if len(held_out) else None,
        augment=run.augment,
        drop_last=run.drop_last,
        fixed_order=run.fixed_order,
        **shared,
    )
    return Task(
        data=images,
        train=train,
        # the tensor that training reads from already, so that images lie in memory once
        held_out=data.in_order(train.images, train.labels, index=held_out, **still) if len(held_out) else None,
        test=data.in_order(images.test_images, images.test_labels, **still),
        image_shape=shape,
    )


def normalisation(run: Run, images: ImageData) -> Normalise:
    """What becomes of pixels: (mean, deviation) of each channel, "per-image", or nothing but a division."""
    known: dict[str, Normalise] = {"channels": images.normalise, "per-image": "per-image", "none": None}
    return known[run.normalise]


def layout(run: Run) -> torch.memory_format:
    """How images and the weights of convolutions lie in memory."""
    return torch.channels_last if run.channels_last else torch.preserve_format


def network(run: Run, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network of a run with its first weights, on its device: drawn, or read from ``run.values``."""
    settings = dict(run.model_settings)
    if run.small_dense is not None:
        settings["width"] = equal_parameters(
            run.model, run.small_dense, image_shape=image_shape, classes=classes, except_=run.except_, **settings
        )
    model = build_model(run.model, settings, image_shape, classes, run.seed_of("init"))
    if run.values is not None:
        try:
            found = sha256_of(run.values.path)
        except OSError as error:
            raise RunError(f"The values to begin with cannot be read: {reason_of(error)}.") from error
        if found != run.values.sha256:
            raise RunError(f"The values at {run.values.path} are not those that the settings name: hashes differ.")
        put_values(model, load_values_of(run), run.values.path)
    model.to(device_of(run), getattr(torch, run.dtype))
    model.to(memory_format=layout(run))  # type: ignore[call-overload]  # torch's own types leave it out
    return model


def load_values_of(run: Run) -> dict[str, Tensor]:
    """The weights that a run begins with, from their file."""
    assert run.values is not None
    return load_values(Path(run.values.path))


def put_values(model: nn.Module, values: Mapping[str, Tensor], where: object) -> None:
    """Load a state dict, refused in one sentence where it is another network's."""
    try:
        model.load_state_dict(dict(values))
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise RunError(f"The values at {where} belong to another network: {first[0].strip()}") from error


def build_model(
    name: str, settings: Mapping[str, Any], image_shape: tuple[int, int, int], classes: int, seed: int
) -> nn.Module:
    """A model by name, or by ``"module:attribute"``; either way its weights follow from ``seed`` alone."""
    if ":" not in name:
        return models.build(name, image_shape=image_shape, classes=classes, seed=seed, **settings)
    make = imported(name, "model")
    offered = {"image_shape": image_shape, "classes": classes}
    taken = inspect.signature(make).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    for key in settings:
        if key not in taken and not anything:
            raise SettingsError(f"`{name}` takes no `{key}`. It takes: {', '.join(taken)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "init"))
        try:
            model = make(**{k: v for k, v in offered.items() if k in taken}, **settings)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"`{name}` cannot be built: {error}") from error
    if not isinstance(model, nn.Module):
        raise SettingsError(f"`{name}` must make a torch.nn.Module. Got {type(model).__name__}.")
    return model


@functools.lru_cache(maxsize=4)
def load_data(name: str, root: str | None = None) -> ImageData:
    """A data set by name, or by ``"module:attribute"``: a function that is called with nothing, or an `ImageData`."""
    if ":" not in name:
        return data.load(name, root)
    found = imported(name, "data")
    if callable(found):
        found = found()
    if not isinstance(found, ImageData):
        raise DataError(f"`{name}` must give a wirings.data.ImageData. Got {type(found).__name__}.")
    return found


def imported(name: str, what: str) -> Callable[..., Any]:
    """What ``"package.module:attribute"`` names; the current folder is looked in too.

    Raises:
        SettingsError: there is no such module or attribute.
    """
    module, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"The {what} `{name}` cannot be imported: {error}.") from error
    return found  # type: ignore[return-value]


def device_of(run: Run) -> torch.device:
    """Where a run trains.

    Raises:
        SettingsError: this machine has no such device.
    """
    if run.device == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(run.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"`device` of `Run` must be one that is here. Got {run.device!r}: {error}") from error
    return device


def shapes_of(model: nn.Module, except_: tuple[str, ...] = ()) -> Shapes:
    """The weights that may be sparse, and their shapes."""
    return {name: tuple(weight.shape) for name, weight in prunable(model, except_=except_).items()}


def equal_parameters(
    model: str,
    density: float,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    except_: tuple[str, ...] = (),
    **settings: Any,  # the model's own, checked by it
) -> float:
    """The ``width`` at which a dense network has as many weights as this density leaves of the full one.

    Prunable weights are counted, less those that ``except_`` names. Widths are whole units, so the count comes out as
    near as they allow.

    Example:
        >>> width = equal_parameters("lenet-300-100", 0.05, image_shape=(1, 28, 28), classes=10)
        >>> round(width, 3)
        0.055

    Raises:
        SettingsError: the model has no ``width``, or even the narrowest network is larger.
    """
    check_density(density, "equal_parameters")
    own = float(settings.pop("width", 1.0))

    def size(width: float) -> int:
        try:
            # a model of the user's draws nothing on "meta"; ours are made by a function that knows better
            with torch.device("meta") if ":" in model else contextlib.nullcontext():
                made = build_model(model, {**settings, "width": width}, image_shape, classes, 0)
        except SettingsError as error:
            raise SettingsError(
                f"A small dense network needs a model with a `width`: {str(error).rstrip('.')}."
            ) from error
        return sum(math.prod(shape) for shape in shapes_of(made, except_).values())

    wanted = density * size(own)
    low, high = own * 1e-4, own
    if size(low) > wanted:
        raise SettingsError(
            f"`small_dense` {density:g} is out of reach for `{model}`: even one unit a layer makes {size(low):,} "
            f"weights, more than {wanted:,.0f}."
        )
    if size(high) <= wanted:
        return own
    for _ in range(22):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= wanted else (low, middle)
    return min(low, high, key=lambda width: abs(size(width) - wanted))
