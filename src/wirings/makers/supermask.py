"""Supermasks by criteria: which connections to keep, and what to do with their values, from weights before and after.

Zhou et al. 2019, "Deconstructing lottery tickets: zeros, signs, and the supermask", sections 2 to 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Generator, Tensor

from wirings.core import scores
from wirings.core.budgets import Budget, check_density, uniform
from wirings.core.errors import nearest
from wirings.core.select import top
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring

CRITERIA: Mapping[str, Callable[[Tensor, Tensor, Generator], Tensor]] = {
    "large_final": lambda initial, final, rng: final.abs(),
    "small_final": lambda initial, final, rng: -final.abs(),
    "large_init": lambda initial, final, rng: initial.abs(),
    "small_init": lambda initial, final, rng: -initial.abs(),
    "large_init_large_final": lambda initial, final, rng: torch.minimum(final.abs(), initial.abs()),
    "small_init_small_final": lambda initial, final, rng: -torch.maximum(final.abs(), initial.abs()),
    "magnitude_increase": lambda initial, final, rng: scores.magnitude_increase(initial, final),
    "movement": lambda initial, final, rng: scores.movement(initial, final),
    "random": lambda initial, final, rng: scores.random(final, rng),
}
"""Name -> score of (initial, final, rng); with ``_same_sign`` behind a name, connections whose sign turned go first."""

Kept = Literal["rewind", "final", "reinit", "reshuffle", "constant"]
Cut = Literal["zero", "freeze", "zero_if_shrunk"]


def supermask(
    initial: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    density: float,
    *,
    criterion: str = "large_final",
    budget: Budget = uniform,
    rng: Generator,
) -> Wiring:
    """The wiring of the best connections by a criterion, within each weight; ties are broken at random.

    Example:
        >>> before, after = {"w": torch.tensor([[1.0, -2.0, 3.0]])}, {"w": torch.tensor([[2.0, 2.5, 3.0]])}
        >>> rng = torch.Generator()
        >>> supermask(before, after, 1 / 3, criterion="movement", rng=rng)["w"].mask.int().tolist()
        [[0, 1, 0]]
        >>> supermask(before, after, 1 / 3, criterion="movement_same_sign", rng=rng)["w"].mask.int().tolist()
        [[1, 0, 0]]

    Args:
        initial: weight name -> values before training.
        final: weight name -> values after training, same shapes.
        density: of all weights together, in (0, 1].
        criterion: one of :data:`CRITERIA`, or one with ``_same_sign`` behind it.
        budget: how the density is shared out; the paper prunes the last layer at half the rate (``Explicit``).
        rng: for ties, and for the criterion ``random``.

    Raises:
        ValueError: for an unknown criterion, a density outside (0, 1], or weights that differ in name or shape.
    """
    base = criterion.removesuffix("_same_sign")
    if base not in CRITERIA:
        known = nearest(base, CRITERIA)
        raise ValueError(f"`criterion` of `supermask` must be a known one. Got {criterion!r}. {known}")
    check_density(density, "supermask")
    shapes = {name: tuple(w.shape) for name, w in initial.items()}
    if shapes != {name: tuple(w.shape) for name, w in final.items()}:
        raise ValueError("`initial` and `final` of `supermask` must hold the same weights. Names or shapes differ.")
    counts = budget(shapes, density)
    topologies = {}
    for name, before in initial.items():
        after = final[name].detach()
        score = CRITERIA[base](before.detach(), after, rng)
        if base != criterion:
            score = score.masked_fill(before.sign() != after.sign(), -torch.inf)
        topologies[name] = top(score.reshape(-1), counts[name], Topology.full(shapes[name]), ties=rng)
    return Wiring(topologies)


def treated(
    wiring: Wiring,
    initial: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    *,
    kept: Kept = "rewind",
    keep_sign: bool = True,
    cut: Cut = "zero",
    rng: Generator,
    fresh: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The values that a network with this wiring begins with (the paper's mask-1 and mask-0 actions), weight by weight.

    Example:
        >>> wiring = Wiring({"w": Topology.at((1, 3), [0, 2])})
        >>> before, after = {"w": torch.tensor([[1.0, -2.0, -3.0]])}, {"w": torch.tensor([[0.5, 0.1, -3.0]])}
        >>> treated(wiring, before, after, cut="freeze", rng=torch.Generator())["w"]
        tensor([[ 1., -2., -3.]])

    Args:
        wiring: what is kept.
        initial: weight name -> values before training.
        final: weight name -> values after training.
        kept: initial values (``rewind``), trained ones (``final``), those of ``fresh`` (``reinit``), the kept initial
            values in random order (``reshuffle``), or plus and minus the standard deviation of the whole initial
            weight (``constant``).
        keep_sign: give fresh, reshuffled and constant values the sign of the initial ones; otherwise they keep their
            own, and constants draw theirs.
        cut: what is not kept is zero, stays at its initial value (``freeze``), or is zero only where training made it
            smaller (``zero_if_shrunk``). Frozen values are no connections: load them to test, not to train.
        rng: for orders and signs.
        fresh: weight name -> newly drawn values, for ``reinit``.
    """
    if kept == "reinit" and fresh is None:
        raise ValueError('`fresh` of `treated` must hold newly drawn weights with kept="reinit". Got None.')
    result = {}
    for name, topology in wiring.items():
        before, after = initial[name].detach(), final[name].detach()
        inside = topology.to(before.device).mask
        values = _kept_values(kept, before, after, inside, rng, None if fresh is None else fresh[name].detach())
        if keep_sign and kept in ("reinit", "reshuffle", "constant"):
            values = values.abs() * before.sign()
        outside = torch.zeros_like(before) if cut == "zero" else before
        if cut == "zero_if_shrunk":
            outside = before.masked_fill(after.abs() < before.abs(), 0)
        result[name] = torch.where(inside, values, outside)
    return result


def _kept_values(
    kept: Kept, before: Tensor, after: Tensor, inside: Tensor, rng: Generator, fresh: Tensor | None
) -> Tensor:
    if kept == "final":
        return after
    if kept == "reinit":
        assert fresh is not None
        return fresh
    if kept == "reshuffle":
        pool = before[inside]
        shuffled = before.clone()
        shuffled[inside] = pool[torch.randperm(pool.numel(), generator=rng).to(pool.device)]
        return shuffled
    if kept == "constant":
        signs = torch.randint(2, before.shape, generator=rng).to(before) * 2 - 1
        return signs * before.std()
    return before
