"""Sparse or dense: what a layer costs either way on this machine, and why one should take which.

A calibration holds what this machine needs for a unit of each kind of work: a multiply-add, an activation that moves, a
weight that is read. It is measured once (:func:`wirings.analysis.calibrate.calibrated`, ``wirings doctor --calibrate``)
and kept in the cache folder, by processor, instruction set, torch version and threads. A layer's time is the sum of its
work, each kind times its cost. Where nothing was measured, rules with fixed densities serve, and say so.

Nothing here changes what a network computes: it only tells.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from wirings.core.cache import cache_folder
from wirings.core.files import write_text
from wirings.core.topology import Topology
from wirings.kernels import native
from wirings.kernels.linear import panel_width, second_level_cache

Kernel = Literal["sparse", "dense"]
Purpose = Literal["train", "infer"]
Product = Literal["infer", "train", "first"]
"""A forward pass; forward and backward; the same without a gradient for the input, as a first layer has it."""

FORMAT = 3
"""Of the file; raise it when the features change, or the kernels that were timed."""

FILLED = 0.7
FILLED_POINTWISE = 0.6
"""The density from which the kernels of a sparse convolution, or of one with 1 x 1 kernels, multiply missing
connections too: fixed, measured on AVX-512, where such a product takes about what torch's dense convolution does."""

_LANES = 16
_FEW = 2  # samples up to which linear layers gather, and dense ones are a product with a vector
_FRESH = 2**25  # bytes from which an allocator returns memory to the system: gradients then begin with page faults
_OUTSIDE = 2**23  # bytes of an optimizer's step from which it works outside the caches
_log = logging.getLogger("wirings")


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
            raise ValueError(f"no convolution has a weight {self.shape}, images of {self.image} and this stride.")

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
        high, wide = (
            (n + 2 * self.padding - k) // self.stride + 1 for n, k in zip(self.image, self.shape[2:], strict=True)
        )
        return high, wide

    @property
    def moved(self) -> int:
        """Numbers that go in and come out, for one sample."""
        return self.shape[1] * self.groups * math.prod(self.image) + self.shape[0] * math.prod(self.output)


