"""What is written down about every run beside its accuracy: structure, exploration, arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wirings.attach import Sparsifier
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.training.build import shapes_of
from wirings.training.folder import stem


class Measures:
    """Follows one run and says at each row what its wiring is like.

    Args:
        model: the live network.
        sparse: what attach returned; ``None`` for a dense network.
        shape: of one input with a batch of 1, ``(1, channels, height, width)``.
        except_: patterns of the weights that stay dense.
        batch_size: images per step.
    """

    def __init__(
        self,
        model: nn.Module,
        sparse: Sparsifier | None,
        shape: tuple[int, ...],
        *,
        except_: tuple[str, ...],
        batch_size: int,
    ) -> None:
        self._sparse = sparse
        self._dense = Wiring.full(shapes_of(model, except_))
        self._explored = {name: t.mask.clone() for name, t in self.wiring.items()} if sparse is not None else {}
        self._previous: Wiring | None = None
        self._kept = ""
        if sparse is not None:
            sparse.watch(self._explore)

    @property
    def wiring(self) -> Wiring:
        """What the forward pass uses, now."""
        return self._dense if self._sparse is None else self._sparse.wiring

    def before_step(self) -> None:
        """The gradients of a step are there, the step is not made."""

    def keep(self, step: int, folder: Path) -> None:
        """Write the wiring to disk, unless it is still the one that was written last."""
        wiring = self.wiring
        fingerprint = wiring.fingerprint
        if fingerprint != self._kept:
            wiring.save(folder / f"{stem(step)}.safetensors")
            self._kept = fingerprint

    def row(self) -> dict[str, Any]:
        """The structure now, and how it changed since the last row."""
        wiring = self.wiring
        row = {"density": wiring.density}
        self._previous = wiring
        return row

    def results(self) -> dict[str, Any]:
        """The structure at the end."""
        wiring = self.wiring
        return {"density": wiring.density, "connections": wiring.nnz, "weights": wiring.numel}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on measuring; tensors and plain data."""
        return {
            "explored": self._explored,
            "previous": None if self._previous is None else {n: t.index for n, t in self._previous.items()},
            "kept": self._kept,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._explored = {name: mask.to(self.wiring[name].device) for name, mask in state["explored"].items()}
        if state["previous"] is not None:
            shapes = self._dense.shapes
            self._previous = Wiring(
                {n: Topology.at(shapes[n], index, trusted=True) for n, index in state["previous"].items()}
            )
        self._kept = state["kept"]

    def _explore(self, sparse: Sparsifier) -> None:
        for name, site in sparse.sites.items():
            self._explored[name] |= site.support.forward.mask


def dead_logits(logits: Tensor) -> int:
    """How many classes have one and the same logit for every image (images, classes): they cannot be told apart.

    Example:
        >>> dead_logits(torch.tensor([[0.0, 1.0], [0.0, 2.0]]))
        1
    """
    return int((logits.amax(0) == logits.amin(0)).sum()) if len(logits) > 1 else 0
