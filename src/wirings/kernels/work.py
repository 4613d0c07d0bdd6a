"""A layer as work: how much of each kind it is, dense and sparse.

Kinds of work are a call, a multiply-add, an activation that moves, a weight that is read, ... A layer's time is the
sum of them, each times its cost, which a machine's calibration knows (`wirings.kernels.calibration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from wirings.kernels.linear import panel_width, second_level_cache

Kernel = Literal["sparse", "dense"]
Purpose = Literal["train", "infer"]
Product = Literal["infer", "train", "first"]
"""A forward pass; forward and backward; the same without a gradient for the input, as a first layer has it."""

Route = Literal["connections", "filled", "winograd"]
"""How a sparse convolution is multiplied: see :func:`route`."""

ROUTES: tuple[Route, ...] = ("connections", "filled", "winograd")
"""In the order of ``kernels/cpu/geometry.h``."""

FILLED = 0.7
FILLED_POINTWISE = 0.6
"""The density from which the kernels of a sparse convolution, or of one with 1 x 1 kernels, multiply missing
connections too: fixed, measured on AVX-512, where such a product takes about what torch's dense convolution does."""

_FACTOR, _TURN, _KERNEL = 0.55, 11.0, 3.0
"""What a product of Winograd's algorithm, a number it turns into a factor, and one of its kernel cost, in products of a
connection with a pixel: fixed, measured on AVX-512 (layers of 16 to 512 channels, batches of 16 to 128)."""

_HALF = 1.6
"""How many connections of bfloat16 take as long as one of float32; Winograd's products are float32's."""

_TILE, _POINTS, _TAPS = 4, 36, 9
_CHANNELS, _OUTPUTS = 12, 32  # whose multiples Winograd's kernels work on

LANES = 16
"""Samples that a sparse convolution works on at a time."""

FEW = 2
"""Samples up to which linear layers gather, and dense ones are a product with a vector."""

FEW_IMAGES = 4
"""Samples up to which a convolution's forward pass lays pixels side by side instead of samples: a quarter of the
`LANES`, since such loads cross lines of the cache, which takes twice as long."""

_FRESH = 2**25  # bytes from which an allocator returns memory to the system: gradients then begin with page faults
_OUTSIDE = 2**23  # bytes from which an optimizer's step, or a convolution's activations, work outside the caches


@dataclass(frozen=True, kw_only=True)
class Work:
    """One layer at one batch, as far as its cost goes.

    Args:
        shape: of the weight: ``(out, in)``, or ``(out, in / groups, height, width)``.
        nnz: its connections.
        batch: samples (for a linear layer: rows of its input).
        image: height and width of a convolution's input.
        stride, padding, groups: of a convolution.
        chained: whether it stands in a ``SparseSequential`` chain, whose activations stay in panels.
    """

    shape: tuple[int, ...]
    nnz: int
    batch: int
    image: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int = 0
    groups: int = 1
    chained: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 4) or min(self.shape) < 1:
            raise ValueError(
                f"`shape` must be (out, in) or (out, in / groups, height, width), each at least 1. Got {self.shape}."
            )
        if not 0 <= self.nnz <= self.numel:
            raise ValueError(f"`nnz` of a weight {self.shape} must be in [0, {self.numel}]. Got {self.nnz}.")
        if self.batch < 1:
            raise ValueError(f"`batch` must be at least 1. Got {self.batch}.")
        if self.stride < 1 or self.groups < 1 or self.padding < 0 or min(self.output) < 1:
            raise ValueError(
                f"no convolution has a weight {self.shape}, images of {self.image}, stride {self.stride}, padding "
                f"{self.padding} and {self.groups} groups."
            )

    @property
    def numel(self) -> int:
        """Positions of the weight."""
        return math.prod(self.shape)

    @property
    def density(self) -> float:
        """nnz / numel."""
        return self.nnz / self.numel

    @property
    def is_conv(self) -> bool:
        """Whether it is a convolution."""
        return len(self.shape) == 4

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of a convolution's result."""
        if not self.is_conv:
            return 1, 1
        high, wide = (outputs(n, k, self.stride, self.padding) for n, k in zip(self.image, self.shape[2:], strict=True))
        return high, wide

    @property
    def moved(self) -> int:
        """Numbers that go in and come out, for one sample."""
        return self.shape[1] * self.groups * math.prod(self.image) + self.shape[0] * math.prod(self.output)


