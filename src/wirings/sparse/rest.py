"""A copy of values at rest, laid out for one or two samples at a time."""

from __future__ import annotations

from torch import Tensor

from wirings.kernels.index import SparseIndex
from wirings.kernels.interleaved import Interleaved

_CALLS = 8  # with the same values before they are laid out: that takes as long as some ten calls


class Rest:
    """Lays values out once they have not changed for some calls, and notices when they did.

    Told by: another index, another place in memory, torch's version counter. Writing through ``.data`` moves none of
    them, and neither do the steps of torch's fused optimizers: so this is for values that do not train.
    """

    def __init__(self) -> None:
        self._of: tuple[SparseIndex, int, int] | None = None
        self._calls = 0
        self._laid: Interleaved | None = None

    def laid_out(self, index: SparseIndex, values: Tensor) -> Interleaved | None:
        """The layout of these values; ``None`` where they have not been seen often enough."""
        if values.is_inference():
            return None  # nothing counts how often it was written to
        now = index, values.data_ptr(), values._version
        if now != self._of:
            self._of, self._calls, self._laid = now, 0, None
        self._calls += 1
        if self._laid is None and self._calls > _CALLS:
            self._laid = Interleaved(index, values)  # holds on to the values: their place in memory stays theirs
        return self._laid
