"""What this machine needs for each kind of work that layers consist of: measured once, in seconds, and kept.

Layers of a few shapes are run dense and at a few densities, taking turns; then, for each family of layers, the cost of
every kind of work (:func:`wirings.kernels.work.features`) is fitted so that the relative errors are least, none of
them below zero. What is fitted extrapolates: a layer four times as wide does sixteen times the multiply-adds.
"""

from __future__ import annotations

import datetime
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.kernels.calibration import Calibration, Key, saved
from wirings.kernels.work import Product, Work, features, update_features
from wirings.sparse import SparseConv2d, SparseLayer, SparseLinear, SparseSequential

PRODUCTS: tuple[Product, ...] = ("infer", "train", "first")

LINEAR = tuple(
    Work(shape=shape, nnz=0, batch=batch)
    for shape, batches in (
        ((10, 512), (1, 16, 128)),
        ((300, 784), (1, 16, 128)),
        ((256, 256), (1, 32, 256)),
        ((1024, 1024), (1, 16, 128)),
        ((2048, 2048), (1, 16, 128)),
        ((3072, 3072), (1, 16)),
    )
    for batch in batches
)
CONV = (
    Work(shape=(64, 64, 3, 3), nnz=0, batch=16, image=(32, 32), padding=1),
    Work(shape=(64, 64, 3, 3), nnz=0, batch=64, image=(32, 32), padding=1),
    Work(shape=(128, 128, 3, 3), nnz=0, batch=16, image=(16, 16), padding=1),
    Work(shape=(128, 128, 3, 3), nnz=0, batch=64, image=(16, 16), padding=1),
    Work(shape=(256, 256, 3, 3), nnz=0, batch=64, image=(8, 8), padding=1),
    Work(shape=(256, 256, 3, 3), nnz=0, batch=16, image=(16, 16), padding=1),
    Work(shape=(128, 64, 3, 3), nnz=0, batch=16, image=(32, 32), padding=1),
    Work(shape=(512, 512, 3, 3), nnz=0, batch=64, image=(4, 4), padding=1),
    Work(shape=(512, 512, 3, 3), nnz=0, batch=64, image=(2, 2), padding=1),
    Work(shape=(128, 64, 3, 3), nnz=0, batch=16, image=(32, 32), padding=1, stride=2),
    Work(shape=(64, 256, 1, 1), nnz=0, batch=16, image=(16, 16)),
    Work(shape=(64, 64, 3, 3), nnz=0, batch=32, image=(8, 8), padding=1),
    Work(shape=(16, 16, 3, 3), nnz=0, batch=32, image=(32, 32), padding=1),
    Work(shape=(32, 3, 3, 3), nnz=0, batch=16, image=(32, 32), padding=1),
    Work(shape=(64, 64, 3, 3), nnz=0, batch=1, image=(32, 32), padding=1),
    Work(shape=(256, 256, 3, 3), nnz=0, batch=1, image=(8, 8), padding=1),
    Work(shape=(64, 256, 1, 1), nnz=0, batch=1, image=(16, 16)),
    Work(shape=(128, 128, 3, 3), nnz=0, batch=4, image=(16, 16), padding=1),
    Work(shape=(512, 512, 3, 3), nnz=0, batch=1, image=(4, 4), padding=1),
)
DENSITIES = (0.01, 0.05, 0.2, 0.5)
MANY = 0.8
"""A density at which wide 3 x 3 convolutions take Winograd's route."""

_BLOCK = 4e-4  # seconds; what is quicker is repeated until it takes as long
_log = logging.getLogger("wirings")


def calibrated(*, fresh: bool = False) -> Calibration:
    """The calibration of this machine at torch's present number of threads: from the cache folder, else measured now.

    Args:
        fresh: measure even if there is one.
    """
    if not fresh and (found := saved()) is not None:
        return found
    _log.info("measuring this machine once, to tell where sparse layers are faster; this takes some seconds")
    made = measure()
    _log.info("measured in %.0f s and kept in %s", made.seconds, made.save())
    return made