def outputs(size: int, kernel: int, stride: int, padding: int) -> int:
    """Pixels that a convolution or a pool gives along a side."""
    return (size + 2 * padding - kernel) // stride + 1


def product_of(purpose: Purpose, *, first: bool = False) -> Product:
    """What a layer does for this purpose; ``first``: its input needs no gradient."""
    return "infer" if purpose == "infer" else "first" if first else "train"


def features(work: Work, kernel: Kernel) -> tuple[str, list[float]]:
    """The family whose costs apply, and how much of each kind of work there is.

    The first is always 1: what a call costs whatever it does.
    """
    if work.is_conv:
        return _conv_features(work, kernel)
    few, moved = work.batch <= FEW, float(work.moved * work.batch)
    if kernel == "dense":
        macs = float(work.numel * work.batch)
        if few:
            return "dense linear few", [1.0, macs, _outside(4 * work.numel, macs), _fresh(work), moved]
        # small batches reach less of the peak: that is what the third adds
        small = float(work.numel * min(work.batch, 32))
        return "dense linear", [1.0, macs, small, work.numel, _fresh(work), moved]
    if few:
        macs = float(work.nnz * work.batch)
        return "sparse linear few", [1.0, macs, _outside(6 * work.nnz, macs), moved]
    lanes, panels = _padded(work)
    family = "sparse chain" if work.chained else "sparse linear"
    far = _outside(12 * work.nnz, float(work.nnz))  # values and gradients that are permuted through memory
    return family, [1.0, work.nnz * lanes, work.nnz * panels, far, work.shape[0] * panels, work.moved * lanes]


