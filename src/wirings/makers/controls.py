"""Controls: wirings made from a wiring that keep some of its structure and destroy the rest at random.

They answer what a found wiring owes to what (Frankle et al. 2021; Su et al. 2020): if it does no better than its
control, the structure that the control destroyed was worth nothing. From what keeps least to what keeps most:
:func:`shuffled` (counts), :func:`shuffled_within_rows` (in-degrees), :func:`rewired_degrees` (in- and out-degrees),
:func:`permuted_units` (everything but the names of the units). :func:`inverted` turns a wiring inside out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from wirings.core.errors import WiringError
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.random import drawn_in_rows

Control = Callable[[Wiring, Generator], Wiring]
"""(wiring, rng) -> a wiring of the same shapes and counts."""


def shuffled(wiring: Wiring, rng: Generator) -> Wiring:
    """As many connections in each weight, at uniformly random positions (the layer-wise shuffle).

    Example:
        >>> wiring = Wiring({"fc": Topology.at((2, 3), [0, 1])})
        >>> shuffled(wiring, torch.Generator().manual_seed(0)).counts
        {'fc': 2}
    """
    return Wiring({name: Topology.full(t.shape, device=t.device).sample(t.nnz, rng) for name, t in wiring.items()})


def shuffled_within_rows(wiring: Wiring, rng: Generator) -> Wiring:
    """Every output unit keeps its in-degree and gets it from uniformly random inputs (kernel elements one by one)."""
    return Wiring({name: drawn_in_rows(t.shape, t.in_degrees.cpu(), rng).to(t.device) for name, t in wiring.items()})


def rewired_degrees(wiring: Wiring, rng: Generator, *, rounds: int = 20) -> Wiring:
    """Every unit keeps its in- and its out-degree; which inputs meet which outputs is random (Maslov & Sneppen 2002).

    Two connections a-b and c-d become a-d and c-b where neither exists yet. In a round every connection is proposed
    once, all pairs at the same time. A pair is swapped only if none of its four connections, old or new, takes part
    anywhere else in the round: then the way back is as likely as the way there, and the chain ends up uniform over all
    wirings with these degrees. In a convolution, an input is one kernel element of one channel.

    Args:
        wiring: what to rewire.
        rng: for the pairs.
        rounds: how often every connection is proposed; 20 is plenty at densities where swaps are free to happen.
    """
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 0:
        raise ValueError(f"`rounds` of `rewired_degrees` must be an integer of at least 0. Got {rounds!r}.")
    return Wiring({name: _rewired(t, rng, rounds) for name, t in wiring.items()})


def inverted(wiring: Wiring, rng: Generator) -> Wiring:
    """As many connections in each weight, drawn from those that did *not* exist; old ones return only to fill up.

    To invert a ranking instead, and keep the connections that it holds for the worst, rank by :func:`inverted_scores`.
    """
    topologies = {}
    for name, t in wiring.items():
        free = ~t
        others = free.sample(min(t.nnz, free.nnz), rng)
        topologies[name] = others | t.sample(t.nnz - others.nnz, rng)
    return Wiring(topologies)


def inverted_scores(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores that keep what the given ones drop: their negatives (the inversion check of Frankle et al. 2021).

    Example:
        >>> top(inverted_scores({"w": torch.tensor([1.0, 3.0, 2.0])})["w"], 1, Topology.full((3,))).index.tolist()
        [0]
    """
    return {name: -score for name, score in scores.items()}


def permuted_units(
    wiring: Wiring, rng: Generator, *, chain: bool = True, inputs: bool = True, outputs: bool = False
) -> Wiring:
    """The same graph with other names for its units: a wiring that must train as well, but for what its inputs mean.

    Args:
        wiring: what to relabel; where ``chain`` is true, its weights follow one another in their order.
        rng: for the permutations.
        chain: a hidden unit gets one new name, both in the weight that leads to it and in the one that leaves it
            (through a flattening too, where channels become groups of features), so the whole network stays
            isomorphic. ``False`` relabels each weight for itself: each layer stays isomorphic, paths change.
        inputs: whether the network's inputs are relabelled.
        outputs: whether the network's outputs are relabelled.

    Raises:
        WiringError: if ``chain`` is true and two weights in a row do not fit together.
    """
    topologies: dict[str, Topology] = {}
    before: Tensor | None = None  # new names of the units that the last weight led to
    names = list(wiring)
    for place, (name, t) in enumerate(wiring.items()):
        outs, ins = t.shape[0], t.shape[1] if len(t.shape) > 1 else 1
        if before is None or not chain:
            columns = torch.randperm(ins, generator=rng) if inputs or place else torch.arange(ins)
        else:
            if ins % len(before):
                raise WiringError(
                    f"`{name}` does not follow `{names[place - 1]}`: {ins} inputs for {len(before)} outputs. "
                    "For a network that is no chain: permuted_units(..., chain=False)."
                )
            each = ins // len(before)
            columns = (before[:, None] * each + torch.arange(each)).flatten()
        last = place == len(wiring) - 1
        before = torch.randperm(outs, generator=rng) if outputs or not last else torch.arange(outs)
        topologies[name] = _relabelled(t, before, columns)
    return Wiring(topologies)


def _rewired(topology: Topology, rng: Generator, rounds: int) -> Topology:
    if 2 * topology.nnz > topology.numel:  # what is free has fixed degrees too, and more room to move
        return ~_rewired(~topology, rng, rounds)
    columns = max(math.prod(topology.shape[1:]), 1)
    edges = topology.index.cpu().clone()
    pairs = len(edges) // 2
    for _ in range(rounds if pairs else 0):
        order = torch.randperm(len(edges), generator=rng)
        one, other = order[:pairs], order[pairs : 2 * pairs]
        swapped = edges.clone()
        swapped[one] = edges[one] - edges[one] % columns + edges[other] % columns
        swapped[other] = edges[other] - edges[other] % columns + edges[one] % columns
        if len(edges) % 2:
            swapped[order[-1]] = -1  # nobody's partner this time
        alone = _alone(torch.cat([edges, swapped]))
        free = alone[one] & alone[other] & alone[len(edges) + one] & alone[len(edges) + other]
        moved = torch.cat([one[free], other[free]])
        edges[moved] = swapped[moved]
    return Topology(topology.shape, index=edges.sort().values).to(topology.device)


def _alone(keys: Tensor) -> Tensor:
    """For each key: whether it stands there only once."""
    ordered, order = keys.sort()
    same = ordered[1:] == ordered[:-1]
    repeated = torch.zeros_like(keys, dtype=torch.bool)
    repeated[1:] |= same
    repeated[:-1] |= same
    return torch.empty_like(repeated).scatter_(0, order, ~repeated)


def _relabelled(topology: Topology, rows: Tensor, inputs: Tensor) -> Topology:
    """Output unit i becomes rows[i], input unit j becomes inputs[j]."""
    if 2 * topology.nnz > topology.numel:
        return ~_relabelled(~topology, rows, inputs)
    columns = math.prod(topology.shape[1:])
    per_input = columns // max(len(inputs), 1)
    index = topology.index.cpu()
    row, column = index // max(columns, 1), index % max(columns, 1)
    moved = inputs[column // max(per_input, 1)] * per_input + column % max(per_input, 1)
    return Topology(topology.shape, index=(rows[row] * columns + moved).sort().values).to(topology.device)
