"""Forward passes of three square layers with ReLU, at a large and at the smallest batch.

The sparse networks are told that their values rest (``.eval().requires_grad_(False)``), so that at batch 1 layers with
few connections a unit lay them out sixteen units side by side; ``wirings, may train`` are not. There a contender
answers ten times in a row when its turn comes, as a server would, and a tenth of that is told. Where dense bfloat16 is
measured, the same sparse networks in bfloat16 are as well; their error counts the rounding of weights and activations.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured

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
    calls = 10 if case.batch <= 2 else 1
    contenders = [replace(some, block=_repeated(some.block, calls)) for some in contenders]
    name = f"3 layers of {case.width}, batch {case.batch}"
    found = measured(name, contenders, rounds=rounds, batch=case.batch, calls=calls)
    for row in found["rows"]:
        row["median_ms"], row["best_ms"] = row["median_ms"] / calls, row["best_ms"] / calls
    return found


def _repeated(block: nets.Block, times: int) -> nets.Block:
    def blocks() -> None:
        for _ in range(times):
            block()

    return blocks
