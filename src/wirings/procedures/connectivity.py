"""Linear mode connectivity: what lies between two trained networks on the straight line that joins their weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wirings.core.errors import WiringError
from wirings.procedures.scoring import Images, accuracy_on
from wirings.procedures.sensitivity import recalibrated
from wirings.sparse import to_dense
from wirings.training.build import task
from wirings.training.records import Record


@dataclass(frozen=True, kw_only=True)
class LinearPath:
    """Scores along the way from one network to another.

    Args:
        shares: of the way, from 0 to 1.
        scores: accuracies, aligned with ``shares``.
    """

    shares: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.scores) or len(self.shares) < 2:
            raise ValueError(
                f"`shares` and `scores` of `LinearPath` must be as many, two at least. "
                f"Got {len(self.shares)} and {len(self.scores)}."
            )
        if self.shares[0] != 0 or self.shares[-1] != 1 or list(self.shares) != sorted(set(self.shares)):
            raise ValueError(f"`shares` of `LinearPath` must ascend from 0 to 1. Got {self.shares}.")

    @property
    def barrier(self) -> float:
        """The highest error on the way less the mean error of both ends, at least 0: linear interpolation instability.

        Frankle et al. 2020, section 2; they call two networks connected below 0.02.

        Example:
            >>> LinearPath(shares=(0.0, 0.5, 1.0), scores=(0.9, 0.6, 1.0)).barrier
            0.35
        """
        return round((self.scores[0] + self.scores[-1]) / 2 - min(self.scores), 12)


def linear_path(
    first: nn.Module,
    second: nn.Module,
    score: Callable[[nn.Module], float],
    *,
    points: int = 30,
    recalibrate: Callable[[nn.Module], object] | None = None,
) -> LinearPath:
    """Score networks on the line between two of one architecture (Frankle, Dziugaite, Roy & Carbin 2020).

    On the way a network has the connections of both; at each end, its own. Running statistics of batch norms lie on the
    line as weights do; counters are the first network's.

    Example:
        >>> linear_path(ticket, other_ticket, accuracy).barrier

    Args:
        first, second: trained networks, dense, masked or in sparse storage; they stay as they are.
        score: of a network, an accuracy in [0, 1].
        points: how many, both ends among them, evenly spaced; 30 as in the paper.
        recalibrate: called with each network before it is scored; see :func:`wirings.procedures.recalibrated`.
            Default: statistics stay what they are on the line.

    Raises:
        WiringError: the networks do not have the same weights.
    """
    if not isinstance(points, int) or isinstance(points, bool) or points < 2:
        raise ValueError(f"`points` of `linear_path` must be an integer of at least 2. Got {points!r}.")
    start, end = _state(first), _state(second)
    _check(start, end)
    between = to_dense(copy.deepcopy(first))
    shares = tuple(point / (points - 1) for point in range(points))
    scores = []
    for share in shares:
        between.load_state_dict({name: _at(share, start[name], end[name]) for name in start})
        if recalibrate is not None:
            recalibrate(between)
        scores.append(float(score(between)))
    return LinearPath(shares=shares, scores=tuple(scores))


def linear_path_between(
    first: Record,
    second: Record,
    *,
    points: int = 30,
    recalibrate: bool = False,
    on: Images = "test",
    images: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> LinearPath:
    """The line between the networks of two finished runs, scored on the first one's images.

    Example:
        >>> tickets = [lottery(play, "runs")[-1] for play in plays]  # two orders of the data, say
        >>> linear_path_between(tickets[0].record, tickets[1].record).barrier

    Args:
        first, second: finished runs of one network.
        points: as in :func:`linear_path`.
        recalibrate: whether batch norms see one epoch of training images before each score.
        on: which images score.
        images: how many of them, evenly spread over the set; by default all.
        data_root: where data sets lie.
    """
    mine = task(first.run, data_root)
    device = mine.test.images.device
    return linear_path(
        first.model().to(device),
        second.model().to(device),
        accuracy_on(mine, on, images, owner="linear_path_between"),
        points=points,
        recalibrate=(lambda net: recalibrated(net, (x for x, _ in mine.train.epoch(0)))) if recalibrate else None,
    )


def _state(model: nn.Module) -> dict[str, Tensor]:
    return to_dense(copy.deepcopy(model)).state_dict()


def _check(start: dict[str, Tensor], end: dict[str, Tensor]) -> None:
    shapes, others = ({name: tuple(value.shape) for name, value in state.items()} for state in (start, end))
    if shapes != others:
        odd = sorted(dict(shapes.items() ^ others.items()))[0]
        raise WiringError(
            "`first` and `second` of `linear_path` must have the same weights. "
            f"`{odd}` has shape {shapes.get(odd, 'none')} in one and {others.get(odd, 'none')} in the other."
        )


@torch.no_grad()
def _at(share: float, start: Tensor, end: Tensor) -> Tensor:
    if not start.is_floating_point() or share == 0:
        return start
    return end if share == 1 else torch.lerp(start, end.to(start), share)


__all__ = ["LinearPath", "linear_path", "linear_path_between"]
