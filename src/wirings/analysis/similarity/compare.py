"""Layer curves and layer x layer maps: any layers of any two models, by name, by any measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from wirings.analysis.similarity.activations import (
    Batch,
    Per,
    Positions,
    channels_last,
    check,
    common,
    points,
    watching,
)
from wirings.analysis.similarity.cca import cca_of, pwcca_of, svcca_of
from wirings.analysis.similarity.cka import debiased_cka_of, linear_cka_of, rbf_cka_of
from wirings.analysis.similarity.procrustes import procrustes_of
from wirings.analysis.similarity.result import Similarity
from wirings.analysis.similarity.side import Side, side, sides
from wirings.core.errors import nearest
from wirings.core.streams import stream

MEASURES: Mapping[str, Callable[[Side, Side], Similarity]] = {
    "svcca": svcca_of,
    "cca": cca_of,
    "pwcca": pwcca_of,
    "cka": linear_cka_of,
    "debiased_cka": debiased_cka_of,
    "rbf_cka": rbf_cka_of,
    "procrustes": procrustes_of,
}
"""The measures that `compare` knows, each with its defaults."""

Place = tuple[int, str, tuple[int, ...]]
"""Which model (0 or 1), which layer, averaged down to which size."""


@dataclass(frozen=True)
class Comparison:
    """How alike the layers of two models are.

    Args:
        layers_a, layers_b: module names, in the order of rows and of columns.
        measures: names of the measures.
        cells: by measure, layer of the first and layer of the second model.
    """

    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    measures: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Similarity]

    def map(self, measure: str) -> Tensor:
        """The values of every layer against every layer, shape (layers_a, layers_b), float64."""
        return self._table(measure, lambda found: found.value)

    def noise(self, measure: str) -> Tensor:
        """The noise floors, in the places of `map`."""
        return self._table(measure, lambda found: found.noise_floor)

    def curve(self, measure: str) -> list[Similarity]:
        """Each layer against the layer in the same place of the other model."""
        return [self.cells[measure, a, b] for a, b in zip(self.layers_a, self.layers_b, strict=True)]

    def rows(self) -> list[dict[str, str | float | int]]:
        """One row a cell, for a table: measure, layers, value, noise floor, points, directions and notes."""
        return [
            {
                "measure": measure,
                "layer_a": a,
                "layer_b": b,
                "value": found.value,
                "noise_floor": found.noise_floor,
                "points": found.points,
                "directions_a": found.directions[0],
                "directions_b": found.directions[1],
                "notes": "; ".join(found.notes),
            }
            for (measure, a, b), found in self.cells.items()
        ]

    def _table(self, measure: str, entry: Callable[[Similarity], float]) -> Tensor:
        if len(self.cells) != len(self.measures) * len(self.layers_a) * len(self.layers_b):
            raise ValueError('A map needs every pair of layers, and only the same places were compared: pairs="all".')
        rows = [[entry(self.cells[measure, a, b]) for b in self.layers_b] for a in self.layers_a]
        return torch.tensor(rows, dtype=torch.float64)


def compare(
    model_a: nn.Module,
    model_b: nn.Module,
    layers: Sequence[str],
    batches: Iterable[Batch],
    *,
    layers_b: Sequence[str] | None = None,
    measures: Sequence[str] = ("svcca", "cka"),
    pairs: Literal["all", "same"] = "all",
    per: Per = "channel",
    positions: int | None = 16,
    axis: int | None = None,
    seed: int = 0,
) -> Comparison:
    """How alike the layers of two models are on the same data: a map of every pair, or a curve over the same places.

    Both models run side by side over the batches. Maps of different size are averaged down to the smaller one before
    they are compared (a map against a vector: down to one position); maps of one size at the same positions.

    Example:
        >>> found = compare(dense, pruned, ["conv1", "conv2", "fc"], loader)
        >>> found.map("svcca").shape
        torch.Size([3, 3])

    Args:
        layers: module names in ``model_a``; and in ``model_b``, unless ``layers_b`` says otherwise.
        batches: the same for both models, read once.
        measures: names out of `MEASURES`.
        pairs: ``"all"`` for layer x layer maps, ``"same"`` for the curve only.
        per: what is a unit, see `activations`.
        positions: how many positions of each image become points; 16 keeps maps affordable, None takes all.
        axis: where the channels are, see `activations`.
        seed: of the positions.
    """
    names_a, names_b = tuple(layers), tuple(layers if layers_b is None else layers_b)
    check(per, positions, "compare")
    _check(names_a, names_b, measures, pairs)
    wanted = list(product(names_a, names_b) if pairs == "all" else zip(names_a, names_b, strict=True))
    draw = Positions(positions, stream(seed, "positions"))
    places: dict[tuple[str, str], tuple[Place, Place]] = {}
    parts: dict[Place, list[Tensor]] = {}
    with watching(model_a, names_a) as run_a, watching(model_b, names_b) as run_b:
        for batch in batches:
            found = run_a(batch), run_b(batch)
            maps = [{name: channels_last(value, per, axis) for name, value in one.items()} for one in found]
            now = {(a, b): _places(a, b, maps[0][a], maps[1][b]) for a, b in wanted}
            if places and now != places:
                raise ValueError("`batches` of `compare` must give maps of one size. They changed between two batches.")
            places = now
            for place in {place for both in places.values() for place in both}:
                model, name, size = place
                parts.setdefault(place, []).append(points(maps[model][name], draw, size).cpu())
            draw.next_batch()
    if not parts:
        raise ValueError("`batches` of `compare` must hold at least one batch. Got none.")
    # each side is made once, with its decomposition, and used in every pair
    whole = {place: torch.cat(part) for place, part in parts.items()}
    ready = {place: side(x, "xy"[place[0]]) for place, x in whole.items() if bool(x.isfinite().all())}
    cells: dict[tuple[str, str, str], Similarity] = {}
    for (a, b), (left, right) in places.items():
        both = (ready[left], ready[right]) if left in ready and right in ready else sides(whole[left], whole[right])
        for measure in measures:
            cells[measure, a, b] = MEASURES[measure](*both)
    return Comparison(names_a, names_b, tuple(measures), cells)


def _places(a: str, b: str, value_a: Tensor, value_b: Tensor) -> tuple[Place, Place]:
    """Where the two sides of a pair are kept: both at their common size."""
    size = common(tuple(value_a.shape[1:-1]), tuple(value_b.shape[1:-1]))
    return (0, a, size), (1, b, size)


def _check(names_a: Sequence[str], names_b: Sequence[str], measures: Sequence[str], pairs: str) -> None:
    for measure in measures:
        if measure not in MEASURES:
            raise ValueError(f"`measures` of `compare` are unknown. Got {measure!r}. {nearest(measure, MEASURES)}")
    if pairs not in ("all", "same"):
        raise ValueError(f'`pairs` of `compare` must be "all" or "same". Got {pairs!r}.')
    if pairs == "same" and len(names_a) != len(names_b):
        raise ValueError(
            f"`layers_b` of `compare` must be as many as `layers` to compare the same places. "
            f"Got {len(names_b)} and {len(names_a)}."
        )
