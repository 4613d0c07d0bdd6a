"""A whole training step of ResNet-18 for small images: forward, loss, backward, update; batch norms included.

"random" and "uneven" share connections out by ERK, which keeps most of them in the first layers, where images are
large: at 90 % sparse a quarter of the multiply-adds remain, not a tenth. "uniform" gives every layer the same density,
as the tables of single layers do. "nothing missing" is the network with every connection: what the kernels gain
without any sparsity. Every timed step follows an untimed one of the same network, as in a training, or whoever comes
next would pay for memory that the one before has used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from wirings import models
from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.sparse import keep_planes

OFFERS = peers.DENSE


@dataclass(frozen=True)
class Case:
    """A model by name, batch, side of the images, densities."""

    model: str
    batch: int
    densities: tuple[float, ...] = (0.1, 0.05, 0.01)
    side: int = 32
    settings: dict[str, Any] = field(default_factory=dict)
    masks: tuple[str, ...] = ("random", "uneven", "uniform")


CASES = (Case("resnet-18", 64),)
QUICK = (Case("resnet-20", 16, (0.1,), masks=("random",)),)


def run(
    *,
    rounds: int = 7,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench resnet18",
    cases: Sequence[Case] | None = None,
) -> Result:
    """Training steps of residual networks, as plain data; arguments as in `mlp.run`."""
    found, missing = peers.asked(against, offers=OFFERS)
    result = begun("resnet18", command, threads=threads, missing=missing)
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            result["cases"].append(_case(case, found, rounds))
    return result


def _case(case: Case, against: Sequence[str], rounds: int) -> Result:
    def net() -> nn.Module:
        return models.build(case.model, image_shape=(3, case.side, case.side), **case.settings)

    x, labels = nets.batch_of((case.batch, 3, case.side, case.side), 10)
    last = x.contiguous(memory_format=torch.channels_last)
    turned = net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    contenders = [
        Contender("dense, NCHW", nets.training(net(), x, labels, fused=True), baseline=True),
        Contender("dense, channels last", nets.training(turned, last, labels, fused=True), baseline=True),
    ]
    if "dense-bf16" in against:
        turned = net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        contenders.append(Contender("dense, bf16", nets.training(turned, last, labels, bf16=True, fused=True)))
    shapes = nets.shapes_of(net())
    whole = keep_planes(nets.sparse(net(), Wiring({name: Topology.full(shape) for name, shape in shapes.items()})))
    block = nets.training(whole, x, labels, groups=True, fused=True)
    contenders.append(Contender("wirings, nothing missing", block, 1.0, "all"))
    for density in case.densities:
        for mask in case.masks:
            wiring = masks.NETWORK_MASKS[mask](shapes, density)
            twin = nets.masked(net(), wiring).eval()
            for name, ours in (
                ("wirings, in planes", keep_planes(nets.sparse(net(), wiring))),
                ("wirings, layer by layer", nets.sparse(net(), wiring)),
            ):
                off = nets.error(ours.eval(), twin, x[:2])
                block = nets.training(ours.train(), x, labels, groups=True, fused=True)
                contenders.append(Contender(name, block, density, mask, error=off))
            if "dense-bf16" in against:
                ours = keep_planes(nets.sparse(net(), wiring))
                block = nets.training(ours, x, labels, bf16=True, groups=True, fused=True)
                contenders.append(Contender("wirings, bf16", block, density, mask))
    contenders = [replace(some, ready=some.block) for some in contenders]
    return measured(f"{case.model}, batch {case.batch}", contenders, rounds=rounds, batch=case.batch)
