"""Budgets: how many connections each weight gets. Counts are settled here, once, as exact integers.

Every paper rounds in its own way; :data:`ROUNDINGS` is the one table of all of them. The default, ``"exact"``, gives a
network exactly ``round(density * N)`` connections by largest remainders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wirings.core.names import matches
from wirings.core.settings import OneOf, in_range, register
from wirings.core.wiring import Shapes

Budget = Callable[[Shapes, float], Mapping[str, int]]
"""(shapes, density) -> weight name -> number of connections."""

AnyBudget = Annotated[Budget, OneOf("budget")]
"""How a settings field says that it holds a budget."""

ROUNDINGS: Mapping[str, Callable[[int, float], int]] = {
    "nearest": lambda n, d: round(_clean(n * d)),  # SNIP: kappa = round(N (1 - s)); TF model_pruning aims at it
    "floor-zeros": lambda n, d: n - math.floor(_clean(n * (1 - d))),  # RigL, SET: floor(s n) zeros
    "truncated-zeros": lambda n, d: n - int(_clean((1 - d) * n)),  # SynFlow, DNW, edge-popup: int((1 - d) n) removed
    "floor-kept": lambda n, d: int(_clean(n * d)),  # FORCE: int(N d) kept
    "ceil-pruned": lambda n, d: n - math.ceil(_clean(n * (1 - d))),  # open_lth: ceil(fraction of remaining) pruned
}
"""Name -> (numel, density) -> connections kept. The comment beside each says whose rule it is."""

Rounding = Literal["exact", "nearest", "floor-zeros", "truncated-zeros", "floor-kept", "ceil-pruned"]


@register("budget")
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """The same density everywhere, apart from weights that stay dense.

    Args:
        dense: name patterns (``"conv1.*"``) of weights that keep every connection. They lie outside the budget: the
            others have the asked density among themselves, so the network is denser than asked (RigL's convention).
        rounding: see :data:`ROUNDINGS`.
    """

    dense: tuple[str, ...] = ()
    rounding: Rounding = "exact"
    kind: Literal["uniform"] = field(default="uniform", repr=False)

    def __post_init__(self) -> None:
        _check_rounding(self, self.rounding)

    def __call__(self, shapes: Shapes, density: float) -> dict[str, int]:
        return _settled(shapes, density, {name: 1.0 for name in shapes}, self.dense, self.rounding)


@register("budget")
@dataclass(frozen=True, kw_only=True)
class ER:
    """Erdős-Rényi: density in proportion to ``(n_in + n_out) / (n_in * n_out)`` (Mocanu et al. 2018).

    Kernels are ignored; for linear layers it is the same as :class:`ERK`.
    """

    dense: tuple[str, ...] = ()
    rounding: Rounding = "exact"
    kind: Literal["er"] = field(default="er", repr=False)

    def __post_init__(self) -> None:
        _check_rounding(self, self.rounding)

    def __call__(self, shapes: Shapes, density: float) -> dict[str, int]:
        raw = {name: sum(shape[:2]) / max(math.prod(shape[:2]), 1) for name, shape in shapes.items()}
        return _settled(shapes, density, raw, self.dense, self.rounding)


@register("budget")
@dataclass(frozen=True, kw_only=True)
class ERK:
    """Erdős-Rényi-Kernel: density in proportion to ``sum(dims) / prod(dims)`` (Evci et al. 2020, section 3).

    Where that would exceed 1, the weights with the largest raw value become dense and the rest share what is left,
    again and again.

    Example:
        >>> shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
        >>> {name: round(n / math.prod(shapes[name]), 4) for name, n in ERK()(shapes, 0.02).items()}
        {'fc1': 0.0154, 'fc2': 0.0445, 'fc3': 0.367}

    Args:
        power: exponent of the raw value (``erk_power_scale`` in the authors' code; 1 in the paper).
        dense: name patterns of weights that keep every connection, outside the budget.
        rounding: see :data:`ROUNDINGS`; ``"floor-zeros"`` is the authors'.
    """

    power: float = 1.0
    dense: tuple[str, ...] = ()
    rounding: Rounding = "exact"
    kind: Literal["erk"] = field(default="erk", repr=False)

    def __post_init__(self) -> None:
        in_range("power", self, 0, 10)
        _check_rounding(self, self.rounding)

    def __call__(self, shapes: Shapes, density: float) -> dict[str, int]:
        raw = {name: (sum(shape) / max(math.prod(shape), 1)) ** self.power for name, shape in shapes.items()}
        return _settled(shapes, density, raw, self.dense, self.rounding)


@register("budget")
@dataclass(frozen=True, kw_only=True)
class SmartRatio:
    """Densities that fall with depth: in proportion to ``(L - l + 1)^2 + (L - l + 1)`` (Su et al. 2020, section 4).

    ``l`` counts the layers from 1 to L, the last one excluded: it gets the fixed density ``last``. VGGs divide by
    ``l^2`` too (``vgg=True``).
    """

    last: float = 0.3
    vgg: bool = False
    dense: tuple[str, ...] = ()
    rounding: Rounding = "exact"
    kind: Literal["smart-ratio"] = field(default="smart-ratio", repr=False)

    def __post_init__(self) -> None:
        in_range("last", self, 0, 1, open_low=True)
        _check_rounding(self, self.rounding)

    def __call__(self, shapes: Shapes, density: float) -> dict[str, int]:
        check_density(density, "SmartRatio")
        _check_patterns(shapes, self.dense)
        free = [name for name in shapes if not matches(name, self.dense)]
        if len(free) < 2:
            raise ValueError(f"`SmartRatio` needs at least two weights. Got {len(free)}.")
        hidden, final = free[:-1], free[-1]
        depth = len(hidden)
        # Su et al. count L over all layers, the classifier included, so the last hidden layer has L - l + 1 = 2.
        raw = {}
        for l, name in enumerate(hidden, start=1):
            rest = depth - l + 2
            raw[name] = (rest**2 + rest) / (l**2 if self.vgg else 1)
        total = _clean(density * sum(math.prod(shapes[name]) for name in free))
        room = sum(math.prod(shapes[name]) for name in hidden)
        # the last layer takes more only where the others are full
        counts = {final: max(round(self.last * math.prod(shapes[final])), round(total) - room)}
        left = total - counts[final]
        if left <= 0:
            raise ValueError(
                f"`density` of `SmartRatio` must leave something beside the last layer's share {self.last}. "
                f"Got {density}; lower `last`."
            )
        counts |= _settled({name: shapes[name] for name in hidden}, min(left / room, 1.0), raw, (), self.rounding)
        return {name: counts.get(name, math.prod(shapes[name])) for name in shapes}


@register("budget")
@dataclass(frozen=True, kw_only=True)
class Explicit:
    """Densities said one by one, as name pattern -> density; the rest of the network meets the asked density.

    Example:
        >>> Explicit(densities={"fc3*": 1.0})({"fc1": (4, 5), "fc3": (2, 4)}, 0.5)
        {'fc1': 10, 'fc3': 8}
    """

    densities: Mapping[str, float]
    rounding: Rounding = "exact"
    kind: Literal["explicit"] = field(default="explicit", repr=False)

    def __post_init__(self) -> None:
        _check_rounding(self, self.rounding)
        for pattern, density in self.densities.items():
            in_range("densities", self, 0, 1, of=density)
            if not isinstance(pattern, str):
                raise TypeError(f"`densities` of `Explicit` must map name patterns. Got {pattern!r}.")

    def __hash__(self) -> int:
        return hash((tuple(sorted(self.densities.items())), self.rounding))

    def __call__(self, shapes: Shapes, density: float) -> dict[str, int]:
        said: dict[str, int] = {}
        for pattern, share in self.densities.items():
            _check_patterns(shapes, (pattern,), field="densities")
            names = [name for name in shapes if matches(name, (pattern,))]
            said |= {name: round(_clean(share * math.prod(shapes[name]))) for name in names}
        free = {name: shape for name, shape in shapes.items() if name not in said}
        counts = _settled(free, density, {name: 1.0 for name in free}, (), self.rounding) if free else {}
        return {name: said.get(name, counts.get(name, 0)) for name in shapes}


def check_density(density: float, owner: str) -> None:
    """Refuse a density outside (0, 1], NaN included."""
    if not isinstance(density, (int, float)) or isinstance(density, bool) or not 0 < density <= 1:
        raise ValueError(f"`density` of `{owner}` must be in (0, 1]. Got {density!r}.")


def _check_rounding(owner: object, rounding: str) -> None:
    if rounding != "exact" and rounding not in ROUNDINGS:
        raise ValueError(
            f"`rounding` of `{type(owner).__name__}` must be one of exact, {', '.join(ROUNDINGS)}. Got {rounding!r}."
        )


def _check_patterns(shapes: Shapes, patterns: Iterable[str], *, field: str = "dense") -> None:
    """Refuse a pattern that no weight fits: a misspelt one would vanish silently."""
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        if shapes and not any(matches(name, (pattern,)) for name in shapes):
            raise ValueError(
                f"`{field}` of a budget must name weights. {pattern!r} fits none of {', '.join(list(shapes)[:8])}."
            )


def _settled(
    shapes: Shapes, density: float, raw: Mapping[str, float], dense: tuple[str, ...], rounding: str
) -> dict[str, int]:
    """Counts in proportion to ``raw * numel`` that add up to the density; what would overflow becomes dense."""
    check_density(density, "Budget")
    _check_patterns(shapes, dense)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    free = {name for name in shapes if not matches(name, dense)}
    full: set[str] = set()
    ideal = {name: float(size) for name, size in sizes.items()}
    total = _clean(density * sum(sizes[name] for name in free))
    while thin := {name for name in free - full if sizes[name]}:
        scale = (total - sum(sizes[name] for name in full)) / sum(raw[name] * sizes[name] for name in thin)
        peak = max(raw[name] for name in thin)
        if scale * peak <= 1:
            ideal |= {name: scale * raw[name] * sizes[name] for name in thin}
            break
        full |= {name for name in thin if raw[name] == peak}
    if rounding != "exact":
        rule = ROUNDINGS[rounding]
        return {name: rule(sizes[name], min(ideal[name] / max(sizes[name], 1), 1.0)) for name in shapes}
    return _largest_remainders(
        {name: ideal[name] for name in shapes}, round(total) + sum(sizes[n] for n in sizes if n not in free)
    )


def _largest_remainders(ideal: Mapping[str, float], total: int) -> dict[str, int]:
    """Integers next to ``ideal`` that add up to ``total``; ties to the earlier name."""
    counts = {name: math.floor(_clean(x)) for name, x in ideal.items()}
    short = total - sum(counts.values())
    by_remainder = sorted(ideal, key=lambda name: counts[name] - ideal[name])
    for name in by_remainder[:short]:
        counts[name] += 1
    return counts


def _clean(x: float) -> float:
    """``x`` without the dust of binary fractions: 0.1 * 30 is 3, not 3.0000000000000004."""
    nearest = round(x)
    return float(nearest) if abs(x - nearest) < min(1e-9 * max(1.0, abs(x)), 1e-4) else x


uniform = Uniform()
er = ER()
erk = ERK()
smart_ratio = SmartRatio()
