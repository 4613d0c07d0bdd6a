"""RadiX-Nets that fit a network: number systems, widths and trimming found for given shapes and a density."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from torch import Generator, nn

from wirings.core.budgets import check_density
from wirings.core.names import matches
from wirings.core.settings import register
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.channels import over_kernel
from wirings.makers.prunable import prunable
from wirings.makers.radix import checked, permuted, radix_net, trimmed


@register("maker")
@dataclass(frozen=True)
class RadixNet:
    """RadiX-Net as a beginning: ``Static(begin=RadixNet(0.1))``.

    With a density, :func:`radix_net_for` finds systems and widths that fit the network. With ``systems`` and
    ``widths``, exactly that RadiX-Net, trimmed to the network's sizes. Convolutions are wired channel by channel.

    Args:
        density: of the prunable weights together, in (0, 1]; left out where systems are given.
        systems, widths, degrees: see :func:`radix_net`.
        permuted: rename the units of every layer at random (an isomorphic network).
        dense: patterns of weights that keep every connection; the others have the density among themselves.
    """

    density: float | None = None
    systems: tuple[tuple[int, ...], ...] | None = field(default=None, kw_only=True)
    widths: tuple[int, ...] | None = field(default=None, kw_only=True)
    degrees: tuple[int, ...] | None = field(default=None, kw_only=True)
    permuted: bool = field(default=False, kw_only=True)
    dense: tuple[str, ...] = field(default=(), kw_only=True)
    kind: Literal["radix-net"] = field(default="radix-net", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if (self.density is None) == (self.systems is None):
            raise ValueError("`RadixNet` needs either `density` or `systems` and `widths`. Got both or neither.")
        if self.density is not None:
            check_density(self.density, "RadixNet")
            if self.widths is not None or self.degrees is not None:
                raise ValueError("`widths` and `degrees` of `RadixNet` belong to `systems`; leave them out.")
            return
        assert self.systems is not None
        if self.widths is None:
            raise ValueError("`systems` of `RadixNet` needs `widths` beside it. Got none.")
        checked(self.systems, self.widths, self.degrees)

    def __call__(self, shapes: Shapes, rng: Generator) -> Wiring:
        if self.density is not None:
            plan = radix_net_for(shapes, self.density, dense=self.dense)
        else:
            assert self.systems is not None
            assert self.widths is not None
            free = {name: shape for name, shape in shapes.items() if not matches(name, self.dense)}
            chain = Chain(tuple(free), self.systems, self.widths, self.degrees, _sizes(free))
            plan = RadixPlan(dict(shapes), (chain,), 0.0)
        return plan.wiring(rng if self.permuted else None)


# ---------------------------------------------------------------------- fitting a network


@dataclass(frozen=True)
class Chain:
    """Layers of a network that follow one another, and the RadiX-Net that was chosen for them.

    Args:
        names: of the weights.
        systems, widths, degrees: see :func:`radix_net`.
        sizes: units (for convolutions: channels) that the network has; the RadiX-Net is trimmed to them.
    """

    names: tuple[str, ...]
    systems: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    degrees: tuple[int, ...] | None
    sizes: tuple[int, ...]

    @property
    def untrimmed(self) -> tuple[int, ...]:
        """Units of the RadiX-Net before trimming."""
        nodes = math.prod(self.systems[0])
        return tuple(nodes * width for width in self.widths)

    @property
    def symmetric(self) -> bool:
        """Whether equal path counts are promised: nothing trimmed, no thinned copies."""
        return self.untrimmed == self.sizes and self.degrees is None

    def topologies(self) -> list[Topology]:
        """The layers, trimmed, of shape (out, in)."""
        return trimmed(radix_net(self.systems, self.widths, degrees=self.degrees), self.sizes)


@dataclass(frozen=True)
class RadixPlan:
    """What :func:`radix_net_for` chose for a network. It prints as a table: what, and how exactly it fits.

    Args:
        shapes: weight name -> shape, of the whole network.
        chains: the RadiX-Nets; what stands in none of them stays dense.
        asked: the density that was asked for.
    """

    shapes: Mapping[str, tuple[int, ...]]
    chains: tuple[Chain, ...]
    asked: float

    @property
    def dense(self) -> tuple[str, ...]:
        """Weights that keep every connection."""
        wired = {name for chain in self.chains for name in chain.names}
        return tuple(name for name in self.shapes if name not in wired)

    def wiring(self, relabel: Generator | None = None) -> Wiring:
        """The wiring; with a generator, every chain's units are renamed at random."""
        found = {name: Topology.full(self.shapes[name]) for name in self.dense}
        for chain in self.chains:
            layers = chain.topologies()
            layers = permuted(layers, relabel) if relabel is not None else layers
            for name, layer in zip(chain.names, layers, strict=True):
                if layer.shape != self.shapes[name][:2]:
                    raise ValueError(
                        f"`widths` of the RadiX-Net give `{name}` the shape {layer.shape}, but the network has "
                        f"{self.shapes[name][:2]} there."
                    )
                found[name] = over_kernel(layer, self.shapes[name])
        return Wiring({name: found[name] for name in self.shapes})

    @property
    def density(self) -> float:
        """The density of the whole network, as it came out."""
        return self.wiring().density

    def __str__(self) -> str:
        wiring = self.wiring()
        lines = [f"RadiX-Net of density {wiring.density:.4g} (asked: {self.asked:.4g}), {wiring.nnz:,} connections"]
        for chain in self.chains:
            thinned = "" if chain.degrees is None else f", degrees {list(chain.degrees)}"
            fits = "fits exactly, equal path counts" if chain.symmetric else "approximate: trimmed or thinned out"
            lines.append(f"  systems {[list(s) for s in chain.systems]}, widths {list(chain.widths)}{thinned}: {fits}")
            for i, name in enumerate(chain.names):
                cut = [chain.untrimmed[j] - chain.sizes[j] for j in (i + 1, i)]
                shape = "x".join(map(str, self.shapes[name]))
                lines.append(f"    {name}  {shape}  density {wiring[name].density:.4g}, trimmed {cut[0]} x {cut[1]}")
        lines += [f"    {name}  stays dense" for name in self.dense]
        return "\n".join(lines)


