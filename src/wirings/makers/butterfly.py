"""Butterflies: the graph of the fast Fourier transform, as layers in a row or folded flat into one layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator

from wirings.core.budgets import check_density
from wirings.core.settings import register
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.channels import over_kernel, units
from wirings.makers.radix import mixed_radix


def butterfly(n: int) -> list[Topology]:
    """The ``log2(n)`` layers of a butterfly over ``n`` units: the mixed-radix topology of radices (2, ..., 2).

    Every layer has two connections a unit, and exactly one path joins each input to each output. Shifts are cyclic
    where the FFT's graph has exclusive-or: the same graph up to the names of the units.

    Example:
        >>> [t.nnz for t in butterfly(8)]
        [16, 16, 16]
    """
    digits = n.bit_length() - 1
    if n < 2 or n != 1 << digits:
        raise ValueError(f"`n` of `butterfly` must be a power of two, at least 2. Got {n}.")
    return mixed_radix([2] * digits)


def flat_butterfly(outs: int, ins: int, blocks: int) -> Topology:
    """All layers of a butterfly over ``blocks`` blocks of units laid over each other (Dao et al. 2022, flat butterfly).

    Block r of the outputs meets block c of the inputs where r and c differ in at most one binary digit.

    Example:
        >>> flat_butterfly(8, 8, 8).in_degrees.tolist()
        [4, 4, 4, 4, 4, 4, 4, 4]
    """
    if blocks < 1 or blocks & (blocks - 1) or blocks > min(outs, ins):
        raise ValueError(
            f"`blocks` of `flat_butterfly` must be a power of two, at most {min(outs, ins)}. Got {blocks}."
        )
    row, column = torch.arange(outs) * blocks // outs, torch.arange(ins) * blocks // ins
    differ = row[:, None] ^ column
    return Topology.of((differ & (differ - 1)) == 0)  # zero or a power of two: no digit differs, or one


@register("maker")
@dataclass(frozen=True)
class FlatButterfly:
    """:func:`flat_butterfly` in every layer, with the number of blocks whose density is nearest to the asked one.

    With 2^m blocks the density is ``(m + 1) / 2^m``: 1, 1, 3/4, 1/2, 5/16, 3/16, 7/64 ... Convolutions are wired
    channel by channel, with whole kernels; a layer with fewer units than blocks on a side takes as many as fit.

    Args:
        density: of each layer, in (0, 1].
    """

    density: float
    kind: Literal["flat-butterfly"] = field(default="flat-butterfly", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_density(self.density, "FlatButterfly")

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        digits = min(range(1, 40), key=lambda m: abs(math.log((m + 1) / 2**m / self.density)))
        topologies = {}
        for name, shape in shapes.items():
            outs, ins = units(shape, "FlatButterfly")
            fitting = min(digits, min(outs, ins).bit_length() - 1)
            topologies[name] = over_kernel(flat_butterfly(outs, ins, 1 << fitting), shape)
        return Wiring(topologies)
