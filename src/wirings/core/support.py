"""A support: which connections the forward pass uses, and which the optimizer may move."""

from __future__ import annotations

from dataclasses import dataclass

from wirings.core.topology import Topology


@dataclass(frozen=True)
class Support:
    """The two topologies of one live sparse weight; ``backward`` contains ``forward``.

    Every algorithm is a statement about the two. Static, SET, RigL and gradual pruning: equal. DNW: backward is
    everything, which *is* straight-through estimation. Top-KAST: backward is merely larger.
    """

    forward: Topology
    backward: Topology

    def __post_init__(self) -> None:
        if self.forward is not self.backward and not self.forward <= self.backward:
            raise ValueError("`backward` of `Support` must contain `forward`. Got connections that cannot be trained.")

    @classmethod
    def both(cls, topology: Topology) -> Support:
        """The usual case: what is used is what is trained."""
        return cls(topology, topology)

    @property
    def is_plain(self) -> bool:
        """Whether forward and backward are the same set."""
        return self.forward is self.backward or self.forward.nnz == self.backward.nnz
