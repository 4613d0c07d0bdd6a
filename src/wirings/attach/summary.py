"""What a network looks like: layer by layer, how dense, how many inputs a unit has, what stays dense and why."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from wirings.attach.masked import site_of
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.prunable import left_dense, prunable


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
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.dense.items():
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            lines.append(f"stays dense ({reason}): {shown}")
        return "\n".join(lines)


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
    rows, topologies = [], {}
    for name, weight in prunable(model).items():
        site = site_of(weight)
        topology = Topology.of(weight.detach() != 0) if site is None else site.support.forward
        topologies[name] = topology
        degrees = topology.in_degrees
        low, high = (int(degrees.min()), int(degrees.max())) if degrees.numel() else (0, 0)
        dead = int((degrees == 0).sum())
        rows.append(Row(name, topology.shape, topology.nnz, topology.density, (low, high), dead))
    return Summary(tuple(rows), left_dense(model), Wiring(topologies))
