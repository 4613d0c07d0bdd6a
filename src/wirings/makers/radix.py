"""RadiX-Nets: sparse layers from mixed-radix numbers, with as many paths between every input and every output.

Robinett & Kepner 2019. A number system ``(N_1, ..., N_L)`` counts to ``N' = N_1 * ... * N_L``; its layer i joins unit
``j`` to the units ``(j + n * v_i) mod N'`` for ``n < N_i``, with the place value ``v_i = N_1 * ... * N_{i-1}``: it
changes one digit. Several systems in a row, widened by dense factors, make a RadiX-Net.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor

from wirings.core.topology import Topology

Systems = Sequence[Sequence[int]]
"""Number systems one after the other, each a sequence of radices: ``[[10, 10]]``."""


def mixed_radix(system: Sequence[int]) -> list[Topology]:
    """The layers of one number system: constant degrees, exactly one path between every input and every output.

    Example:
        >>> layers = mixed_radix([2, 2, 2])
        >>> [t.shape for t in layers], layers[0].density
        ([(8, 8), (8, 8), (8, 8)], 0.25)
    """
    return radix_net([system], [1] * (len(system) + 1))


def radix_net(systems: Systems, widths: Sequence[int], *, degrees: Sequence[int] | None = None) -> list[Topology]:
    """One topology a layer, of shape (out, in) = (N' * widths[i], N' * widths[i - 1]) (Robinett & Kepner 2019).

    Example:
        >>> first, second = radix_net([[10, 10]], [8, 3, 1])
        >>> first.shape, second.shape, first.density, paths([[10, 10]], [8, 3, 1])
        ((300, 800), (100, 300), 0.1, 3)

    Args:
        systems: all but the last have the same product N'; the product of the last divides N'.
        widths: one more than there are layers: how many copies of the N' units each layer of units has. Alford et al.
            2019 use [8, 3, 1] and [8, 30, 1] (two of them are swapped in their text).
        degrees: thin the copies out, too. Layer i then joins each copy to ``degrees[i]`` of every
            ``g = gcd(widths[i - 1], widths[i])`` copies, circulant instead of all to all (the authors' extension).
            Each must divide its g. Equal path counts are promised only without.

    Raises:
        ValueError: a sentence that names the rule that was broken.
    """
    nodes = checked(systems, widths, degrees)
    radices = [radix for system in systems for radix in system]
    places = [math.prod(system[:i]) for system in systems for i in range(len(system))]
    steps = _copy_steps(widths, degrees)
    return [_layer(nodes, radices[i], places[i], widths[i], widths[i + 1], steps[i]) for i in range(len(radices))]


def paths(systems: Systems, widths: Sequence[int]) -> int:
    """How many paths join every input to every output, exactly: the same number for all pairs.

    ``N'^(M - 2) * prod(last system) * prod(inner widths)`` for M >= 2 systems, ``prod(inner widths)`` for one
    (Robinett & Kepner 2019, path-connectedness theorem).

    Example:
        >>> paths([[2, 3], [3, 2], [6]], [1] * 6), paths([[10, 10]], [8, 30, 1])
        (36, 30)
    """
    nodes = checked(systems, widths, None)
    inner = math.prod(widths[1:-1])
    if len(systems) == 1:
        return inner
    return int(nodes ** (len(systems) - 2)) * math.prod(systems[-1]) * inner


def density(systems: Systems, widths: Sequence[int], *, degrees: Sequence[int] | None = None) -> float:
    """Connections over positions of the whole RadiX-Net: ``sum N_i D_{i-1} D_i / (N' sum D_{i-1} D_i)``.

    Example:
        >>> density([[2, 2, 2]], [1, 1, 1, 1])
        0.25
    """
    entering = in_degrees(systems, widths, degrees=degrees)
    nodes = checked(systems, widths, degrees)
    kept = sum(nodes * widths[i + 1] * entering[i] for i in range(len(entering)))
    return kept / sum(nodes**2 * a * b for a, b in pairwise(widths))


def in_degrees(systems: Systems, widths: Sequence[int], *, degrees: Sequence[int] | None = None) -> list[int]:
    """Connections that enter each unit, by layer: ``N_i * D_{i-1}``, times the share of copies kept."""
    checked(systems, widths, degrees)
    return _degrees_of(systems, widths, degrees, entering=True)


def out_degrees(systems: Systems, widths: Sequence[int], *, degrees: Sequence[int] | None = None) -> list[int]:
    """Connections that leave each unit, by layer: ``N_i * D_i``, times the share of copies kept."""
    checked(systems, widths, degrees)
    return _degrees_of(systems, widths, degrees, entering=False)


def trimmed(topologies: Sequence[Topology], sizes: Sequence[int]) -> list[Topology]:
    """Layers in a row cut to these numbers of units, by dropping the first units of each (as Alford et al. 2019 do).

    Example:
        >>> first, second = trimmed(radix_net([[10, 10]], [8, 3, 1]), [784, 300, 100])
        >>> first.shape, first.nnz, second.nnz
        ((300, 784), 23520, 3000)

    Args:
        topologies: of shape (out, in), each entered by as many units as the one before it leaves.
        sizes: units of the input, of each inner layer, and of the output; none more than there are.
    """
    if len(sizes) != len(topologies) + 1:
        raise ValueError(f"`sizes` of `trimmed` must name {len(topologies) + 1} layers of units. Got {len(sizes)}.")
    return [_cut(t, sizes[i + 1], sizes[i]) for i, t in enumerate(topologies)]


def permuted(topologies: Sequence[Topology], rng: Generator) -> list[Topology]:
    """The same network with the units of every layer renamed at random: isomorphic to it."""
    found: list[Topology] = []
    names = torch.randperm(topologies[0].shape[1], generator=rng)
    for topology in topologies:
        rows, columns = topology.shape[0], topology.shape[1]
        leaving = torch.randperm(rows, generator=rng)
        index = leaving[topology.index // columns] * columns + names[topology.index % columns]
        found.append(Topology.at((rows, columns), index))
        names = leaving
    return found


# ---------------------------------------------------------------------- rules and layers


def checked(systems: Systems, widths: Sequence[int], degrees: Sequence[int] | None) -> int:
    """N', after all rules were checked."""
    if isinstance(systems, str) or not len(systems) or any(isinstance(system, int) for system in systems):
        raise ValueError(f"`systems` of a RadiX-Net must be a sequence of number systems. Got {systems!r}.")
    for system in systems:
        if not len(system) or any(not _is_count(radix) for radix in system):
            raise ValueError(
                f"Every system of a RadiX-Net must hold radices, integers of at least 1. Got {list(system)}."
            )
    products = [math.prod(system) for system in systems]
    nodes = products[0]
    for product in products[1:-1]:
        if product != nodes:
            raise ValueError(
                f"All systems of a RadiX-Net but the last must have the same product. Got {nodes} and {product}."
            )
    if nodes % products[-1]:
        raise ValueError(
            f"The product of a RadiX-Net's last system must divide that of the others. Got {products[-1]} and {nodes}."
        )
    layers = sum(len(system) for system in systems)
    if len(widths) != layers + 1:
        raise ValueError(
            f"`widths` of a RadiX-Net must be one more than its {layers} layers, {layers + 1}. Got {len(widths)}."
        )
    if any(not _is_count(width) for width in widths):
        raise ValueError(f"`widths` of a RadiX-Net must be integers of at least 1. Got {list(widths)}.")
    if degrees is None:
        return nodes
    if len(degrees) != layers:
        raise ValueError(f"`degrees` of a RadiX-Net must be one for each of its {layers} layers. Got {len(degrees)}.")
    for i, degree in enumerate(degrees):
        g = math.gcd(widths[i], widths[i + 1])
        if not _is_count(degree) or g % degree:
            raise ValueError(
                f"Each of `degrees` of a RadiX-Net must divide the greatest common divisor of the widths around it "
                f"({g} at layer {i + 1}). Got {degree!r}."
            )
    return nodes


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _degrees_of(systems: Systems, widths: Sequence[int], degrees: Sequence[int] | None, *, entering: bool) -> list[int]:
    radices = [radix for system in systems for radix in system]
    found = []
    for i, radix in enumerate(radices):
        g = math.gcd(widths[i], widths[i + 1])
        d = g if degrees is None else degrees[i]
        found.append(radix * d * (widths[i] if entering else widths[i + 1]) // g)
    return found


def _copy_steps(widths: Sequence[int], degrees: Sequence[int] | None) -> list[Tensor]:
    """For each layer, the differences (mod g) between copies that are joined: a mixed-radix digit of their own."""
    steps, place = [], 1
    for i in range(len(widths) - 1):
        g = math.gcd(widths[i], widths[i + 1])
        d = g if degrees is None else degrees[i]
        if g % (place * d):
            place = 1  # the place values are used up: count from the first digit again
        steps.append((torch.arange(d) * place) % g)
        place *= d
    return steps


def _layer(nodes: int, radix: int, place: int, width_in: int, width_out: int, steps: Tensor) -> Topology:
    """Row (copy a, unit o), column (copy b, unit i), where ``o - i = n * place`` and ``a - b`` is one of the steps."""
    g = math.gcd(width_in, width_out)
    units = (torch.arange(nodes)[:, None] - torch.arange(radix) * place) % nodes  # (N', radix): i for each o
    classes = (torch.arange(width_out)[:, None] - steps) % g  # (D_out, d): class of b for each a
    copies = (classes[:, :, None] + torch.arange(0, width_in, g)).flatten(1)  # (D_out, d * D_in / g)
    columns = copies[:, None, :, None] * nodes + units[None, :, None, :]  # (D_out, N', copies, radix)
    columns = columns.reshape(width_out * nodes, -1).sort(dim=1).values
    rows = torch.arange(width_out * nodes)[:, None] * (width_in * nodes)
    return Topology.at((width_out * nodes, width_in * nodes), (rows + columns).flatten(), trusted=True)


def _cut(topology: Topology, rows: int, columns: int) -> Topology:
    """Without the first rows and columns."""
    drop_rows, drop_columns = topology.shape[0] - rows, topology.shape[1] - columns
    if drop_rows < 0 or drop_columns < 0 or rows < 1 or columns < 1:
        raise ValueError(f"`sizes` of `trimmed` must fit into {topology.shape}. Got ({rows}, {columns}).")
    if not drop_rows and not drop_columns:
        return topology
    row, column = topology.index // topology.shape[1] - drop_rows, topology.index % topology.shape[1] - drop_columns
    left = (row >= 0) & (column >= 0)
    return Topology.at((rows, columns), (row * columns + column)[left], trusted=True)
