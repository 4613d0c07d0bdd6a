"""What a network looks like: layer by layer, how dense, how many inputs a unit has, what stays dense and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from wirings.attach.masked import site_of
from wirings.core.names import bare
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.prunable import left_dense, prunable
from wirings.sparse.layer import sparse_weights


@dataclass(frozen=True)
class Row:
    """One weight of a :class:`Summary`."""

    name: str
    shape: tuple[int, ...]
    nnz: int
    density: float
    fan_in: tuple[int, int]
    dead_units: int


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` found; ``print`` it for a table.

    Attributes:
        rows: one for each prunable weight.
        dense: name of every other parameter -> why it stays dense.
        wiring: the connections that are not zero.
    """

    rows: tuple[Row, ...]
    dense: dict[str, str]
    wiring: Wiring

    def __str__(self) -> str:
        cells = [("weight", "shape", "connections", "density", "fan-in", "dead units")]
        for row in self.rows:
            low, high = row.fan_in
            shape = "x".join(map(str, row.shape))
            fan_in = f"{low}" if low == high else f"{low} to {high}"
            cells.append((row.name, shape, f"{row.nnz:,}", f"{row.density:.2%}", fan_in, str(row.dead_units)))
        total = self.wiring
        cells.append(("all", "", f"{total.nnz:,} of {total.numel:,}", f"{total.density:.2%}", "", ""))
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        return "\n".join(lines + stay_dense(self.dense))


def summary(model: nn.Module) -> Summary:
    """Look at a network as it is now, with a method attached or not.

    Where none is, a weight that is exactly zero counts as not connected.

    Example:
        >>> print(summary(nn.Linear(3, 2, bias=False)))
        weight  shape  connections  density  fan-in  dead units
        weight  2x3              6  100.00%       3           0
        all                 6 of 6  100.00%

    Args:
        model: any module.
    """
    topologies = _topologies(model)
    stored = {id(layer.values) for layer in sparse_weights(model).values()}
    values = {bare(name) for name, p in model.named_parameters() if id(p) in stored}
    dense = {name: reason for name, reason in left_dense(model).items() if name not in values}
    return Summary(tuple(_row(name, t) for name, t in topologies.items()), dense, Wiring(topologies))


def stay_dense(dense: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the names of the first four parameters."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in dense.items():
        by_reason.setdefault(reason, []).append(name)
    return [
        f"stays dense ({reason}): {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        for reason, names in by_reason.items()
    ]


def _topologies(model: nn.Module) -> dict[str, Topology]:
    """Weight name -> topology, in the model's order: of the live site, of the sparse layer, or of what is not zero."""
    order = {id(p): place for place, p in enumerate(model.parameters())}
    found: dict[str, tuple[int, Topology]] = {}
    for name, weight in prunable(model).items():
        site = site_of(weight)
        topology = Topology.of(weight.detach() != 0) if site is None else site.support.forward
        found[name] = (order[id(weight)], topology)
    for name, layer in sparse_weights(model).items():
        found[name] = (order[id(layer.values)], layer.support.forward)
    return {name: found[name][1] for name in sorted(found, key=lambda name: found[name][0])}


def _row(name: str, topology: Topology) -> Row:
    degrees = topology.in_degrees
    low, high = (int(degrees.min()), int(degrees.max())) if degrees.numel() else (0, 0)
    return Row(name, topology.shape, topology.nnz, topology.density, (low, high), int((degrees == 0).sum()))
