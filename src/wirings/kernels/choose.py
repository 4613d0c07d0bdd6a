"""Sparse or dense: which kernels a layer should run on here, and why.

Where this machine was calibrated (`wirings.kernels.calibration`), the times that follow from it decide; where it was
not, rules with fixed densities serve, and say so. Nothing here changes what a network computes: it only tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from wirings.core.topology import Topology
from wirings.kernels import native
from wirings.kernels.calibration import Calibration, saved
from wirings.kernels.work import FEW, Kernel, Purpose, Work, few_images, filled_from, route_of


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
            in bfloat16 they take less.
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
        f"{calibration.key.isa}, {calibration.key.threads} thread(s)){_told_route(work)}"
    )
    return Choice(kernel=kernel, why=why, sparse_ms=sparse, dense_ms=dense)


def _told_route(work: Work) -> str:
    if not work.is_conv or few_images(work.batch) or not native.available():
        return ""
    way = route_of(work)
    if way == "winograd":
        return "; so many connections are multiplied by Winograd's algorithm, which takes as long for any more of them"
    if way == "filled":
        limit = filled_from(work.shape)
        return f"; from density {limit:g} on the sparse kernels of such a layer multiply missing connections too"
    return ""


def _half_gain(work: Work, calibration: Calibration) -> float:
    """How many times faster a dense training step is in bfloat16, for the nearest of the layers that were measured."""
    kind = "conv" if work.is_conv else "linear few" if work.batch <= FEW else "linear"
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
    ("conv", "infer", "few"): 0.30,
}
"""Kind, purpose, batch -> the density below which compiled kernels were faster where they were developed (two AVX-512
cores, torch 2.13, float32); convolutions train on sixteen samples at a time, so few samples waste lanes."""

_HALF_RULES = {("linear", "train"): 0.17, ("linear", "infer"): 0.07, ("conv", "train"): 0.04, ("conv", "infer"): 0.04}
_TORCH_RULE = 0.02  # without compiled kernels


def _by_rule(work: Work, dtype: torch.dtype, purpose: Purpose) -> Choice:
    kind = "conv" if work.is_conv else "linear"
    few = few_images(work.batch) if work.is_conv else work.batch <= FEW
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
        f"was not measured: `wirings doctor --calibrate` does{_told_route(work)}"
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
