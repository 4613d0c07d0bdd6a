"""A whole training step of fully connected networks, through torch autograd: forward, loss, backward, update.

Dense is the faster of SGD's foreach and fused forms. ``wirings`` keeps activations in panels from layer to layer
(``nn.Sequential``); ``wirings, layer by layer`` is the same network as most models are written. Where dense bfloat16 is
measured, ``wirings, bf16`` trains under autocast as it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.core.wiring import Wiring

OFFERS = (*peers.DENSE, *peers.TRAINS)


@dataclass(frozen=True)
class Case:
    """Widths from input to output, batch, densities."""

    name: str
    widths: tuple[int, ...]
    batch: int
    densities: tuple[float, ...]
    masks: tuple[str, ...] = ("random", "uneven")


CASES = (
    Case("MLP 3 x 4096", (4096,) * 4, 128, (0.1, 0.05, 0.01)),
    Case("MLP 3 x 1024", (1024,) * 4, 128, (0.5, 0.2, 0.1, 0.05, 0.01)),
    Case("LeNet-300-100", (784, 300, 100, 10), 128, (0.1, 0.05, 0.02), ("random", "trained")),
)
QUICK = (
    Case("MLP 3 x 512", (512,) * 4, 64, (0.1, 0.05)),
    Case("LeNet-300-100", (784, 300, 100, 10), 128, (0.05,), ("random",)),
)


def run(
    *,
    rounds: int = 15,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench mlp",
    cases: Sequence[Case] | None = None,
) -> Result:
    """Training steps, as plain data.

    Args:
        rounds: how often each contender is timed.
        threads: torch threads.
        against: dense variants and peers.
        quick: small networks, to see that it works.
        command: what the reader types to repeat it.
        cases: networks; by default those of `CASES` or `QUICK`.
    """
    found, missing = peers.asked(against, offers=OFFERS)
    result = begun("mlp", command, threads=threads, missing=missing)
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            result["cases"].append(_case(case, found, rounds))
    return result


def _case(case: Case, against: Sequence[str], rounds: int) -> Result:
    dense = nets.stack(*case.widths)
    x, labels = nets.batch_of((case.batch, case.widths[0]), case.widths[-1])
    contenders = [
        Contender("dense, foreach", nets.training(dense, x, labels, foreach=True), baseline=True),
        Contender("dense, fused", nets.training(dense, x, labels, fused=True), baseline=True),
    ]
    if "dense-bf16" in against:
        contenders.append(Contender("dense, bf16", nets.training(dense, x, labels, bf16=True, fused=True)))
    shapes = nets.shapes_of(dense)
    for density in case.densities:
        for mask in case.masks:
            if mask == "trained":
                trained = nets.stack(*case.widths)
                wiring = masks.trained(trained, density)
            else:
                wiring = masks.MASKS[mask](shapes, density)
            twin = nets.masked(dense, wiring)
            ours: dict[str, nn.Module] = {"wirings": nets.sparse(dense, wiring)}
            if mask == case.masks[0]:
                apart = nets.Plain(nets.stack(*case.widths))
                ours["wirings, layer by layer"] = nets.sparse(apart, _plain(dense, wiring))
            for name, net in ours.items():
                off = nets.error(net, twin, x[:16])
                block = nets.training(net, x, labels, groups=True, fused=True)
                contenders.append(Contender(name, block, density, mask, error=off))
            if "dense-bf16" in against and mask == case.masks[0]:
                net = nets.sparse(dense, wiring)
                block = nets.training(net, x, labels, bf16=True, groups=True, fused=True)
                contenders.append(Contender("wirings, bf16", block, density, mask))
            for peer in (p for p in against if p in peers.TRAINS and mask == case.masks[0]):
                theirs = nets.of_peer(peer, dense, wiring, batch=case.batch)
                off = nets.error(theirs, twin, x[:16])
                block = nets.training(theirs, x, labels, foreach=False)
                whole = peer in peers.PACKAGES
                contenders.append(Contender(peer, block, density, mask, error=off, whole=whole))
    return measured(f"{case.name}, batch {case.batch}", contenders, rounds=rounds, batch=case.batch)


def _plain(dense: nn.Sequential, wiring: Wiring) -> Wiring:
    """The wiring by the names that `nets.Plain` gives its layers."""
    linear = [name for name, part in dense.named_children() if isinstance(part, nn.Linear)]
    return Wiring({f"layers.{i}.weight": wiring[f"{name}.weight"] for i, name in enumerate(linear)})
