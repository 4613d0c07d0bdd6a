"""What ties a sparse layer to its copies, so that an averaged copy that missed a rewiring can say so."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wirings.core.errors import WiringError


class Lineage:
    """One family: a layer and the deep copies made of it.

    An average (EMA, SWA) writes into the values of a deep copy; once the original has moved on to another topology,
    those values belong to positions that the copy does not know. A snapshot that nobody writes to stays good, and a
    copy that trains by itself starts a family of its own.
    """

    def __init__(self) -> None:
        self._found()

    def _found(self) -> None:
        """Begin a family."""
        self._moves = [0]  # rewirings of the original; one list for the whole family
        self._seen = 0
        self._original = True
        self._version = 0

    def moved(self) -> None:
        """The layer was rewired: it is up to date, its copies are not."""
        if not self._original:
            self._found()
        self._moves[0] += 1
        self._seen = self._moves[0]

    def born(self, values: Tensor) -> None:
        """The layer that this belongs to has just been made as a copy."""
        self._version = _version(values)

    def check(self, values: Tensor, trains: bool) -> None:
        """Refuse to run a copy that was written to after its original had moved on."""
        if self._original:
            return
        if self._seen == self._moves[0]:
            if trains:
                self._found()
        elif _version(values) != self._version:
            raise WiringError(
                "This copy of a sparse layer was averaged with a model whose wiring has changed since; "
                "keep it in step with `wr.follow(copy, sparse)`."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Lineage:
        twin = Lineage()
        twin._moves, twin._seen, twin._original = self._moves, self._seen, False
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {"family": None}  # what is read back from a file has no relatives

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._found()


def _version(values: Tensor) -> int:
    return -1 if values.is_inference() else values._version