def _conv_features(work: Work, kernel: Kernel) -> tuple[str, list[float]]:
    high, wide = work.output
    (out, inner), taps = work.shape[:2], work.shape[2] * work.shape[3]
    if kernel == "dense":
        macs = float(work.numel * high * wide * work.batch)
        family = "dense conv few" if work.batch == 1 else "dense conv"
        moved = float(work.moved * work.batch)
        return family, [1.0, macs, moved, _far(moved), work.numel, _fresh(work)]
    if few_images(work.batch):  # forward over pixels, backward over sixteen lanes
        products = float(work.nnz * high * wide)
        return "sparse conv few", [1.0, products * work.batch, products * LANES, work.moved * work.batch, work.nnz]
    panels = -(-work.batch // LANES)
    lanes = panels * LANES
    border = 2 * work.padding
    planes = inner * work.groups * (work.image[0] + border) * (work.image[1] + border) + out * high * wide
    pieces = (inner * work.groups + out) * work.batch  # an image's channel lies in one piece; packing gathers them
    way, nnz = route_of(work), float(work.nnz)
    if way == "winograd":
        factors, turned = (count(work.shape, work.output, panels) * LANES for count in (_factors, _turned))
        return "sparse conv winograd", [1.0, factors, turned, _far(planes * lanes), work.numel, pieces]
    if way == "filled":  # from there on the time is the same, and there it was the sparse kernel's
        nnz = filled_from(work.shape) * work.numel
    walks = nnz * high * panels  # a connection walks over the lines of an image
    return "sparse conv", [
        1.0, nnz * high * wide * lanes, walks, planes * lanes, _far(planes * lanes), pieces, out * high * taps * panels
    ]  # fmt: skip


def few_images(batch: int) -> bool:
    """Whether the forward pass of a sparse convolution lays pixels side by side, not samples."""
    return batch <= FEW_IMAGES


def route(
    nnz: int,
    shape: tuple[int, ...],
    *,
    output: tuple[int, int],
    panels: int,
    stride: int = 1,
    groups: int = 1,
    half: bool = False,
) -> Route:
    """How the kernels multiply a sparse convolution: the same numbers but for rounding, at different cost.

    - ``"connections"``: one after the other, each with loads of its own. The work is the connections'.
    - ``"filled"``: missing connections too, as zeros, which share their loads.
    - ``"winograd"``: 3 x 3 kernels with stride 1 in 36 products for 16 pixels of a pair of channels, whichever of its
      nine connections there are (Winograd, 1980; Lavin & Gray, 2016). Rounding errors are about three times as
      large, those of weight gradients seven times.

    Whatever the route, a missing connection counts for nothing: where an infinity or a NaN could have come through one,
    the result is computed again from the connections alone.

    Example:
        >>> route(25, (10, 4, 1, 1), output=(8, 8), panels=1), route(225, (10, 4, 3, 3), output=(8, 8), panels=1)
        ('filled', 'connections')
        >>> route(18_000, (64, 64, 3, 3), output=(32, 32), panels=4)
        'winograd'

    Args:
        nnz: connections.
        shape: of the weight, ``(out, in / groups, height, width)``.
        output: height and width of the result.
        panels: of sixteen samples.
        stride, groups: of the convolution; with more than one group it is always made by connections.
        half: whether images are bfloat16, whose connections are multiplied by pairs, and never filled.
    """
    if groups > 1:
        return "connections"
    if shape[2:] == (3, 3) and stride == 1:
        made = _FACTOR * _factors(shape, output, panels) / 3
        made += _TURN * _turned(shape, output, panels) + _KERNEL * _POINTS * shape[0] * shape[1]
        if nnz * math.prod(output) * panels > made * (_HALF if half else 1):
            return "winograd"
    if half:
        return "connections"
    return "filled" if nnz >= filled_from(shape) * math.prod(shape) else "connections"


def _factors(shape: tuple[int, ...], output: tuple[int, int], panels: int) -> int:
    """Products of sixteen samples in Winograd's algorithm, forward and both gradients, with those of what is padded."""
    out, inner = shape[:2]
    wide_out, wide_in = _up(out, _CHANNELS), _up(inner, _CHANNELS)
    return _POINTS * _tiles(output) * panels * (inner * wide_out + out * wide_in + wide_in * _up(out, _OUTPUTS))


def _turned(shape: tuple[int, ...], output: tuple[int, int], panels: int) -> int:
    """Numbers of sixteen samples that it turns into factors, or makes of products."""
    return _POINTS * _tiles(output) * panels * (shape[0] + shape[1])


def _tiles(output: tuple[int, int]) -> int:
    return -(-output[0] // _TILE) * -(-output[1] // _TILE)


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def filled_from(shape: tuple[int, ...]) -> float:
    """The density from which the kernels of such a convolution multiply missing connections too."""
    return FILLED_POINTWISE if shape[2] * shape[3] == 1 else FILLED


def route_of(work: Work) -> Route:
    """How the kernels multiply this convolution in sparse storage."""
    panels = -(-work.batch // LANES)
    return route(work.nnz, work.shape, output=work.output, panels=panels, stride=work.stride, groups=work.groups)


def _outside(size: int, amount: float) -> float:
    """An amount that counts only where so many bytes do not fit into the second-level cache."""
    return amount if size > second_level_cache() else 0.0


def _far(numbers: float) -> float:
    """An amount of activations that counts only where they are so many that they come from memory."""
    return float(numbers) if 4 * numbers > _OUTSIDE else 0.0


def _fresh(work: Work) -> float:
    return float(work.numel) if 4 * work.numel > _FRESH else 0.0


def _padded(work: Work) -> tuple[int, int]:
    """Samples with those that fill the last panel, and panels."""
    width = panel_width(max(work.shape), 4, work.batch)
    panels = -(-work.batch // width)
    return panels * width, panels


def update_features(numbers: int) -> list[float]:
    """Kinds of work of an optimizer's update."""
    return [1.0, float(numbers), float(numbers) if 12 * numbers > _OUTSIDE else 0.0]
