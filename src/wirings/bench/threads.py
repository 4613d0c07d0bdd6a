"""All threads against one, for the same sparse work: wide layers must gain, small ones must not lose."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from wirings import models
from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.sparse import keep_planes

_DENSITY = 0.05
_SETTLES = 0.1  # seconds after which threads are where they stay


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
            torch.set_num_threads(threads)  # so that the clock is the wall's
            contenders = [
                Contender("one thread", block, _DENSITY, "random", baseline=True, ready=_with(1, block)),
                Contender(f"{threads} threads", block, _DENSITY, "random", ready=_with(threads, block)),
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
    ours = keep_planes(nets.sparse(image_net, masks.random(nets.shapes_of(image_net), _DENSITY)))
    found[f"{name}, batch {batch}"] = nets.training(ours, x, labels, fused=True)
    return found


def _with(threads: int, block: Callable[[], object]) -> Callable[[], object]:
    """A change of the number of threads starts new ones, which take a while to find a core of their own: untimed."""

    def ready() -> None:
        torch.set_num_threads(threads)
        end = time.perf_counter() + _SETTLES
        while time.perf_counter() < end:
            block()

    return ready
