"""Networks that benchmarks run: dense, in sparse storage, with a peer's layers, and how a step of each is made."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.attach import param_groups
from wirings.bench import peers
from wirings.core.streams import stream
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable
from wirings.sparse import to_sparse

Block = Callable[[], object]
_RATE = 1e-7  # nothing is learnt: the same arithmetic every time


def stack(*widths: int, seed: int = 0) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    rng, layers = stream(seed, "bench init"), []
    for i, (inner, out) in enumerate(pairwise(widths)):
        layer = nn.utils.skip_init(nn.Linear, inner, out)  # type: ignore[no-untyped-call]
        nn.init.normal_(layer.weight, std=(2 / inner) ** 0.5, generator=rng)
        nn.init.zeros_(layer.bias)
        layers += [layer] if i == len(widths) - 2 else [layer, nn.ReLU()]
    return nn.Sequential(*layers)


class Plain(nn.Module):
    """The same layers called one by one, as most people's models do: each packs and unpacks for itself."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for layer in layers if not isinstance(layer, nn.ReLU))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        found: Tensor = self.layers[-1](x)
        return found


def shapes_of(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of the weights that can be sparse."""
    return {name: tuple(w.shape) for name, w in prunable(net).items()}


def masked(net: nn.Module, wiring: Wiring) -> nn.Module:
    """A copy whose weights are zero where there is no connection."""
    found = copy.deepcopy(net)
    with torch.no_grad():
        for name, weight in prunable(found).items():
            if name in wiring:
                weight.mul_(wiring[name].mask)
    return found


def sparse(net: nn.Module, wiring: Wiring) -> nn.Module:
    """A copy in sparse storage."""
    return to_sparse(copy.deepcopy(net), wiring)


def of_peer(peer: str, net: nn.Sequential, wiring: Wiring, *, batch: int) -> nn.Module:
    """A copy of a `stack` with a peer's layers in the place of the linear ones; of a runtime, one graph of it all."""
    parts = list(masked(net, wiring).children())
    if peer in peers.GRAPHS:
        linear = [part for part in parts if isinstance(part, nn.Linear)]
        return peers.graph(peer, [(part.weight.detach(), part.bias.detach()) for part in linear], batch=batch)
    return nn.Sequential(
        *(
            peers.layer(peer, part.weight.detach(), batch=batch) if isinstance(part, nn.Linear) else part
            for part in parts
        )
    )


def error(net: nn.Module, twin: nn.Module, x: Tensor) -> float:
    """Largest deviation of a network's result from its dense twin's in float64, relative to the largest number."""
    with torch.no_grad():
        exact = copy.deepcopy(twin).double()(x.double())
        found = net(x).double()
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1e-30))


def training(
    net: nn.Module, x: Tensor, labels: Tensor, *, bf16: bool = False, groups: bool = False, **settings: bool
) -> Block:
    """Forward, cross-entropy, backward and SGD with momentum.

    Args:
        net, x, labels: what is trained, on one batch.
        bf16: under autocast.
        groups: whether weight decay is told by :func:`wirings.param_groups`, as sparse values need.
        settings: of ``torch.optim.SGD``: ``foreach``, ``fused``.
    """
    parameters = param_groups(net, weight_decay=1e-4) if groups else net.parameters()
    optimizer = torch.optim.SGD(parameters, lr=_RATE, momentum=0.9, **settings)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(x), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def inference(net: nn.Module, x: Tensor, *, bf16: bool = False) -> Block:
    """A forward pass without gradients."""

    def forward() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            net(x)

    return forward


def batch_of(shape: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Random input and labels."""
    rng = stream(0, "bench input")
    return torch.randn(shape, generator=rng), torch.randint(classes, (shape[0],), generator=rng)
