"""The convolutions of ResNet-18 for small images, each by itself: forward, input gradient and weight gradient.

Dense is the faster of both memory formats. ``wirings`` stays in planes, as in a network that keeps them;
``wirings, layer by layer`` takes plain tensors and gives plain tensors back. ``wirings, nothing missing`` is a layer
with every connection: what these kernels gain without any sparsity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wirings.bench import masks, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.kernels import (
    ConvIndex,
    conv_backward,
    conv_forward,
    conv_planes_backward,
    conv_planes_forward,
    from_planes,
    to_planes,
)

OFFERS = peers.DENSE


@dataclass(frozen=True)
class Case:
    """A convolution, its input's side and the batches to run it at."""

    out: int
    inner: int
    side: int
    kernel: int = 3
    stride: int = 1
    batches: tuple[int, ...] = (64, 128)
    densities: tuple[float, ...] = (0.2, 0.1, 0.05, 0.01)

    @property
    def padding(self) -> int:
        """Zeros that keep the side."""
        return self.kernel // 2


CASES = (
    Case(64, 64, 32),
    Case(128, 64, 32, stride=2),
    Case(128, 128, 16),
    Case(256, 128, 16, stride=2),
    Case(256, 256, 8),
    Case(512, 256, 8, stride=2),
    Case(512, 512, 4),
    Case(128, 256, 16, kernel=1),
)
QUICK = (Case(32, 32, 16, batches=(16,), densities=(0.1, 0.05)), Case(64, 32, 16, 1, batches=(16,), densities=(0.1,)))


def run(
    *,
    rounds: int = 9,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench conv",
    cases: Sequence[Case] | None = None,
) -> Result:
    """Convolutions, as plain data; arguments as in `mlp.run`."""
    found, missing = peers.asked(against, offers=OFFERS)
    result = begun("conv", command, threads=threads, missing=missing)
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            for batch in case.batches:
                result["cases"].append(_case(case, batch, found, rounds))
    return result


def _case(case: Case, batch: int, against: Sequence[str], rounds: int) -> Result:
    shape = (case.out, case.inner, case.kernel, case.kernel)
    rng = stream(0, "bench conv")
    weight = torch.randn(shape, generator=rng) * (2 / (case.inner * case.kernel**2)) ** 0.5
    x = torch.randn(batch, case.inner, case.side, case.side, generator=rng)
    contenders = [
        Contender("dense, NCHW", _dense(case, weight, x, torch.contiguous_format), baseline=True),
        Contender("dense, channels last", _dense(case, weight, x, torch.channels_last), baseline=True),
    ]
    if "dense-bf16" in against:
        narrow = weight.bfloat16(), x.bfloat16()
        contenders.append(Contender("dense, bf16", _dense(case, *narrow, torch.channels_last)))
    wirings = [(1.0, "all", Topology.full(shape))]
    for density in case.densities:
        wirings += [(density, mask, make({"weight": shape}, density)["weight"]) for mask, make in masks.MASKS.items()]
    for density, mask, topology in wirings:
        index = ConvIndex(shape, topology.index, stride=case.stride, padding=case.padding)
        values = weight.reshape(-1)[topology.index]
        apart, planes, off = _ours(index, values, x)
        name = "wirings, nothing missing" if mask == "all" else "wirings"
        contenders.append(Contender(name, planes, density, mask, error=off))
        if mask == "random":
            contenders.append(Contender("wirings, layer by layer", apart, density, mask, error=off))
        if "dense-bf16" in against and mask != "all":
            _, planes, off = _ours(index, values.bfloat16(), x.bfloat16())
            contenders.append(Contender("wirings, bf16", planes, density, mask, error=off))
    kernel = f"{case.kernel} x {case.kernel}" + (f", stride {case.stride}" if case.stride > 1 else "")
    name = f"{case.inner} to {case.out}, {kernel}, {case.side} x {case.side}, batch {batch}"
    return measured(name, contenders, rounds=rounds, batch=batch)


def _dense(case: Case, weight: Tensor, x: Tensor, layout: torch.memory_format) -> Callable[[], object]:
    layer = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, case.inner, case.out, case.kernel, stride=case.stride, padding=case.padding, bias=False
    )
    layer.weight = nn.Parameter(weight.clone(memory_format=layout))
    leaf = x.clone(memory_format=layout).requires_grad_()
    with torch.no_grad():
        grad = torch.ones_like(layer(leaf))

    def step() -> None:
        layer.weight.grad = leaf.grad = None
        layer(leaf).backward(grad)

    return step


def _ours(index: ConvIndex, values: Tensor, x: Tensor) -> tuple[Callable[[], object], Callable[[], object], float]:
    """On plain tensors, in planes, and how far from float64."""
    y = conv_forward(index, values, x)
    grad = torch.ones_like(y)
    halo = index.gradient_halo(x.shape[2], x.shape[3])
    px, pg = to_planes(x, halo=index.padding), to_planes(grad, halo=halo)

    def apart() -> None:
        conv_forward(index, values, x)
        conv_backward(index, values, x, grad)

    def planes() -> None:
        conv_planes_forward(index, values, px)
        conv_planes_backward(index, values, px, pg)

    some = x[:2].double().requires_grad_()
    dense = index.dense(values.double()).requires_grad_()
    exact = nn.functional.conv2d(some, dense, stride=index.stride, padding=index.padding)
    exact.backward(grad[:2].double())  # type: ignore[no-untyped-call]
    found = conv_backward(index, values, x[:2], grad[:2])
    assert found.x is not None
    assert some.grad is not None
    assert dense.grad is not None
    pairs = (
        (from_planes(conv_planes_forward(index, values, px))[:2], exact.detach()),
        (found.x, some.grad),
        (found.values, dense.grad.reshape(-1)[index.flat()]),
    )
    off = max(float((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)
    return apart, planes, off
