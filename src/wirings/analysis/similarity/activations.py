"""What the layers of a network say about the data, as (points, units): read by hooks that are gone afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from wirings.core.errors import nearest
from wirings.core.streams import stream

Per = Literal["channel", "flatten"]
Batch = Any
"""What a data loader yields: an input, a (input, target, ...) sequence, or a mapping of keyword arguments."""


def activations(
    model: nn.Module,
    names: Sequence[str],
    batches: Iterable[Batch],
    *,
    per: Per = "channel",
    positions: int | None = None,
    axis: int | None = None,
    rng: Generator | None = None,
) -> dict[str, Tensor]:
    """The outputs of the named modules over all batches, each of shape (points, units), on the CPU.

    The model runs in evaluation mode without gradients; afterwards its hooks are gone and its training modes are back,
    also after an error.

    Example:
        >>> found = activations(model, ["conv2", "fc"], loader, positions=16, rng=stream(0, "positions"))
        >>> found["conv2"].shape
        torch.Size([160000, 64])

    Args:
        names: module names of the bare model, as in `named_modules()`; ``""`` is the model itself.
        batches: inputs, or sequences whose first item is the input, or mappings of keyword arguments.
        per: ``"channel"``: a unit is a channel, and each position of each image a point; ``"flatten"``: a unit is a
            channel at a position, and each image a point.
        positions: how many positions of each image become points, drawn without repetition; None for all. Maps of equal
            size get the same positions, in every layer and, given an equal ``rng``, in every model.
        axis: where the channels are; by default 1 for maps of four and more dimensions, else the last: a Conv1d's
            (N, C, L) wants ``axis=1``.
        rng: draws the positions; needed with ``positions``.
    """
    check(per, positions, "activations")
    if positions is not None and rng is None:
        raise ValueError("`rng` of `activations` must be given where `positions` are drawn: stream(seed, 'positions').")
    draw = Positions(positions, rng)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with watching(model, names) as run:
        for batch in batches:
            for name, value in run(batch).items():
                parts[name].append(points(channels_last(value, per, axis), draw).cpu())
            draw.next_batch()
    if any(not part for part in parts.values()):
        raise ValueError("`batches` of `activations` must hold at least one batch. Got none.")
    return {name: torch.cat(part) for name, part in parts.items()}


@contextmanager
def watching(model: nn.Module, names: Sequence[str]) -> Iterator[Callable[[Batch], dict[str, Tensor]]]:
    """A function from a batch to the outputs of the named modules, as long as the context lasts."""
    model = _bare(model)
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            raise ValueError(f"The model has no module {name!r}. {nearest(name, modules)}")
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}
    modes = [(module, module.training) for module in model.modules()]
    handles = [modules[name].register_forward_hook(_recorder(name, seen)) for name, seen in outputs.items()]

    def run(batch: Batch) -> dict[str, Tensor]:
        for seen in outputs.values():
            seen.clear()
        _forward(model, batch)
        for name, seen in outputs.items():
            if len(seen) != 1:
                raise ValueError(
                    f"Module {name!r} ran {len(seen)} times in one forward pass, and must run once. "
                    "Name the module that calls it."
                )
        return {name: seen.pop() for name, seen in outputs.items()}

    try:
        model.eval()
        with torch.no_grad():
            yield run
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode


class Positions:
    """Which positions of each image become points: the same for all maps of one size, drawn anew for every batch."""

    def __init__(self, count: int | None, rng: Generator | None) -> None:
        self._count = count
        self._seed = int(torch.randint(2**62, (), generator=rng)) if count is not None and rng is not None else 0
        self._batch = 0

    def next_batch(self) -> None:
        self._batch += 1

    def __call__(self, images: int, space: tuple[int, ...]) -> Tensor | None:
        """Indices into the flattened positions, shape (images, count); None for all of them."""
        total = math.prod(space)
        if self._count is None or self._count >= total:
            return None
        rng = stream(self._seed, "positions", self._batch, *space)
        return torch.rand(images, total, generator=rng).argsort(1)[:, : self._count]


def channels_last(value: Tensor, per: Per, axis: int | None) -> Tensor:
    """Shape (images, *positions, units); without positions where each image is one point."""
    if value.ndim == 1:
        return value[:, None]
    if per == "flatten":
        return value.flatten(1)
    if value.ndim == 2:
        return value
    place = axis if axis is not None else (1 if value.ndim > 3 else -1)
    if not -value.ndim < place < value.ndim or place == 0:
        raise ValueError(f"`axis` must be a dimension of {tuple(value.shape)} other than the first. Got {axis!r}.")
    return value.movedim(place, -1)


def points(value: Tensor, draw: Positions, size: tuple[int, ...] | None = None) -> Tensor:
    """The points of one batch, shape (points, units): averaged down to ``size`` first, then at the positions drawn."""
    if size is not None and size != tuple(value.shape[1:-1]):
        value = _averaged(value, size)
    images, *space, units = value.shape
    value = value.reshape(images, -1, units)
    chosen = draw(images, tuple(space))
    if chosen is not None:
        value = value.gather(1, chosen.to(value.device)[:, :, None].expand(-1, -1, units))
    return value.reshape(-1, units)


def common(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The size to which two maps are averaged before they are compared: the smaller in each dimension.

    Maps of different kinds (an image and a vector) meet as vectors: one average over all positions.
    """
    return tuple(map(min, a, b)) if len(a) == len(b) else ()


def _averaged(value: Tensor, size: tuple[int, ...]) -> Tensor:
    if not size:
        return value.flatten(1, -2).mean(1)
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(size)]
    return pool(value.movedim(-1, 1), size).movedim(1, -1)  # type: ignore[arg-type]  # each takes a tuple of its own length


def _recorder(name: str, seen: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        value = next((item for item in output if isinstance(item, Tensor)), None) if _is_list(output) else output
        if not isinstance(value, Tensor) or not value.ndim:
            got = type(output).__name__
            raise TypeError(f"Module {name!r} must return a tensor with a batch dimension. Got {got}.")
        seen.append(value.detach().clone())  # a ReLU in place would overwrite it

    return record


def _forward(model: nn.Module, batch: Batch) -> None:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(batch, Mapping):
        model(**{key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()})
    else:
        model((batch[0] if _is_list(batch) else batch).to(device))


def _bare(model: nn.Module) -> nn.Module:
    """The model within `torch.compile` and the parallel wrappers."""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def check(per: str, positions: int | None, owner: str) -> None:
    """Refuse settings that mean nothing."""
    if per not in ("channel", "flatten"):
        raise ValueError(f'`per` of `{owner}` must be "channel" or "flatten". Got {per!r}.')
    if positions is not None and not positions >= 1:
        raise ValueError(f"`positions` of `{owner}` must be at least 1, or None for all. Got {positions!r}.")
