"""All threads against one, for the same sparse work: wide layers must gain, small ones must not lose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from wirings import models
from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured

_DENSITY = 0.05


def run(
    *,
    rounds: int = 9,
    threads: int = 2,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench threads",
) -> Result:
    """Training steps at one and at ``threads`` threads, in wall time; the other arguments as in `mlp.run`."""
    del against
    threads = max(threads, 2)
    result = begun("threads", command, threads=threads) | {"against": "one thread"}
    with watched(result, threads=threads):
        for name, block in _blocks(quick).items():
            contenders = [
                Contender("one thread", _with(1, block), _DENSITY, "random", baseline=True),
                Contender(f"{threads} threads", _with(threads, block), _DENSITY, "random"),
            ]
            result["cases"].append(measured(name, contenders, rounds=rounds))
    return result


def _blocks(quick: bool) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    widths = [(784, 300, 100, 10)] if quick else [(784, 300, 100, 10), (1024,) * 4, (4096,) * 4]
    for some in widths:
        net = nets.stack(*some)
        x, labels = nets.batch_of((128, some[0]), some[-1])
        ours = nets.sparse(net, masks.random(nets.shapes_of(net), _DENSITY))
        found[f"MLP {'-'.join(map(str, some))}, batch 128"] = nets.training(ours, x, labels, fused=True)
    name, batch = ("resnet-20", 16) if quick else ("resnet-18", 64)
    image_net = models.build(name, image_shape=(3, 32, 32))
    x, labels = nets.batch_of((batch, 3, 32, 32), 10)
    ours = nets.sparse(image_net, masks.random(nets.shapes_of(image_net), _DENSITY))
    found[f"{name}, batch {batch}"] = nets.training(ours, x, labels, fused=True)
    return found


def _with(threads: int, block: Callable[[], object]) -> Callable[[], object]:
    def run_() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            block()
        finally:
            torch.set_num_threads(before)

    return run_
