"""Structure only: a wiring that one training found, trained from fresh values. How much of it is in the wiring?"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Generator, Tensor, nn

from wirings.core.streams import stream
from wirings.core.wiring import Wiring
from wirings.methods.static import Static
from wirings.models import reinitialise
from wirings.procedures.lottery import kept_wiring
from wirings.procedures.values import Fit, fitted, values_of
from wirings.training.records import Record
from wirings.training.settings import Run

Control = Callable[[Wiring, Generator], Wiring]
"""Makes the wiring that a comparison needs, such as one with the same densities at random positions."""


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A wiring trained from fresh values.

    Args:
        seed: of the values.
        wiring: what was trained: the found wiring, or a control of it.
        origin: the values its training began with.
        trained: the values at its end.
        score: what ``fit`` returned.
    """

    seed: int
    wiring: Wiring
    origin: Mapping[str, Tensor] = field(repr=False)
    trained: Mapping[str, Tensor] = field(repr=False)
    score: float


def structure_only(
    model: nn.Module,
    wiring: Wiring,
    fit: Fit,
    *,
    seeds: Iterable[int],
    control: Control | None = None,
    initialiser: str | None = None,
) -> Iterator[Retrained]:
    """Draw every parameter anew and train the wiring as it stands, once a seed (Van Gelder et al. 2020, figure 1).

    Example:
        >>> scores = [again.score for again in structure_only(model, sparse.wiring, fit, seeds=range(5))]

    Args:
        model: the network; it stays as it is.
        wiring: what was found.
        fit: trains a copy on a wiring and returns a score; see `Fit`.
        seeds: of the fresh values (stream "init"), and of the control (stream "control").
        control: transforms the wiring first, for a comparison that tells its structure from its densities.
        initialiser: a name of `wirings.models.initialisers()`. Default: the model's own.
    """
    for seed in seeds:
        fresh = copy.deepcopy(model)
        reinitialise(fresh, stream(seed, "init"), initialiser)
        mine = wiring if control is None else control(wiring, stream(seed, "control"))
        origin = values_of(fresh)
        trained, score = fitted(fresh, mine, fit)
        yield Retrained(seed=seed, wiring=mine, origin=origin, trained=values_of(trained), score=score)


def structure_only_run(record: Record, *, seed: int, control: Control | None = None, label: str = "") -> Run:
    """The run that trains a finished run's wiring from fresh values: new first weights, new data order, new schedule.

    Example:
        >>> train_all([structure_only_run(record, seed=100 + s) for record in finished for s in range(3)], "runs")

    Args:
        record: a finished run; a file of its wiring, or of the control's, stays beside it.
        seed: of the new run. Take one that found no wiring, else the values are those the wiring was found with.
        control: transforms the wiring first, with the stream "control" of this seed.
        label: what tables call it. Default: the method's name with ``-structure`` or the control's name.
    """
    wiring = record.wiring
    if control is not None:
        wiring = kept_wiring(control(wiring, stream(seed, "control")), record)
    what = "structure" if control is None else getattr(control, "__name__", type(control).__name__).replace("_", "-")
    return dataclasses.replace(
        record.run,
        method=Static(begin=wiring),
        values=None,
        snapshot=None,
        seed=seed,
        streams={},
        label=label or f"{record.method}-{what}",
    )
