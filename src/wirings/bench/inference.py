"""Forward passes of three square layers with ReLU and of ResNet-18 for small images, at a large and the smallest batch.

The sparse networks are told that their values rest (``.eval().requires_grad_(False)``), so that at batch 1 layers with
few connections a unit lay them out sixteen units side by side; ``wirings, may train`` are not. There a contender
answers ten times in a row when its turn comes, as a server would, and a tenth of that is told. Where dense bfloat16 is
measured, the same sparse networks in bfloat16 are as well; their error counts the rounding of weights and activations.
Convolutions have no kernels in bfloat16; "random" and "uneven" share their connections out by ERK.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from wirings import models
from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.sparse import keep_planes

OFFERS = peers.PEERS


@dataclass(frozen=True)
class Case:
    """Width of three square layers, batch, densities."""

    width: int
    batch: int
    densities: tuple[float, ...]


@dataclass(frozen=True)
class Images:
    """A convolutional network by name, batch, densities."""

    model: str
    batch: int
    densities: tuple[float, ...]
    side: int = 32


CASES: tuple[Case | Images, ...] = (
    Case(4096, 128, (0.2, 0.1, 0.05, 0.01)),
    Case(4096, 1, (0.1, 0.05, 0.01)),
    Case(1024, 128, (0.2, 0.1, 0.05, 0.01)),
    Images("resnet-18", 1, (0.1, 0.05, 0.01)),
    Images("resnet-18", 64, (0.1, 0.05, 0.01)),
)
QUICK: tuple[Case | Images, ...] = (Case(512, 64, (0.1, 0.05)), Case(512, 1, (0.05,)), Images("resnet-20", 1, (0.05,)))


def run(
    *,
    rounds: int = 21,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench inference",
    cases: Sequence[Case | Images] | None = None,
) -> Result:
    """Forward passes, as plain data; arguments as in `mlp.run`."""
    found, missing = peers.asked(against, offers=OFFERS)
    result = begun("inference", command, threads=threads, missing=missing)
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            made = _images(case, found) if isinstance(case, Images) else _layers(case, found)
            name = case.model if isinstance(case, Images) else f"3 layers of {case.width}"
            result["cases"].append(_timed(f"{name}, batch {case.batch}", made, case.batch, rounds))
    return result


def _layers(case: Case, against: Sequence[str]) -> list[Contender]:
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
            if case.batch <= 2:
                contenders.append(Contender("wirings, may train", nets.inference(net, x), density, mask, error=off))
                net = copy.deepcopy(net).eval().requires_grad_(False)
            contenders.append(Contender("wirings", nets.inference(net, x), density, mask, error=off))
            if "dense-bf16" in against:
                halved, less = copy.deepcopy(net).bfloat16(), x.bfloat16()
                off = nets.error(halved, twin, less)
                contenders.append(Contender("wirings, bf16", nets.inference(halved, less), density, mask, error=off))
            if mask == "random":
                for peer in (p for p in against if p not in peers.DENSE):
                    theirs = nets.of_peer(peer, dense, wiring, batch=case.batch)
                    off, whole = nets.error(theirs, twin, x), peer in peers.PACKAGES
                    block = nets.inference(theirs, x)
                    contenders.append(Contender(peer, block, density, mask, error=off, whole=whole))
    return contenders


def _images(case: Images, against: Sequence[str]) -> list[Contender]:
    def net() -> nn.Module:
        return models.build(case.model, image_shape=(3, case.side, case.side)).eval()

    x, _ = nets.batch_of((case.batch, 3, case.side, case.side), 2)
    last = x.contiguous(memory_format=torch.channels_last)
    turned = net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    contenders = [
        Contender("dense, NCHW", nets.inference(net(), x), baseline=True),
        Contender("dense, channels last", nets.inference(turned, last), baseline=True),
    ]
    if "dense-bf16" in against:
        contenders.append(Contender("dense, bf16", nets.inference(turned, last, bf16=True)))
    shapes = nets.shapes_of(net())
    for density in case.densities:
        for mask, make in masks.NETWORK_MASKS.items():
            wiring = make(shapes, density)
            ours = keep_planes(nets.sparse(net(), wiring)).requires_grad_(False)
            off = nets.error(ours, nets.masked(net(), wiring), x[:2])
            contenders.append(Contender("wirings", nets.inference(ours, x), density, mask, error=off))
            if "dense-bf16" in against:
                contenders.append(Contender("wirings, bf16", nets.inference(ours, x, bf16=True), density, mask))
    return contenders


def _timed(name: str, contenders: Sequence[Contender], batch: int, rounds: int) -> Result:
    calls = 10 if batch <= 2 else 1
    contenders = [replace(some, block=_repeated(some.block, calls)) for some in contenders]
    found = measured(name, contenders, rounds=rounds, batch=batch, calls=calls)
    for row in found["rows"]:
        row["median_ms"], row["best_ms"] = row["median_ms"] / calls, row["best_ms"] / calls
    return found


def _repeated(block: nets.Block, times: int) -> nets.Block:
    def blocks() -> None:
        for _ in range(times):
            block()

    return blocks