def radix_net_for(
    model_or_shapes: nn.Module | Shapes,
    density: float,
    *,
    dense: Sequence[str] = (),
    largest: int = 1024,
) -> RadixPlan:
    """Number systems, widths and, where needed, copy degrees that fit a network and a density.

    Layers that follow one another (as many units leave one as enter the next) share one RadiX-Net; where the sizes
    break off, the next one begins. Convolutions count their channels, and every wired pair of channels keeps its whole
    kernel. Layers with less than ``1 / density`` units on one side stay dense, as long as they take no more than half
    of the connections together, and the others make up for them. All systems are tried that count to ``largest`` or
    less; chosen is what comes nearest in density, with the least trimming and thinning.

    Example:
        >>> plan = radix_net_for({"fc1": (300, 800), "fc2": (100, 300)}, 0.1)
        >>> plan.chains[0].systems, plan.chains[0].widths, plan.density
        (((10, 10),), (8, 3, 1), 0.1)

    Args:
        model_or_shapes: a model (its prunable weights count) or weight name -> shape.
        density: of all prunable weights together, those that stay dense included, in (0, 1].
        dense: patterns of weights that stay dense.
        largest: the largest N' that is tried.

    Raises:
        ValueError: if the layers named by `dense` alone exceed the density.
    """
    check_density(density, "radix_net_for")
    shapes = _shapes_of(model_or_shapes)
    free, target = _thinnable(shapes, density, tuple(dense))
    chains = tuple(_best_chain(names, shapes, target, largest) for names in _runs(free, shapes))
    return RadixPlan(shapes, chains, density)


def _shapes_of(model_or_shapes: nn.Module | Shapes) -> dict[str, tuple[int, ...]]:
    if isinstance(model_or_shapes, Mapping):
        return {name: tuple(shape) for name, shape in model_or_shapes.items()}
    return {name: tuple(weight.shape) for name, weight in prunable(model_or_shapes).items()}


def _thinnable(shapes: Shapes, density: float, dense: tuple[str, ...]) -> tuple[list[str], float]:
    """The weights that can be thinned out, and the density that they need for the whole to have the asked one."""
    total = sum(math.prod(shape) for shape in shapes.values())
    free = [name for name, shape in shapes.items() if len(shape) >= 2 and not matches(name, dense)]
    left = density * total - sum(math.prod(shape) for name, shape in shapes.items() if name not in free)
    if left <= 0 or not free:
        raise ValueError(
            f"`density` {density} of `radix_net_for` leaves nothing beside the layers named by `dense`; ask for more."
        )
    allowance = left / 2
    for name in sorted(free, key=lambda name: math.prod(shapes[name])):
        size = math.prod(shapes[name])
        if min(shapes[name][:2]) * density < 1 - 1e-9 and size <= allowance and len(free) > 1:
            free.remove(name)
            allowance -= size
            left -= size
    return free, min(left / sum(math.prod(shapes[name]) for name in free), 1.0)


