"""A wiring: the topologies of a whole network, by the names of its weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from wirings.core.errors import WiringError
from wirings.core.files import written_aside
from wirings.core.topology import Topology

FORMAT = "wirings.wiring"
VERSION = 1

Shapes = Mapping[str, tuple[int, ...]]
"""Weight name -> shape, in the order of the network's layers."""


class Wiring(Mapping[str, Topology]):
    """Weight name (``"fc1.weight"``) -> :class:`Topology`, immutable, in the order of the network's layers.

    Example:
        >>> wiring = Wiring({"fc.weight": Topology.at((2, 3), [0, 4])})
        >>> wiring.nnz, wiring.numel, wiring["fc.weight"].density == wiring.density
        (2, 6, True)
    """

    def __init__(self, topologies: Mapping[str, Topology], *, path: str | Path | None = None) -> None:
        """``path`` remembers where the wiring was saved; it does not count for equality."""
        self._topologies = dict(topologies)
        for name, topology in self._topologies.items():
            if not isinstance(topology, Topology):
                raise TypeError(
                    f"A wiring maps names to topologies. `{name}` is a {type(topology).__name__}; "
                    "Topology.of takes a mask."
                )
        self.path = None if path is None else Path(path)

    @classmethod
    def full(cls, shapes: Shapes) -> Wiring:
        """Every position of every weight."""
        return cls({name: Topology.full(shape) for name, shape in shapes.items()})

    def __getitem__(self, name: str) -> Topology:
        return self._topologies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._topologies)

    def __len__(self) -> int:
        return len(self._topologies)

    @property
    def nnz(self) -> int:
        """How many connections exist, over all weights."""
        return sum(t.nnz for t in self.values())

    @property
    def numel(self) -> int:
        """How many positions there are, over all weights."""
        return sum(t.numel for t in self.values())

    @property
    def density(self) -> float:
        """nnz / numel, over all weights."""
        return self.nnz / self.numel if self.numel else 0.0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight name -> shape."""
        return {name: t.shape for name, t in self.items()}

    @property
    def counts(self) -> dict[str, int]:
        """Weight name -> number of connections."""
        return {name: t.nnz for name, t in self.items()}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell this wiring from any other."""
        digest = hashlib.sha256()
        for name in sorted(self):
            digest.update(f"{name}\0{self[name].fingerprint}\0".encode())
        return digest.hexdigest()[:16]

    def __or__(self, other: Wiring) -> Wiring:
        """Connected in either; both must name the same weights."""
        return Wiring({name: t | self._same(other)[name] for name, t in self.items()})

    def __and__(self, other: Wiring) -> Wiring:
        """Connected in both."""
        return Wiring({name: t & self._same(other)[name] for name, t in self.items()})

    def __sub__(self, other: Wiring) -> Wiring:
        """Connected here and not there."""
        return Wiring({name: t - self._same(other)[name] for name, t in self.items()})

    def __invert__(self) -> Wiring:
        """What is not connected."""
        return Wiring({name: ~t for name, t in self.items()})

    def __le__(self, other: Wiring) -> bool:
        """Whether every connection here exists there too."""
        return all(t <= self._same(other)[name] for name, t in self.items())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wiring):
            return NotImplemented
        return self._topologies == other._topologies

    def __hash__(self) -> int:
        return hash(tuple(sorted((name, hash(t)) for name, t in self.items())))

    def __repr__(self) -> str:
        return f"Wiring({len(self)} weights, {self.nnz:,} of {self.numel:,} connections, density {self.density:.4g})"

    def check(self, shapes: Shapes, *, whose: str = "the network") -> None:
        """Refuse a wiring that does not belong to weights of these shapes.

        Raises:
            WiringError: one sentence that names the first weight in question.
        """
        for name, topology in self.items():
            if name not in shapes:
                known = ", ".join(list(shapes)[:6]) + (", ..." if len(shapes) > 6 else "")
                raise WiringError(f"The wiring names `{name}`, which {whose} does not have. Its weights: {known}.")
            if topology.shape != tuple(shapes[name]):
                raise WiringError(
                    f"The wiring's `{name}` has shape {topology.shape}, but that of {whose} has {tuple(shapes[name])}."
                )

    def _same(self, other: Wiring) -> Wiring:
        if self.keys() != other.keys():
            odd = sorted(self.keys() ^ other.keys())[0]
            raise WiringError(f"Two wirings must name the same weights. Only one names `{odd}`.")
        return other

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path) -> Path:
        """Write the wiring to a safetensors file, whole or not at all.

        Each topology is told in the shortest way: as bits, as indices, or as the indices that are free.
        """
        from safetensors.numpy import save_file

        tensors = {}
        for name, topology in self.items():
            kind, stored = _told(topology)
            tensors[f"{kind}:{name}"] = stored
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "shapes": json.dumps({name: list(shape) for name, shape in self.shapes.items()}),
            "fingerprint": self.fingerprint,
        }
        with written_aside(path) as aside:
            save_file(tensors, aside, metadata)
        self.path = Path(path)
        return self.path

    @classmethod
    def load(cls, path: str | Path) -> Wiring:
        """Read a wiring that :meth:`save` wrote; nothing in the file is trusted before it is checked.

        Raises:
            WiringError: if the file is not a wiring, is cut short, or does not match its own fingerprint.
            FileNotFoundError: if there is no such file.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no wiring at {path}.")
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT or int(metadata.get("version", 0)) > VERSION:
                    raise WiringError(
                        f"{path} is not a wiring that this version can read. Upgrade wirings, or make it again."
                    )
                shapes = _shapes(metadata["shapes"])
                stored = {key.partition(":")[2]: key for key in file.keys()}  # noqa: SIM118 (not a mapping)
                if len(stored) != len(file.keys()) or stored.keys() != shapes.keys():
                    raise ValueError("its shapes and its topologies do not name the same weights")
                wiring = cls(
                    {
                        name: _read(stored[name].partition(":")[0], file.get_tensor(stored[name]), shape)
                        for name, shape in shapes.items()
                    },
                    path=path,
                )
            if wiring.fingerprint != metadata.get("fingerprint"):
                raise WiringError(f"{path} is damaged: its connections do not match its fingerprint. Copy it again.")
        except WiringError:
            raise
        except (SafetensorError, LookupError, ValueError, TypeError, OSError, ArithmeticError, RecursionError) as error:
            raise WiringError(f"{path} is damaged or not a wiring: {error}.") from error
        return wiring


def _told(topology: Topology) -> tuple[str, np.ndarray]:
    """How a topology is stored in the fewest bytes: ``bits``, ``index`` or ``free`` (the positions not connected)."""
    width = 4 if topology.numel < 1 << 31 else 8
    few, free = width * topology.nnz, width * (topology.numel - topology.nnz)
    if topology.numel < 8 * min(few, free):
        return "bits", np.packbits(topology.mask.cpu().numpy().reshape(-1))
    kind, smaller = ("index", topology) if few <= free else ("free", ~topology)
    return kind, smaller.index.cpu().numpy().astype(np.int32 if width == 4 else np.int64)


def _shapes(text: str) -> dict[str, tuple[int, ...]]:
    """The shapes that a file names, checked: JSON may say anything."""
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError("its shapes are no table")
    for name, shape in said.items():
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"the shape of `{name}` is impossible")
    return {name: tuple(shape) for name, shape in said.items()}


def _read(kind: str, stored: np.ndarray, shape: tuple[int, ...]) -> Topology:
    """One topology from what :func:`_told` wrote, every position checked."""
    numel = math.prod(shape)
    if kind == "bits" and stored.dtype == np.uint8:
        if stored.size != (numel + 7) // 8:
            raise ValueError(f"{stored.size} bytes of bits for {numel} positions")
        bits = np.unpackbits(stored.reshape(-1), count=numel).astype(bool)
        return Topology(shape, mask=torch.from_numpy(bits).view(shape))
    if kind in ("index", "free") and stored.dtype in (np.int32, np.int64):
        topology = Topology.at(shape, torch.from_numpy(stored.astype(np.int64)))
        return ~topology if kind == "free" else topology
    raise ValueError(f"a topology told as {kind!r} in {stored.dtype}")
