"""Forms: the shapes that a topology may take. A form is a value that every method, maker and selection takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from wirings.core.select import top, top_mask
from wirings.core.settings import OneOf, positive_int, register
from wirings.core.topology import Topology, check_count


@runtime_checkable
class Form(Protocol):
    """What a topology must look like, and how to choose the best one that does.

    ``settle(k, shape)`` is the largest count up to ``k`` that a topology of this form can have. ``top(scores, k, on)``
    chooses exactly ``settle(k)`` connections of ``on`` by score; chosen from a topology of the form, or from the
    complement of one, the result has the form again, and so has its union with what was kept.
    """

    def settle(self, k: int, shape: Sequence[int]) -> int:
        """The largest count up to ``k`` that this form can hold in a weight of this shape."""
        ...

    def top(self, scores: Tensor, k: int, on: Topology, *, ties: Generator | None = None) -> Topology:
        """The best ``settle(k, on.shape)`` connections of ``on``; ``scores`` are aligned with ``on.index``."""
        ...

    def holds(self, topology: Topology) -> bool:
        """Whether the topology has this form."""
        ...


AnyForm = Annotated[Form, OneOf("form")]
"""How a settings field says that it holds a form."""


@register("form")
@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Any set of connections."""

    kind: Literal["unstructured"] = field(default="unstructured", repr=False)

    def settle(self, k: int, shape: Sequence[int]) -> int:
        return k

    def top(self, scores: Tensor, k: int, on: Topology, *, ties: Generator | None = None) -> Topology:
        return top(scores, k, on, ties=ties)

    def holds(self, topology: Topology) -> bool:
        return True


