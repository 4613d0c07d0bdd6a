"""Forward passes of three square layers with ReLU, at a large and at the smallest batch.

At batch 1 ``wirings, interleaved`` is the inference layout (`kernels.Interleaved`): sixteen rows side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.kernels import Interleaved
from wirings.sparse import SparseLinear

OFFERS = peers.PEERS


@dataclass(frozen=True)
class Case:
    """Width of three square layers, batch, densities."""

    width: int
    batch: int
    densities: tuple[float, ...]


CASES = (
    Case(4096, 128, (0.2, 0.1, 0.05, 0.01)),
    Case(4096, 1, (0.1, 0.05, 0.01)),
    Case(1024, 128, (0.2, 0.1, 0.05, 0.01)),
)
QUICK = (Case(512, 64, (0.1, 0.05)), Case(512, 1, (0.05,)))


def run(
    *,
    rounds: int = 21,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench inference",
    cases: Sequence[Case] | None = None,
) -> Result:
    """Forward passes, as plain data; arguments as in `mlp.run`."""
    found, missing = peers.asked(against, offers=OFFERS)
    result = begun("inference", command, threads=threads, missing=missing)
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            result["cases"].append(_case(case, found, rounds))
    return result


def _case(case: Case, against: Sequence[str], rounds: int) -> Result:
    dense = nets.stack(*[case.width] * 4)
    x, _ = nets.batch_of((case.batch, case.width), 2)
    contenders = [Contender("dense", nets.inference(dense, x), baseline=True)]
    if "dense-bf16" in against:
        narrow = nets.stack(*[case.width] * 4).bfloat16()
        contenders.append(Contender("dense, bf16", nets.inference(narrow, x.bfloat16())))
    shapes = nets.shapes_of(dense)
    for density in case.densities:
        for mask, make in masks.MASKS.items():
            wiring = make(shapes, density)
            net, twin = nets.sparse(dense, wiring), nets.masked(dense, wiring)
            off = nets.error(net, twin, x)
            contenders.append(Contender("wirings", nets.inference(net, x), density, mask, error=off))
            if case.batch <= 2:
                contenders.append(Contender("wirings, interleaved", interleaved_pass(net, x), density, mask))
            if mask == "random":
                for peer in (p for p in against if p not in peers.DENSE):
                    theirs = nets.of_peer(peer, dense, wiring)
                    contenders.append(Contender(peer, nets.inference(theirs, x), density, mask))
    return measured(f"3 layers of {case.width}, batch {case.batch}", contenders, rounds=rounds, batch=case.batch)


def interleaved_pass(net: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """A forward pass through the layers of a network laid out for one sample; ReLU behind all but the last."""
    layers = [part for part in net.modules() if isinstance(part, SparseLinear)]
    laid = [Interleaved(part.index, part.values.detach()) for part in layers]
    biases = [None if part.bias is None else part.bias.detach() for part in layers]

    def forward() -> Tensor:
        y = x
        with torch.inference_mode():
            for i, (part, bias) in enumerate(zip(laid, biases, strict=True)):
                y = part.forward(y, bias=bias, relu=i < len(laid) - 1)
        return y

    return forward