def features(work: Work, kernel: Kernel) -> tuple[str, list[float]]:
    """The family whose costs apply, and how much of each kind of work there is.

    The first is always 1: what a call costs whatever it does.
    """
    if work.is_conv:
        return _conv_features(work, kernel)
    few, moved = work.batch <= _FEW, float(work.moved * work.batch)
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
        return family, [1.0, macs, work.moved * work.batch, work.numel, _fresh(work)]
    panels = -(-work.batch // _LANES)
    lanes = panels * _LANES
    border = 2 * work.padding
    planes = inner * work.groups * (work.image[0] + border) * (work.image[1] + border) + out * high * wide
    pieces = (inner * work.groups + out) * work.batch  # an image's channel lies in one piece; packing gathers them
    nnz = float(work.nnz)
    if _is_filled(work, kernel):  # from there on the time is the same, and there it was the sparse kernel's
        nnz = _filled_from(work.shape) * work.numel
    walks = nnz * high * panels  # a connection walks over the lines of an image
    return "sparse conv", [
        1.0, nnz * high * wide * lanes, walks, planes * lanes, pieces, out * high * taps * panels
    ]  # fmt: skip


def fills(nnz: int, shape: tuple[int, ...], groups: int = 1) -> bool:
    """Whether the kernels of a sparse convolution multiply missing connections too, as zeros.

    So many connections, each with loads of its own, cost more than all there could be in a product that shares its
    loads between channels. A missing connection still counts for nothing, whatever its input is: where an infinity or
    a NaN times such a zero makes a NaN, the result is computed again from the connections alone.

    Example:
        >>> fills(25, (10, 4, 1, 1)), fills(225, (10, 4, 3, 3))
        (True, False)

    Args:
        nnz: connections.
        shape: of the weight, ``(out, in / groups, height, width)``.
        groups: more than one are never filled.
    """
    limit = _filled_from(shape)
    return groups == 1 and nnz >= limit * math.prod(shape)


def _filled_from(shape: tuple[int, ...]) -> float:
    return FILLED_POINTWISE if shape[2] * shape[3] == 1 else FILLED


def _is_filled(work: Work, kernel: Kernel) -> bool:
    return kernel == "sparse" and work.is_conv and fills(work.nnz, work.shape, work.groups)


def _outside(size: int, amount: float) -> float:
    """An amount that counts only where so many bytes do not fit into the second-level cache."""
    return amount if size > second_level_cache() else 0.0


def _fresh(work: Work) -> float:
    return float(work.numel) if 4 * work.numel > _FRESH else 0.0


def _padded(work: Work) -> tuple[int, int]:
    """Samples with those that fill the last panel, and panels."""
    width = panel_width(max(work.shape), 4, work.batch)
    panels = -(-work.batch // width)
    return panels * width, panels


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a calibration holds for."""

    processor: str
    isa: str
    torch: str
    threads: int

    @classmethod
    def here(cls) -> Key:
        """This machine, with the threads that torch has now."""
        return cls(processor=processor(), isa=native.isa(), torch=torch.__version__, threads=torch.get_num_threads())

    @property
    def path(self) -> Path:
        """Its file."""
        digest = hashlib.sha256(json.dumps([FORMAT, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]
        return cache_folder() / "calibration" / f"{digest}.json"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seconds for a unit of each kind of work, by family and product.

    Example:
        >>> made = Calibration(key=Key.here(), date="2026-11-21", costs={"update": (0.0, 1e-9, 0.0)})
        >>> round(made.update_ms(10**6), 3)
        1.0

    Args:
        key: the machine.
        date: of the measurement, ISO.
        costs: ``"<family> <product>"`` -> seconds for each of the family's features.
        worst: of the same, how far the fitted times were off at worst, as a share.
        seconds: how long measuring took.
    """

    key: Key
    date: str
    costs: Mapping[str, tuple[float, ...]] = field(repr=False)
    worst: Mapping[str, float] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    def ms(self, work: Work, kernel: Kernel, product: Product) -> float:
        """Milliseconds of one product of one layer."""
        family, amounts = features(work, kernel)
        costs = self.costs[f"{family} {product}"]
        return 1e3 * sum(c * a for c, a in zip(costs, amounts, strict=True))

    def update_ms(self, numbers: int) -> float:
        """Milliseconds in which SGD with momentum updates so many numbers of one parameter."""
        return 1e3 * sum(c * a for c, a in zip(self.costs["update"], update_features(numbers), strict=True))

    def step_ms(self, work: Work, kernel: Kernel, purpose: Purpose, *, first: bool = False) -> float:
        """A forward pass; or forward, backward and update."""
        if purpose == "infer":
            return self.ms(work, kernel, "infer")
        held = work.nnz if kernel == "sparse" else work.numel
        return self.ms(work, kernel, "first" if first else "train") + self.update_ms(held)

    def save(self) -> Path:
        """Write it to its place in the cache folder."""
        told = {"format": FORMAT, **asdict(self), "costs": {k: list(v) for k, v in self.costs.items()}}
        write_text(self.key.path, json.dumps(told, indent=2) + "\n")
        return self.key.path


def update_features(numbers: int) -> list[float]:
    """Kinds of work of an optimizer's update."""
    return [1.0, float(numbers), float(numbers) if 12 * numbers > _OUTSIDE else 0.0]


def saved(key: Key | None = None) -> Calibration | None:
    """The calibration of this machine (or another key) from the cache folder; none where there is none that can be
    read."""
    key = Key.here() if key is None else key
    path = key.path
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT or told["key"] != asdict(key):
            return None
        costs = {str(name): tuple(float(c) for c in some) for name, some in told["costs"].items()}
        if not all(math.isfinite(c) and c >= 0 for some in costs.values() for c in some):
            raise ValueError("costs must be finite and at least 0")
        worst = {str(name): float(share) for name, share in told["worst"].items()}
        return Calibration(key=key, date=str(told["date"]), costs=costs, worst=worst, seconds=float(told["seconds"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("the calibration in %s cannot be read (%s) and is left out", path, error)
        return None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which kernels should run a layer.

    Args:
        kernel: ``"sparse"`` or ``"dense"``.
        why: one sentence with the numbers behind it.
        sparse_ms, dense_ms: what either takes, in milliseconds; ``None`` where nothing was measured.
    """

    kernel: Kernel
    why: str
    sparse_ms: float | None = None
    dense_ms: float | None = None

    @property
    def gain(self) -> float | None:
        """How many times faster sparse is than dense; below 1 it is slower."""
        if self.sparse_ms is None or self.dense_ms is None:
            return None
        return self.dense_ms / max(self.sparse_ms, 1e-12)


def choose(
    topology: Topology | tuple[tuple[int, ...], int] | Work,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    purpose: Purpose = "train",
    *,
    image: tuple[int, int] | None = None,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    first: bool = False,
    device: torch.device | str = "cpu",
    calibration: Calibration | None = None,
) -> Choice:
    """Whether a layer should run on sparse or on dense kernels here, and why.

    It never measures: it uses the calibration that lies in the cache folder (``wirings doctor --calibrate`` makes one),
    else fixed rules.

    Example:
        >>> choose(((4096, 4096), 838_861), batch=128).kernel
        'sparse'

    Args:
        topology: of the layer, or its shape and number of connections.
        batch: samples, at least 1.
        dtype: of activations and values. Sparse times were measured in float32 and are told for half precision, too;
            in bfloat16 linear layers take less.
        purpose: ``"train"`` (forward, both gradients, update) or ``"infer"``.
        image: height and width of a convolution's input; needed for one.
        stride, padding, groups: of a convolution.
        first: whether the input needs no gradient.
        device: the compiled kernels are for the CPU.
        calibration: instead of the one in the cache folder.
    """
    if purpose not in ("train", "infer"):
        raise ValueError(f"`purpose` of `choose` must be 'train' or 'infer'. Got {purpose!r}.")
    if isinstance(topology, Work):
        work = topology
    else:
        shape, nnz = (topology.shape, topology.nnz) if isinstance(topology, Topology) else topology
        if len(shape) == 4 and image is None:
            raise ValueError("`image` of `choose` must be said for a convolution: height and width of its input.")
        shape, image = tuple(shape), image or (1, 1)
        work = Work(
            shape=shape, nnz=nnz, batch=batch, image=image, stride=stride, padding=padding, groups=groups
        )  # fmt: skip
    if torch.device(device).type != "cpu":
        why = (
            f"the compiled sparse kernels are for the CPU; on {torch.device(device).type} plain torch serves, as a rule"
        )
        return Choice(kernel="dense", why=f"{why} slower than dense")
    if dtype not in _TIMES:
        known = ", ".join(str(known).removeprefix("torch.") for known in _TIMES)
        raise TypeError(f"`dtype` of `choose` must be one of {known}. Got {dtype}.")
    if work.nnz == work.numel:
        return Choice(kernel="dense", why="no connection is missing")
    calibration = calibration or saved()
    if calibration is None:
        return _by_rule(work, dtype, purpose)
    if work.is_conv and work.stride > 2:
        return Choice(kernel="dense", why=f"the sparse kernels know stride 1 and 2, not {work.stride}")
    return _by_time(work, dtype, purpose, calibration, first)


_TIMES: dict[torch.dtype, tuple[float, str]] = {
    torch.float32: (1.0, ""),
    torch.float64: (2.0, ", counted twice for float64"),
    torch.bfloat16: (1.0, ""),
    torch.float16: (1.0, ""),
}
"""dtype -> factor on the float32 times, and how it is told."""


def _by_time(work: Work, dtype: torch.dtype, purpose: Purpose, calibration: Calibration, first: bool) -> Choice:
    times, said = _TIMES[dtype]
    half = dtype in (torch.bfloat16, torch.float16)
    sparse = times * calibration.step_ms(work, "sparse", purpose, first=first)
    dense = times * calibration.step_ms(work, "dense", purpose, first=first)
    if half:
        faster = _half_gain(work, calibration)
        dense /= faster
        said = f", dense in half precision counted {faster:.2g} times as fast as in float32"
    kernel: Kernel = "sparse" if sparse < dense else "dense"
    what = "a training step" if purpose == "train" else "a forward pass"
    slow, fast = (dense, sparse) if kernel == "sparse" else (sparse, dense)
    gain = slow / max(fast, 1e-12)
    verdict = f"{gain:.2g} times faster" if kernel == "sparse" else f"{gain:.2g} times slower"
    why = (
        f"{100 * (1 - work.density):.4g} % sparse at batch {work.batch}: {what} takes {_ms(sparse)} sparse and "
        f"{_ms(dense)} dense, so sparse is {verdict}{said} (this machine's calibration of {calibration.date[:10]}, "
        f"{calibration.key.isa}, {calibration.key.threads} thread(s)){_told_if_filled(work)}"
    )
    return Choice(kernel=kernel, why=why, sparse_ms=sparse, dense_ms=dense)


def _told_if_filled(work: Work) -> str:
    if not (_is_filled(work, "sparse") and native.available()):
        return ""
    limit = _filled_from(work.shape)
    return f"; from density {limit:g} on the sparse kernels of such a layer multiply missing connections too"


def _half_gain(work: Work, calibration: Calibration) -> float:
    """How many times faster a dense training step is in bfloat16, for the nearest of the layers that were measured."""
    kind = "conv" if work.is_conv else "linear few" if work.batch <= _FEW else "linear"
    found = calibration.costs.get(f"half {kind}")
    return max(found[0], 0.1) if found else 1.0


def _ms(ms: float) -> str:
    return f"{ms:.3g} ms" if ms >= 0.1 else f"{1e3 * ms:.3g} us"


# ---------------------------------------------------------------------- without a calibration

_RULES: dict[tuple[str, Purpose, str], float] = {
    ("linear", "train", "many"): 0.45,
    ("linear", "train", "few"): 0.45,
    ("linear", "infer", "many"): 0.40,
    ("linear", "infer", "few"): 0.50,
    ("conv", "train", "many"): 0.35,
    ("conv", "infer", "many"): 0.35,
    ("conv", "train", "few"): 0.05,
    ("conv", "infer", "few"): 0.05,
}
"""Kind, purpose, batch -> the density below which compiled kernels were faster where they were developed (two AVX-512
cores, torch 2.13, float32); convolutions always work on sixteen samples at a time, so few samples waste lanes."""

_HALF_RULES = {("linear", "train"): 0.17, ("linear", "infer"): 0.07, ("conv", "train"): 0.04, ("conv", "infer"): 0.04}
_TORCH_RULE = 0.02  # without compiled kernels


def _by_rule(work: Work, dtype: torch.dtype, purpose: Purpose) -> Choice:
    kind = "conv" if work.is_conv else "linear"
    few = work.batch < _LANES // 2 if work.is_conv else work.batch <= _FEW
    limit, said = _RULES[kind, purpose, "few" if few else "many"], "float32"
    if dtype in (torch.bfloat16, torch.float16):
        limit, said = min(limit, _HALF_RULES[kind, purpose]), "dense in half precision"
    if native.isa() == "torch":
        limit, said = (0.0 if work.is_conv else _TORCH_RULE), "no compiled kernels"
    kernel: Kernel = "sparse" if work.density < limit else "dense"
    what = "training" if purpose == "train" else "inference"
    why = (
        f"density {work.density:.4g} is {'below' if kernel == 'sparse' else 'not below'} {limit:g}, the rule for "
        f"{what} of {'convolutions' if work.is_conv else 'linear layers'} at batch {work.batch} ({said}); this machine "
        f"was not measured: `wirings doctor --calibrate` does{_told_if_filled(work)}"
    )
    return Choice(kernel=kernel, why=why)


# ---------------------------------------------------------------------- break-even


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """A layer, and from which sparsity on it is faster in sparse storage; ``None`` if not even at 99.9 %."""

    layer: str
    batch: int
    purpose: Purpose
    sparsity: float | None


def break_even(work: Work, purpose: Purpose, calibration: Calibration) -> float | None:
    """The highest density at which sparse kernels take no longer than dense ones; ``None`` if none does.

    Args:
        work: the layer; its ``nnz`` does not count.
        purpose: ``"train"`` or ``"infer"``.
        calibration: of the machine.
    """
    dense = calibration.step_ms(work, "dense", purpose)

    def slower(density: float) -> bool:
        some = replace(work, nnz=int(work.numel * density))
        return calibration.step_ms(some, "sparse", purpose) > dense

    if slower(0.0):
        return None
    low, high = 0.0, 1.0
    if not slower(high):
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if slower(middle) else (middle, high)
    return low


def break_even_table(calibration: Calibration) -> list[BreakEven]:
    """Where sparse storage begins to be faster here, for typical layers: what ``wirings doctor`` prints."""
    found = []
    for name, work in _TYPICAL:
        for batch in (1, 16, 128):
            for purpose in ("train", "infer"):
                some = replace(work, batch=batch)
                density = break_even(some, purpose, calibration)
                sparsity = None if density is None or density < 0.001 else 1 - density
                found.append(BreakEven(layer=name, batch=batch, purpose=purpose, sparsity=sparsity))
    return found


_TYPICAL = (
    ("linear 300 x 784", Work(shape=(300, 784), nnz=0, batch=1)),
    ("linear 1024 x 1024", Work(shape=(1024, 1024), nnz=0, batch=1)),
    ("linear 4096 x 4096", Work(shape=(4096, 4096), nnz=0, batch=1)),
    ("convolution 64 to 64, 3 x 3, 32 x 32", Work(shape=(64, 64, 3, 3), nnz=0, batch=1, image=(32, 32), padding=1)),
    ("convolution 256 to 256, 3 x 3, 8 x 8", Work(shape=(256, 256, 3, 3), nnz=0, batch=1, image=(8, 8), padding=1)),
    ("convolution 256 to 64, 1 x 1, 56 x 56", Work(shape=(64, 256, 1, 1), nnz=0, batch=1, image=(56, 56))),
)


@cache
def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Hardware", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
