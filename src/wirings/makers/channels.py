"""Structure between channels: a topology of (out, in) units, laid over a weight with kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from wirings.core.topology import Topology


def over_kernel(channels: Topology, shape: Sequence[int]) -> Topology:
    """A topology of channels (out, in), with every wired pair keeping its whole kernel."""
    if len(shape) == 2:
        return channels
    kernel = math.prod(shape[2:])
    index = (channels.index[:, None] * kernel + torch.arange(kernel)).flatten()
    return Topology.at(shape, index, trusted=True)


def units(shape: Sequence[int], owner: str) -> tuple[int, int]:
    """Outputs and inputs of a weight: its units, or its channels."""
    if len(shape) < 2:
        raise ValueError(f"`{owner}` wires weights of shape (out, in, ...). Got {tuple(shape)}.")
    return shape[0], shape[1]
