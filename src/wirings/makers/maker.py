"""What a maker is: something that writes a wiring before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol, runtime_checkable

from torch import Generator, Tensor

from wirings.core.settings import OneOf
from wirings.core.wiring import Shapes, Wiring


class Maker(Protocol):
    """Writes a wiring from the shapes of a network's weights alone: ``ErdosRenyi(0.1)(shapes, rng)``.

    Called twice with equal generators, it writes equal wirings; it never touches the global random state.
    """

    def __call__(self, shapes: Shapes, rng: Generator, /) -> Wiring:
        """The wiring for weights of these shapes."""
        ...


@runtime_checkable
class WeightMaker(Protocol):
    """Writes a wiring from the weights themselves, such as their magnitude at initialisation."""

    def of_weights(self, weights: Mapping[str, Tensor], rng: Generator, /) -> Wiring:
        """The wiring for these weights; they are left as they were."""
        ...


Beginning = Wiring | Maker | WeightMaker
"""What a method may begin with."""

AnyBeginning = Annotated[Beginning, OneOf("maker")]
"""How a settings field says that it holds a wiring or a maker of one."""
