"""What the sparsifier asks of a live site, masked or truly sparse, beside what a method asks of it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Generator, Tensor, nn

from wirings.core.support import Support
from wirings.methods.method import Method, Site


class LiveSite(Site, Protocol):
    """One sparse weight whose values an optimizer holds. In a step: ``hear``, ``lend``, ``penalty``, the optimizer,
    ``take_back``, ``average``, ``install``, ``show``, ``listen``."""

    name: str
    heard: Tensor | None
    """The whole gradient of this step, where it is held as one tensor."""
    aside: Tensor | None
    """The trained tensor, where it is more than the parameter holds."""
    frozen: Tensor | None
    """The weights, where scores train."""
    averaged: Tensor | None
    """The running mean of whole gradients, for methods that keep one."""

    @property
    def param(self) -> nn.Parameter:
        """What the optimizer holds."""
        ...

    def begin(self, method: Method, rng: Generator) -> None:
        """Take the weight as it is; from now on the optimizer sees of its gradient what the method's rule lets it."""
        ...

    def end(self) -> None:
        """Give the weight back as it is."""
        ...

    def listen(self, whole: bool) -> None:
        """Whether the backward passes to come leave the whole gradient; what was heard before is let go."""
        ...

    def hear(self, scale: Tensor | None) -> None:
        """Keep this step's whole gradient, divided by ``scale``, and leave in ``.grad`` what the optimizer may see."""
        ...

    def lend(self) -> None:
        """Before the optimizer's step: everything that trains stands in the parameter."""
        ...

    def penalty(self) -> Tensor | None:
        """What the rule adds to ``.grad`` in this step."""
        ...

    def take_back(self) -> None:
        """After the optimizer's step: remember what trains, within the rule's bounds."""
        ...

    def average(self, factor: float) -> None:
        """Let the running mean follow this step's whole gradient."""
        ...

    def install(self, support: Support, state: dict[str, Any] | None, group: dict[str, Any]) -> None:
        """Take a new support: values and memory of kept connections stay, new connections start as new."""
        ...

    def restore(
        self, support: Support, *, aside: Tensor | None, frozen: Tensor | None, averaged: Tensor | None
    ) -> None:
        """Take a saved support and the values that only attach keeps; parameter and optimizer load their own."""
        ...

    def show(self) -> None:
        """From now until the next step the forward pass uses exactly the sparse weight."""
        ...