def _runs(names: Sequence[str], shapes: Shapes) -> list[tuple[str, ...]]:
    """Maximal runs of layers in which as many units leave each as enter the next."""
    order = list(shapes)
    runs: list[list[str]] = []
    for name in names:
        last = runs[-1][-1] if runs else None
        follows = last is not None and order.index(name) == order.index(last) + 1
        if last is not None and follows and shapes[last][0] == shapes[name][1]:
            runs[-1].append(name)
        else:
            runs.append([name])
    return [tuple(run) for run in runs]


def _sizes(shapes: Shapes) -> tuple[int, ...]:
    return (next(iter(shapes.values()))[1], *(shape[0] for shape in shapes.values()))


def _best_chain(names: tuple[str, ...], shapes: Shapes, target: float, largest: int) -> Chain:
    sizes = _sizes({name: shapes[name] for name in names})
    weights = [math.prod(shapes[name]) for name in names]
    candidates: list[tuple[float, Chain]] = []
    for nodes in range(2, max(2, min(largest, max(sizes))) + 1):
        for digits in range(1, min(len(names), 8) + 1):
            system = _balanced(nodes, digits)
            if system is None:
                continue
            systems = tuple(system[: len(names) - at] for at in range(0, len(names), digits))
            if len(systems) == 1 and len(systems[0]) < digits:
                continue
            for multiple in _MULTIPLES:
                if multiple == 1 or nodes * multiple <= max(sizes):
                    chain = _fitted(names, systems, nodes, multiple, sizes, target)
                    candidates.append((_misfit(chain, weights, target), chain))
    return min(candidates, key=lambda scored: scored[0])[1]


_MULTIPLES = (1, 2, 3, 4, 5, 8, 10, 16, 32)
"""What widths are made multiples of, so that copies can be thinned out where number systems alone stay too dense."""


@lru_cache(maxsize=1 << 16)
def _divisors(g: int) -> tuple[int, ...]:
    return tuple(d for d in range(1, g + 1) if g % d == 0)


@lru_cache(maxsize=1 << 16)
def _balanced(nodes: int, digits: int) -> tuple[int, ...] | None:
    """The factorisation of ``nodes`` into this many radices of at least 2 that is nearest to equal; largest first."""
    if digits == 1:
        return (nodes,)
    root = nodes ** (1 / digits)
    choices = []
    for radix in range(2, nodes // 2 + 1):
        if nodes % radix == 0 and radix <= root * 4:
            rest = _balanced(nodes // radix, digits - 1)
            if rest is not None and radix >= rest[0] and min(rest) >= 2:
                choices.append((radix, *rest))
    return min(choices, key=max) if choices else None


def _fitted(
    names: tuple[str, ...],
    systems: tuple[tuple[int, ...], ...],
    nodes: int,
    multiple: int,
    sizes: tuple[int, ...],
    target: float,
) -> Chain:
    """Widths that cover the sizes, multiples of ``multiple``; copy degrees with the density nearest to the target."""
    widths = tuple(multiple * math.ceil(size / nodes / multiple) for size in sizes)
    radices = [radix for system in systems for radix in system]
    degrees = []
    for i, radix in enumerate(radices):
        g = math.gcd(widths[i], widths[i + 1])
        divisors = _divisors(g)
        degrees.append(min(divisors, key=lambda d: abs(math.log(radix / nodes * d / g / target))))
    whole = all(d == math.gcd(widths[i], widths[i + 1]) for i, d in enumerate(degrees))
    return Chain(names, systems, widths, None if whole else tuple(degrees), sizes)


def _misfit(chain: Chain, weights: Sequence[int], target: float) -> float:
    """How far a choice is from the density as a whole and by layer, and how much it trims and thins out."""
    nodes = math.prod(chain.systems[0])
    radices = [radix for system in chain.systems for radix in system]
    shares, thinned = [], 0
    for i, radix in enumerate(radices):
        g = math.gcd(chain.widths[i], chain.widths[i + 1])
        d = g if chain.degrees is None else chain.degrees[i]
        thinned += d != g
        shares.append(radix / nodes * d / g)
    whole = sum(s * w for s, w in zip(shares, weights, strict=True)) / sum(weights)
    by_layer = sum(abs(math.log(s / target)) for s in shares) / len(shares)
    cut = sum(1 - size / full for size, full in zip(chain.sizes, chain.untrimmed, strict=True)) / len(chain.sizes)
    lone = len(chain.systems[0]) == 1 and len(shares) > 1  # a system of one digit mixes nothing
    return 10 * abs(math.log(whole / target)) + by_layer + 2 * cut + 0.2 * thinned / len(shares) + 0.2 * lone
