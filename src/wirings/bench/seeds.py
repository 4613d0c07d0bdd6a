"""Several first values of one network as one batched training step (``torch.func.vmap``), against one after the other.

A laboratory trains many seeds of one small network. Stacked, their layers become batched products with fewer calls into
torch. Both ways do the same arithmetic here: a masked network, each seed with a batch of its own, SGD with momentum.
Sparse kernels cannot be stacked; the truly sparse step, seed by seed, is the other rival.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings import models
from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable

_DENSITY = 0.05
_RATE = 1e-7  # nothing is learnt: the same arithmetic every time
_MOMENTUM = 0.9

CASES: dict[str, tuple[str, tuple[int, int, int], int, dict[str, Any]]] = {
    "MLP 64-32-10, batch 32": ("mlp", (1, 8, 8), 32, {"hidden": (32,)}),
    "LeNet-300-100, batch 128": ("lenet-300-100", (1, 28, 28), 128, {}),
    "Caffe LeNet-5 at half the width, batch 64": ("lenet-5-caffe", (1, 28, 28), 64, {"width": 0.5}),
}
"""The networks of which the studies train hundreds."""

SEEDS = (5, 10)


def run(
    *,
    rounds: int = 15,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench seeds",
) -> Result:
    """Steps of several seeds of one network; arguments as in `mlp.run`."""
    del against
    result = begun("seeds", command, threads=threads) | {"against": "masked, one by one"}
    with watched(result, threads=threads):
        for name, (model, shape, batch, settings) in list(CASES.items())[: 1 if quick else None]:
            for count in SEEDS[: 1 if quick else None]:
                result["cases"].append(_case(f"{count} seeds, {name}", model, shape, batch, settings, count, rounds))
    return result


def _case(
    name: str, model: str, shape: tuple[int, int, int], batch: int, settings: dict[str, Any], count: int, rounds: int
) -> Result:
    made = [models.build(model, image_shape=shape, seed=seed, **settings) for seed in range(count)]
    wiring = masks.random(nets.shapes_of(made[0]), _DENSITY)
    masked = [nets.masked(net, wiring) for net in made]
    x, labels = nets.batch_of((count, batch, *shape), 10)
    labels = labels[:, None].expand(count, batch).contiguous()
    singles = [Masked(net, wiring) for net in masked]
    one_by_one = [single.step_of(x[i], labels[i]) for i, single in enumerate(singles)]
    sparse = [nets.training(nets.sparse(net, wiring), x[i], labels[i], fused=True) for i, net in enumerate(masked)]
    contenders = [
        Contender("masked, one by one", lambda: [step() for step in one_by_one], _DENSITY, "random", baseline=True),
        Contender("masked, one batched step", stacked(masked, wiring, x, labels), _DENSITY, "random"),
        Contender("truly sparse, one by one", lambda: [step() for step in sparse], _DENSITY, "random"),
    ]
    return measured(name, contenders, rounds=rounds, seeds=count, batch=batch)


class Masked:
    """A masked network as the loop without wirings trains it: gradients masked, then the fused optimizer."""

    def __init__(self, net: nn.Module, wiring: Wiring) -> None:
        self.net = copy.deepcopy(net)
        weights = prunable(self.net)
        self.masks = [(weights[name], topology.mask.float()) for name, topology in wiring.items()]
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=_RATE, momentum=_MOMENTUM, fused=True)

    def step_of(self, x: Tensor, labels: Tensor) -> Callable[[], object]:
        """One step on this batch."""

        def step() -> None:
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(x), labels).backward()  # type: ignore[no-untyped-call]
            for weight, mask in self.masks:
                assert weight.grad is not None
                weight.grad.mul_(mask)
            self.optimizer.step()

        return step


def stacked(networks: Sequence[nn.Module], wiring: Wiring, x: Tensor, labels: Tensor) -> Callable[[], object]:
    """One step of all networks at once, network ``i`` on ``x[i]``; the same numbers as `Masked`, but for rounding."""
    parameters, buffers = torch.func.stack_module_state(list(networks))
    base = copy.deepcopy(networks[0])
    kept = {name: topology.mask.float() for name, topology in wiring.items()}
    moments = {name: torch.zeros_like(value) for name, value in parameters.items()}

    def loss(own: dict[str, Tensor], still: dict[str, Tensor], images: Tensor, classes: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(base, (own, still), (images,)), classes)

    gradients = torch.func.vmap(torch.func.grad(loss), randomness="error")

    @torch.no_grad()
    def step() -> dict[str, Tensor]:
        found = gradients(parameters, buffers, x, labels)
        for name, mask in kept.items():
            found[name].mul_(mask)
        values, slopes = list(parameters.values()), [found[name] for name in parameters]
        torch._foreach_mul_(list(moments.values()), _MOMENTUM)
        torch._foreach_add_(list(moments.values()), slopes)
        torch._foreach_add_(values, list(moments.values()), alpha=-_RATE)
        return parameters

    return step
