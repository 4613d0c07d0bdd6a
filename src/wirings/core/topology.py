"""A topology: the set of connections of one weight, however it is told."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

_MASKS_UP_TO = 1 << 36  # positions; a mask beyond 64 GiB is a mistake, not a wish
_POSITIONS_UP_TO = 1 << 62  # beyond this an int64 cannot name them all
_ALGEBRA_BY_MASK_UP_TO = 1 << 26  # below this, one pass over bytes beats sorting positions
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class Topology:
    """The connections that exist in one weight of shape ``(out, in, ...)``: an immutable set of positions.

    It may be told as a mask, as sorted flat indices, or as the complement of another topology; it is equal whichever
    way it was told, and it is never turned into a mask unless somebody asks. So a layer of 10⁶ x 10⁶ is possible.

    Example:
        >>> t = Topology.at((2, 3), [0, 4])
        >>> t.mask.int().tolist()
        [[1, 0, 0], [0, 1, 0]]
        >>> (~t).nnz, t.density == 1 / 3, t <= Topology.full((2, 3))
        (4, True, True)
    """

    __slots__ = ("_complement", "_fingerprint", "_index", "_mask", "_nnz", "shape")

    shape: tuple[int, ...]

    def __init__(
        self,
        shape: Sequence[int],
        *,
        mask: Tensor | None = None,
        index: Tensor | None = None,
        complement: Topology | None = None,
        nnz: int | None = None,
    ) -> None:
        """Trusts its arguments; users call :meth:`of`, :meth:`at` or :meth:`full`."""
        self.shape = tuple(int(n) for n in shape)
        self._mask, self._index, self._complement, self._nnz = mask, index, complement, nnz
        self._fingerprint: str | None = None

    # ------------------------------------------------------------------ three ways to tell it

    @classmethod
    def of(cls, mask: Tensor, *, nnz: int | None = None, trusted: bool = False) -> Topology:
        """The positions where ``mask`` is true (any dtype, any memory format).

        Args:
            mask: of the weight's shape. It is copied: what its owner writes into it later does not reach the topology.
            nnz: how many there are, if it is known already.
            trusted: take the mask as it is; the caller knows that it is bool and contiguous and gives it away.
        """
        if trusted:
            return cls(mask.shape, mask=mask, nnz=nnz)
        if not isinstance(mask, Tensor):
            raise TypeError(f"`mask` of `Topology.of` must be a tensor. Got {type(mask).__name__}.")
        if mask.is_floating_point() and bool(torch.isnan(mask).any()):
            raise ValueError("`mask` of `Topology.of` must not hold NaN.")
        told = mask.detach().to(torch.bool).contiguous()
        return cls(mask.shape, mask=told.clone() if told.data_ptr() == mask.data_ptr() else told, nnz=nnz)

    @classmethod
    def at(cls, shape: Sequence[int], index: Tensor | Sequence[int], *, trusted: bool = False) -> Topology:
        """The flat positions in ``index`` (row-major, in any order).

        Args:
            shape: of the weight.
            index: flat positions, each in [0, numel), none twice.
            trusted: skip the checks; the caller knows that ``index`` is int64, sorted, unique and in range.

        Raises:
            ValueError: if a position is out of range or stands there twice.
        """
        shape = _checked(shape)
        positions = index if isinstance(index, Tensor) else torch.from_numpy(np.atleast_1d(np.asarray(index)))
        if trusted:
            return cls(shape, index=positions)
        if positions.dtype not in _INTEGERS and positions.numel():
            raise TypeError(
                f"`index` of `Topology.at` must hold integers. Got {positions.dtype}; for a mask: Topology.of."
            )
        positions = positions.detach().flatten().to(torch.int64).sort().values
        if positions.numel():
            if positions[0] < 0 or positions[-1] >= math.prod(shape):
                worst = int(positions[0]) if positions[0] < 0 else int(positions[-1])
                raise ValueError(f"`index` of `Topology.at` must be in [0, {math.prod(shape)}). Got {worst}.")
            if bool((positions[1:] == positions[:-1]).any()):
                raise ValueError("`index` of `Topology.at` must name each position once. Got one twice.")
        return cls(shape, index=positions)

    @classmethod
    def full(cls, shape: Sequence[int], *, device: torch.device | str = "cpu") -> Topology:
        """Every position: a dense weight."""
        return ~cls.empty(shape, device=device)

    @classmethod
    def empty(cls, shape: Sequence[int], *, device: torch.device | str = "cpu") -> Topology:
        """No position at all."""
        return cls(_checked(shape), index=torch.empty(0, dtype=torch.int64, device=device), nnz=0)

    # ------------------------------------------------------------------ what it holds

    @property
    def numel(self) -> int:
        """How many positions there are, connected or not."""
        return math.prod(self.shape)

    @property
    def nnz(self) -> int:
        """How many connections exist."""
        if self._nnz is None:
            if self._index is not None:
                self._nnz = self._index.numel()
            elif self._complement is not None:
                self._nnz = self.numel - self._complement.nnz
            else:
                self._nnz = int(torch.count_nonzero(self.mask))
        return self._nnz

    @property
    def density(self) -> float:
        """nnz / numel."""
        return self.nnz / self.numel if self.numel else 0.0

    @property
    def is_full(self) -> bool:
        """Whether every position is connected."""
        return self.nnz == self.numel

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        if self._mask is not None:
            return self._mask.device
        if self._index is not None:
            return self._index.device
        assert self._complement is not None
        return self._complement.device

    @property
    def mask(self) -> Tensor:
        """A bool tensor of the weight's shape. Treat it as read-only."""
        if self._mask is None:
            if self.numel > _MASKS_UP_TO:
                raise ValueError(
                    f"A mask of shape {self.shape} would take {self.numel >> 30} GiB. Work with `sample`, the algebra "
                    "and, of the smaller side, `index`."
                )
            if self._complement is not None:
                self._mask = ~self._complement.mask
            else:
                mask = torch.zeros(self.numel, dtype=torch.bool, device=self.device)
                mask[self._index] = True
                self._mask = mask.view(self.shape)
        return self._mask

    @property
    def index(self) -> Tensor:
        """The flat positions of the connections, int64, ascending, shape ``(nnz,)``. Treat it as read-only."""
        if self._index is None:
            if self._complement is not None and self._complement.nnz == 0:
                self._index = torch.arange(self.numel, device=self.device)
            else:
                self._index = positions_of(self.mask.view(-1))
        return self._index

    def csr(self) -> tuple[Tensor, Tensor]:
        """Row pointers ``(out + 1,)`` and columns ``(nnz,)`` of the weight seen as a matrix ``(out, in * ...)``."""
        rows, columns = self._matrix_shape()
        pointers = torch.searchsorted(self.index, torch.arange(rows + 1, device=self.device) * columns)
        return pointers, self.index % max(columns, 1)

    @property
    def in_degrees(self) -> Tensor:
        """Connections that enter each output unit (kernel elements counted one by one), shape ``(out,)``."""
        if self._lazy:
            return self._matrix_shape()[1] - (~self).in_degrees
        return self.csr()[0].diff()

    @property
    def out_degrees(self) -> Tensor:
        """Connections that leave each input unit, shape ``(in,)``; for a convolution: each input channel."""
        rows, columns = self._matrix_shape()
        inputs = self.shape[1] if len(self.shape) > 1 else 1
        per_input = columns // inputs if inputs else 1
        if self._lazy:
            return rows * per_input - (~self).out_degrees
        return torch.bincount((self.index % max(columns, 1)) // max(per_input, 1), minlength=inputs)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell this topology from any other, however it is told."""
        if self._fingerprint is None:
            digest = hashlib.sha256(repr(self.shape).encode())
            dense = 2 * self.nnz > self.numel  # the smaller side says it all, so a full layer costs nothing
            digest.update(b"all but" if dense else b"only")
            digest.update((~self if dense else self).index.cpu().contiguous().numpy().data)
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def to(self, device: torch.device | str) -> Topology:
        """The same topology with its tensors on ``device``."""
        here, there = self.device, torch.device(device)
        if here.type == there.type and there.index in (None, here.index):
            return self
        return Topology(
            self.shape,
            mask=None if self._mask is None else self._mask.to(device),
            index=None if self._index is None else self._index.to(device),
            complement=None if self._complement is None else self._complement.to(device),
            nnz=self._nnz,
        )

    def sample(self, k: int, rng: Generator) -> Topology:
        """``k`` of the connections, uniformly at random without replacement.

        Costs O(k + nnz), or O(k + connections that do *not* exist) where the topology is told as a complement: never
        O(numel). What is drawn depends on the set and on ``rng`` alone, not on how the set was told.

        Raises:
            ValueError: if ``k`` is not in [0, nnz].
        """
        check_count(k, self.nnz, "Topology.sample")
        ranks = _distinct(k, self.nnz, rng).to(self.device)
        if self._index is None and self._complement is not None:
            # The r-th free position is r plus the number of taken positions before it.
            taken = self._complement.index
            if taken.numel():
                shifts = taken - torch.arange(taken.numel(), device=taken.device)
                ranks += torch.searchsorted(shifts, ranks, right=True)
            return Topology(self.shape, index=ranks, nnz=k)
        return Topology(self.shape, index=self.index[ranks], nnz=k)

    # ------------------------------------------------------------------ algebra

    def __invert__(self) -> Topology:
        """What is not connected."""
        if self._complement is not None:
            return self._complement
        return Topology(self.shape, complement=self)

    def __or__(self, other: Topology) -> Topology:
        """Connected in either."""
        self, other = self._alike(other)
        if self._by_mask(other):
            return Topology(self.shape, mask=self.mask | other.mask)
        if self._lazy or other._lazy:
            return ~(~self & ~other)
        return Topology(self.shape, index=_merged(self.index, other.index))

    def __and__(self, other: Topology) -> Topology:
        """Connected in both."""
        self, other = self._alike(other)
        if self._by_mask(other):
            return Topology(self.shape, mask=self.mask & other.mask)
        if self._lazy and other._lazy:
            return ~(~self | ~other)
        if self._lazy:
            return other - ~self
        if other._lazy:
            return self - ~other
        return Topology(self.shape, index=self.index[_holds(other.index, self.index)])

    def __sub__(self, other: Topology) -> Topology:
        """Connected here and not there."""
        self, other = self._alike(other)
        if self._by_mask(other):
            return Topology(self.shape, mask=self.mask & ~other.mask)
        if self._lazy or other._lazy:
            return self & ~other
        return Topology(self.shape, index=self.index[~_holds(other.index, self.index)])

    def __le__(self, other: Topology) -> bool:
        """Whether every connection here exists there too."""
        if self is other or (isinstance(other, Topology) and self.shape == other.shape and other.is_full):
            return True
        self, other = self._alike(other)
        return self.nnz <= other.nnz and (self - other).nnz == 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        if self is other:
            return True
        if self.shape != other.shape or self.nnz != other.nnz:
            return False
        other = other.to(self.device)
        if self._mask is not None and other._mask is not None:
            return torch.equal(self._mask, other._mask)
        if self._lazy and other._lazy:
            return ~self == ~other
        return torch.equal(self.index, other.index)

    def __hash__(self) -> int:
        return hash((self.shape, self.nnz))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"Topology({shape}, {self.nnz:,} of {self.numel:,} connections, density {self.density:.4g})"

    def __copy__(self) -> Topology:
        return self  # immutable, so a copy is itself: a copied model shares it, on whatever device it is

    def __deepcopy__(self, memo: object) -> Topology:
        return self

    def __getstate__(self) -> dict[str, object]:
        return (
            {"shape": self.shape, "index": self.index.cpu()} if not self._lazy else {"shape": self.shape, "not": ~self}
        )

    def __setstate__(self, state: dict[str, object]) -> None:
        other = Topology(state["shape"], index=state.get("index"), complement=state.get("not"))  # type: ignore[arg-type]
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    # ------------------------------------------------------------------ helpers

    @property
    def _lazy(self) -> bool:
        return self._complement is not None and self._index is None and self._mask is None

    def _by_mask(self, other: Topology) -> bool:
        """Whether masks are the cheaper way: both are there, or the weight is small."""
        return self.numel <= _ALGEBRA_BY_MASK_UP_TO or (self._mask is not None and other._mask is not None)

    def _alike(self, other: Topology) -> tuple[Topology, Topology]:
        if not isinstance(other, Topology):
            raise TypeError(
                f"A topology combines with topologies. Got {type(other).__name__}; Topology.of takes a mask."
            )
        if self.shape != other.shape:
            raise ValueError(f"Topologies of one weight must have one shape. Got {self.shape} and {other.shape}.")
        return self, other.to(self.device)

    def _matrix_shape(self) -> tuple[int, int]:
        rows = self.shape[0] if self.shape else 1
        return rows, math.prod(self.shape[1:])


def positions_of(mask: Tensor) -> Tensor:
    """Where a one-dimensional mask is true, ascending, int64."""
    if mask.device.type == "cpu":  # numpy's flatnonzero is several times faster than torch.nonzero
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def check_count(k: object, most: int, owner: str) -> None:
    """Refuse a ``k`` that is no integer in [0, most]."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 0 <= k <= most:
        raise ValueError(f"`k` of `{owner}` must be an integer in [0, {most}]. Got {k!r}.")


def _checked(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape as plain integers; refused where positions could not be numbered."""
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or math.prod(sizes) > _POSITIONS_UP_TO:
        raise ValueError(
            f"`shape` of a topology must hold sizes of at least 0, and at most 2^62 positions. Got {sizes}."
        )
    return sizes


def _holds(sorted_index: Tensor, wanted: Tensor) -> Tensor:
    """For each of ``wanted`` (sorted too): does ``sorted_index`` hold it?"""
    if not sorted_index.numel():
        return torch.zeros_like(wanted, dtype=torch.bool)
    at = torch.searchsorted(sorted_index, wanted).clamp_(max=sorted_index.numel() - 1)
    return sorted_index[at] == wanted


def _merged(*parts: Tensor) -> Tensor:
    """All the integers of some tensors, each once, ascending."""
    return _each_once(torch.cat(parts))


def _each_once(numbers: Tensor) -> Tensor:
    """The same integers, each once, ascending; the tensor is used up."""
    if numbers.device.type != "cpu":
        unique: Tensor = torch.unique(numbers)
        return unique
    found = numbers.numpy()
    found.sort()  # in place, and several times faster than torch's
    new = np.ones(len(found), dtype=bool)
    np.not_equal(found[1:], found[:-1], out=new[1:])
    return numbers if new.all() else torch.from_numpy(found[new])


def _distinct(k: int, n: int, rng: Generator) -> Tensor:
    """``k`` distinct integers of ``range(n)``, ascending, uniform over all such sets, in O(k) where k << n."""
    if 2 * k > n:
        left = torch.ones(n, dtype=torch.bool)
        left[_distinct(n - k, n, rng)] = False
        return positions_of(left)
    if n <= 4 * k or n <= 4096:
        return _each_once(torch.randperm(n, generator=rng)[:k].clone())
    drawn = _each_once(torch.randint(n, (k,), generator=rng))
    while drawn.numel() < k:  # a repeated draw is drawn again, one for one: never more than k, so no set is preferred
        more = _each_once(torch.randint(n, (k - drawn.numel(),), generator=rng)).numpy()
        known = drawn.numpy()
        places = np.searchsorted(known, more)
        new = known[np.minimum(places, len(known) - 1)] != more
        drawn = torch.from_numpy(np.insert(known, places[new], more[new]))
    return drawn