@register("form")
@dataclass(frozen=True)
class NM:
    """N:M sparsity: at most ``n`` of every ``m`` consecutive inputs of an output unit (Zhou et al. 2021).

    A count is spread evenly: each group holds the same number. Inputs run along dimension 1; kernel positions of a
    convolution are groups of their own.
    """

    n: int
    m: int
    kind: Literal["n:m"] = field(default="n:m", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        positive_int("n", self)
        positive_int("m", self)
        if self.n > self.m:
            raise ValueError(f"`n` of `NM` must be in [1, m]. Got {self.n} of {self.m}.")

    def _groups(self, shape: Sequence[int]) -> int:
        if len(shape) < 2 or shape[1] % self.m:
            raise ValueError(
                f"`NM({self.n}, {self.m})` needs inputs in multiples of {self.m}. Got shape {tuple(shape)}."
            )
        return math.prod(shape) // self.m

    def settle(self, k: int, shape: Sequence[int]) -> int:
        groups = self._groups(shape)
        return groups * min(k // groups, self.n) if groups else 0

    def _grouped(self, dense: Tensor) -> Tensor:
        """(out, in, ...) -> (groups, m), groups of consecutive inputs."""
        return dense.movedim(1, -1).reshape(-1, self.m)

    def _ungrouped(self, grouped: Tensor, shape: Sequence[int]) -> Tensor:
        moved = (shape[0], *shape[2:], shape[1])
        return grouped.reshape(moved).movedim(-1, 1)

    def top(self, scores: Tensor, k: int, on: Topology, *, ties: Generator | None = None) -> Topology:
        check_count(k, on.nnz, "NM")
        on = on.to(scores.device)  # `Topology.full(shape)` may have been made on the CPU
        groups = self._groups(on.shape)
        each = self.settle(k, on.shape) // groups if groups else 0
        chosen = _top_per_row(self._grouped(_spread(scores, on)), self._grouped(on.mask), each, ties)
        return _within(self._ungrouped(chosen, on.shape), on, self)

    def holds(self, topology: Topology) -> bool:
        self._groups(topology.shape)
        return bool((self._grouped(topology.mask).sum(1) <= self.n).all())


@register("form")
@dataclass(frozen=True)
class Block:
    """Blocks of ``height`` outputs x ``width`` inputs that live or die together, ranked by their summed scores.

    A weight whose sides are no multiples is refused. Kernel positions of a convolution belong to the block.
    """

    height: int
    width: int
    kind: Literal["block"] = field(default="block", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        positive_int("height", self)
        positive_int("width", self)

    def _size(self, shape: Sequence[int]) -> int:
        if len(shape) < 2 or shape[0] % self.height or shape[1] % self.width:
            raise ValueError(
                f"`Block({self.height}, {self.width})` needs outputs and inputs in multiples of its sides. "
                f"Got shape {tuple(shape)}."
            )
        return self.height * self.width * math.prod(shape[2:])

    def settle(self, k: int, shape: Sequence[int]) -> int:
        return min(k, math.prod(shape)) // max(self._size(shape), 1) * self._size(shape)

    def _blocked(self, dense: Tensor) -> Tensor:
        """(out, in, ...) -> (blocks, positions of a block)."""
        outs, ins = dense.shape[0] // self.height, dense.shape[1] // self.width
        split = dense.reshape(outs, self.height, ins, self.width, -1)
        return split.permute(0, 2, 1, 3, 4).reshape(outs * ins, -1)

    def _unblocked(self, blocks: Tensor, shape: Sequence[int]) -> Tensor:
        outs, ins = shape[0] // self.height, shape[1] // self.width
        split = blocks.reshape(outs, ins, self.height, self.width, -1)
        return split.permute(0, 2, 1, 3, 4).reshape(*shape)

    def top(self, scores: Tensor, k: int, on: Topology, *, ties: Generator | None = None) -> Topology:
        check_count(k, on.nnz, "Block")
        on = on.to(scores.device)  # `Topology.full(shape)` may have been made on the CPU
        size = self._size(on.shape)
        free = self._blocked(on.mask).all(1)
        sums = self._blocked(_spread(scores, on, absent=0.0)).sum(1, dtype=torch.float64)
        pool = free.nonzero().squeeze(1)
        if k // size > pool.numel():
            raise ValueError(f"`k` of `{self!r}` must be at most {pool.numel() * size} here. Got {k}.")
        blocks = torch.zeros_like(free)
        blocks[pool[top_mask(sums[pool], k // size, ties=ties)]] = True
        mask = self._unblocked(blocks[:, None].expand(-1, size), on.shape)
        return Topology(on.shape, mask=mask.contiguous(), nnz=k // size * size)

    def holds(self, topology: Topology) -> bool:
        self._size(topology.shape)
        blocks = self._blocked(topology.mask)
        return bool((blocks.all(1) | ~blocks.any(1)).all())


@register("form")
@dataclass(frozen=True, kw_only=True)
class ConstantFanIn:
    """Every living output unit has the same number of connections (SRigL's condensed layout; Lasby et al. 2024).

    Units without any connection ("ablated") are allowed by :meth:`holds`; :meth:`top` spreads its count evenly over
    all units that have positions in ``on``, and refuses a count that they cannot share.
    """

    kind: Literal["constant-fan-in"] = field(default="constant-fan-in", repr=False)

    def settle(self, k: int, shape: Sequence[int]) -> int:
        return min(k, math.prod(shape)) // shape[0] * shape[0] if shape[0] else 0

    def top(self, scores: Tensor, k: int, on: Topology, *, ties: Generator | None = None) -> Topology:
        check_count(k, on.nnz, "ConstantFanIn")
        on = on.to(scores.device)  # `Topology.full(shape)` may have been made on the CPU
        free = on.mask.reshape(on.shape[0], -1)
        living = int(free.any(1).sum())
        if living == on.shape[0]:
            k = self.settle(k, on.shape)
        if k % max(living, 1):
            raise ValueError(f"`k` of `{self!r}` must be a multiple of the {living} living output units. Got {k}.")
        chosen = _top_per_row(_spread(scores, on).reshape(free.shape), free, k // max(living, 1), ties)
        return _within((chosen & free.any(1, keepdim=True)).view(on.shape), on, self)

    def holds(self, topology: Topology) -> bool:
        degrees = topology.in_degrees
        living = degrees[degrees > 0]
        return bool((living == living[:1]).all())


def _spread(scores: Tensor, on: Topology, *, absent: float = -math.inf) -> Tensor:
    """Scores of ``on`` as a tensor of the weight's shape, ``absent`` elsewhere."""
    if scores.numel() != on.nnz:
        raise ValueError(f"`scores` must have one score per position of `on` ({on.nnz}). Got {scores.numel()}.")
    if bool(torch.isnan(scores).any()):
        raise ValueError("A selection cannot rank NaN. Got NaN among the scores; look for a diverged loss.")
    if not scores.is_floating_point():
        scores = scores.double()
    if on.is_full:
        return scores.reshape(on.shape)
    dense = scores.new_full((on.numel,), absent)
    dense[on.index] = scores.reshape(-1)
    return dense.view(on.shape)


def _top_per_row(rows: Tensor, free: Tensor, each: int, ties: Generator | None) -> Tensor:
    """A mask with the ``each`` highest of every row, those that are ``free`` first; ties to the lower index."""
    if ties is not None:
        order = torch.rand(rows.shape, generator=ties, dtype=torch.float64).argsort(dim=1).to(rows.device)
        shuffled = _top_per_row(rows.gather(1, order), free.gather(1, order), each, None)
        return torch.zeros_like(shuffled).scatter_(1, order, shuffled)
    best = rows.sort(dim=1, descending=True, stable=True).indices
    if bool((torch.isneginf(rows) & free).any()):  # a score of -inf looks like a position that is not there
        best = best.gather(1, free.gather(1, best).sort(dim=1, descending=True, stable=True).indices)
    return torch.zeros_like(rows, dtype=torch.bool).scatter_(1, best[:, :each], True)


def _within(chosen: Tensor, on: Topology, form: Form) -> Topology:
    topology = Topology(on.shape, mask=chosen.contiguous())
    if not topology <= on:
        raise ValueError(f"{form!r} cannot choose that many: some group of `on` has too few positions.")
    return topology