def measure(
    linear: Sequence[Work] = LINEAR,
    conv: Sequence[Work] = CONV,
    *,
    rounds: int = 3,
    densities: Sequence[float] = DENSITIES,
) -> Calibration:
    """Run layers of these shapes, and fit what each kind of work costs.

    Args:
        linear, conv: which; their ``nnz`` does not count.
        rounds: how often each is timed; the median counts.
        densities: of the sparse layers; convolutions are also run at `MANY`.
    """
    begun = time.perf_counter()
    samples: dict[str, list[tuple[list[float], float]]] = defaultdict(list)
    groups = [group for work in linear for group in _layers(work, densities)]
    groups += [group for work in conv for group in _layers(work, (*densities, MANY))]
    for group in (*groups, *_rest()):
        for case, took in zip(group, seconds_of([case.block for case in group], rounds), strict=True):
            samples[case.name].append((case.amounts, took * case.share))
    fits = {name: fitted(found) for name, found in samples.items()}
    return Calibration(
        key=Key.here(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        costs={name: costs for name, (costs, _) in fits.items()} | _half_gains(rounds),
        worst={name: worst for name, (_, worst) in fits.items()},
        seconds=round(time.perf_counter() - begun, 2),
    )


def fitted(samples: Sequence[tuple[Sequence[float], float]]) -> tuple[tuple[float, ...], float]:
    """Costs, none below zero, that come nearest to the times by relative error; and the worst such error.

    Example:
        >>> costs, worst = fitted([([1, 10], 12.0), ([1, 20], 22.0), ([1, 30], 32.0)])
        >>> [round(c, 6) for c in costs], round(worst, 6)
        ([2.0, 1.0], 0.0)
    """
    from scipy.optimize import nnls

    amounts = np.array([a for a, _ in samples], dtype=np.float64)
    times = np.array([t for _, t in samples], dtype=np.float64)
    relative = amounts / times[:, None]
    scale = np.maximum(relative.max(0), 1e-300)
    found, _ = nnls(relative / scale, np.ones(len(times)))
    costs = found / scale
    worst = float(np.abs(amounts @ costs / times - 1).max())
    return tuple(float(c) for c in costs), worst


def seconds_of(blocks: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of one call of each; they take turns. With one torch thread it is the thread's processor time,
    which others on the machine disturb least."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    repeats = []
    for block in blocks:
        block()
        start = time.perf_counter()
        block()
        repeats.append(max(1, min(200, int(_BLOCK / max(time.perf_counter() - start, 1e-7)))))
    found: list[list[float]] = [[] for _ in blocks]
    for _ in range(rounds):
        for block, repeat, times in zip(blocks, repeats, found, strict=True):
            block()  # what ran before has emptied the caches
            start = clock()
            for _ in range(repeat):
                block()
            times.append((clock() - start) / repeat)
    return [statistics.median(times) for times in found]


def sparse_layer(work: Work, topology: Topology) -> SparseLayer:
    """The layer in sparse storage that a piece of work speaks of; linear layers have a bias, convolutions none."""
    rng = stream(0, "calibration values")
    if work.is_conv:
        return SparseConv2d.from_topology(
            topology, stride=work.stride, padding=work.padding, groups=work.groups, bias=False, rng=rng
        )
    return SparseLinear.from_topology(topology, rng=rng)


def dense_layer(work: Work) -> nn.Module:
    """Its dense equal."""
    channels, out = work.shape[1] * work.groups, work.shape[0]
    if work.is_conv:
        geometry = {"stride": work.stride, "padding": work.padding, "groups": work.groups}
        layer: nn.Module = nn.utils.skip_init(nn.Conv2d, channels, out, work.shape[2:], bias=False, **geometry)  # type: ignore[no-untyped-call]
    else:
        layer = nn.utils.skip_init(nn.Linear, channels, out)  # type: ignore[no-untyped-call]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.02, generator=stream(0, "calibration values"))
    return layer


def input_of(work: Work) -> Tensor:
    """Random input of its shape."""
    channels = work.shape[1] * work.groups
    shape = (work.batch, channels, *work.image) if work.is_conv else (work.batch, channels)
    return torch.randn(shape, generator=stream(0, "calibration input"))


def product(layer: nn.Module, x: Tensor, which: Product) -> Callable[[], object]:
    """A call that runs one product of a layer on an input."""
    if which == "infer":

        def infer() -> None:
            with torch.no_grad():
                layer(x)

        return infer
    leaf = x.detach().requires_grad_(which == "train")
    with torch.no_grad():
        grad = torch.ones_like(layer(x))

    def train() -> None:
        layer(leaf).backward(grad)
        leaf.grad = None
        for parameter in layer.parameters():
            parameter.grad = None

    return train


# ---------------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class _Case:
    """A block to time: which costs it is a sample of, how much of each kind of work it does, and the share of its time
    that counts."""

    name: str
    amounts: list[float]
    block: Callable[[], object]
    share: float = 1.0


def _layers(work: Work, densities: Sequence[float]) -> Iterator[list[_Case]]:
    """A layer dense and at each density, for each product; square linear layers also as a chain of two."""
    rng, x = stream(0, "calibration wiring"), input_of(work)
    topologies = [Topology.full(work.shape).sample(max(1, round(d * work.numel)), rng) for d in densities]
    kept = [replace(work, nnz=t.nnz) for t in topologies]
    family, amounts = features(work, "dense")
    dense, sparse = dense_layer(work), [sparse_layer(work, t) for t in topologies]
    for which in PRODUCTS:
        cases = [_Case(f"{family} {which}", amounts, product(dense, x, which))]
        for some, layer in zip(kept, sparse, strict=True):
            name, amounts_ = features(some, "sparse")
            cases.append(_Case(f"{name} {which}", amounts_, product(layer, x, which)))
        yield cases
    if work.is_conv or work.batch <= 2 or work.shape[0] != work.shape[1]:
        return
    for which in PRODUCTS:
        cases = []
        for some, topology, layer in zip(kept, topologies, sparse, strict=True):
            name, amounts = features(replace(some, chained=True), "sparse")
            chain = SparseSequential(sparse_layer(work, topology), nn.ReLU(), layer)
            cases.append(_Case(f"{name} {which}", amounts, product(chain, x, which), share=0.5))
        yield cases


def _rest() -> Iterator[list[_Case]]:
    """Updates, and what stands between the layers: functions of each number by itself, batch norms, pools."""
    for count in (10**3, 10**5, 10**6, 4 * 10**6):
        parameter = nn.Parameter(torch.zeros(count))
        optimizer = torch.optim.SGD([parameter], lr=0.01, momentum=0.9)
        parameter.grad = torch.ones(count)
        x = torch.randn(count // 1000, 10, 10, 10, generator=stream(0, "calibration input"))
        amounts = rest_features(count)
        cases = [
            _Case("update", update_features(count), optimizer.step),
            _Case("norm infer", amounts, product(nn.BatchNorm2d(10).eval(), x, "infer")),
            _Case("norm train", amounts, product(nn.BatchNorm2d(10), x, "train")),
        ]
        for kind, module in {
            "elementwise": nn.ReLU(),
            "max pool": nn.MaxPool2d(2),
            "mean pool": nn.AvgPool2d(2),
        }.items():
            cases.append(_Case(f"{kind} infer", amounts, product(module, x, "infer")))
            cases.append(_Case(f"{kind} train", amounts, product(module, x, "train")))
        yield cases
    for classes in (10, 100, 1000, 8000):
        logits = torch.randn(64, classes, generator=stream(0, "calibration input"))
        yield [_Case("loss train", rest_features(logits.numel()), product(_Loss(), logits, "train"))]


class _Loss(nn.Module):
    """Cross-entropy, the classes in turns."""

    def forward(self, x: Tensor) -> Tensor:
        return F.cross_entropy(x, torch.arange(len(x)) % x.shape[1])


def rest_features(numbers: int) -> list[float]:
    """Kinds of work of a function of so many numbers, each by itself."""
    return [1.0, float(numbers), float(numbers) if 8 * numbers > 2**21 else 0.0]


def _half_gains(rounds: int) -> dict[str, tuple[float, ...]]:
    """How many times faster a dense training step is in bfloat16 than in float32."""
    found: dict[str, tuple[float, ...]] = {}
    for name, work in (
        ("linear", Work(shape=(1024, 1024), nnz=0, batch=128)),
        ("linear few", Work(shape=(1024, 1024), nnz=0, batch=1)),
        ("conv", Work(shape=(128, 128, 3, 3), nnz=0, batch=16, image=(16, 16), padding=1)),
    ):
        x = input_of(work)
        blocks = [product(dense_layer(work), x, "train"), product(dense_layer(work).bfloat16(), x.bfloat16(), "train")]
        whole, half = seconds_of(blocks, rounds)
        found[f"half {name}"] = (whole / half,)
    return found
