"""Tiny networks, batches and loops for the tests of attach."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

import wirings as wr
from wirings.methods.edge_popup import EdgePopup
from wirings.methods.snfs import SNFS
from wirings.methods.top_kast import TopKAST

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Net(nn.Module):
    """A convolution, a batch norm, two linear layers: 3 sparse weights, biases and norm beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc1 = nn.Linear(4 * 4 * 4, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


def net(seed: int = 0, *, device: str = "cpu", dtype: torch.dtype = torch.float64) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net().to(device, dtype)


def batch(
    step: int = 0, n: int = 6, *, device: str = "cpu", dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(100 + step)
    x = torch.randn(n, 2, 4, 4, generator=rng, dtype=torch.float64)
    return x.to(device, dtype), torch.randint(3, (n,), generator=rng).to(device)


def backward(model: nn.Module, optimizer: Optimizer, step: int = 0) -> Tensor:
    some = next(model.parameters())
    x, y = batch(step, device=some.device.type, dtype=some.dtype)
    optimizer.zero_grad()
    loss = cross_entropy(model(x), y)
    loss.backward()
    return loss


def train(model: nn.Module, optimizer: Optimizer, steps: range | int) -> Iterator[int]:
    """Plain steps; yields after each."""
    for step in range(1, steps + 1) if isinstance(steps, int) else steps:
        backward(model, optimizer, step)
        optimizer.step()
        yield step


def trained(model: nn.Module, optimizer: Optimizer, steps: range | int) -> None:
    for _ in train(model, optimizer, steps):
        pass


def sgd(model: nn.Module, lr: float = 0.1, momentum: float = 0.9, **options: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, **options)


def rigl(every: int = 2, density: float = 0.3, share: float = 0.3) -> wr.RigL:
    return wr.RigL(begin=wr.ErdosRenyi(density), fraction=wr.Constant(share), when=wr.Every(every))


def set_(every: int = 2, density: float = 0.3, share: float = 0.3) -> wr.SET:
    return wr.SET(begin=wr.ErdosRenyi(density), fraction=wr.Constant(share), when=wr.Every(every))


def static(density: float = 0.3) -> wr.Static:
    return wr.Static(begin=wr.ErdosRenyi(density))


METHODS: dict[str, Callable[[], wr.Method]] = {
    "static": static,
    "set": set_,
    "rigl": rigl,
    "dnw": lambda: wr.DNW(density=0.3),
    "dnw-frozen": lambda: wr.DNW(density=0.3, freeze_at=3),
    "gradual": lambda: wr.GradualMagnitude(density=wr.Cubic(final=0.2, until=6), when=wr.Every(2)),
    "recomputed": lambda: wr.GradualMagnitude(density=wr.Cubic(final=0.2, until=6), when=wr.Every(2), sticky=False),
    "snfs": lambda: SNFS(begin=wr.ErdosRenyi(0.3), fraction=wr.Constant(0.3), when=wr.Every(2)),
    "top-kast": lambda: TopKAST(density=0.2, backward=0.5, when=wr.Every(2), decay=0.01, rim_decay=0.01),
    "top-kast-remembers": lambda: TopKAST(density=0.2, backward=0.5, when=wr.Every(2), remember=True),
    "edge-popup": lambda: EdgePopup(density=0.4),
}


def weights_of(model: nn.Module, sparse: wr.Sparsifier) -> dict[str, nn.Parameter]:
    return {name: sparse.sites[name].param for name in sparse.sites}


def check_zero_outside(sparse: wr.Sparsifier) -> None:
    for name, topology in sparse.wiring.items():
        values = sparse.sites[name].param.detach()
        assert not values[~topology.mask.to(values.device)].any(), f"{name} after step {sparse.step}"


def memories(optimizer: Optimizer, weight: nn.Parameter) -> dict[str, Tensor]:
    return {k: t for k, t in optimizer.state[weight].items() if isinstance(t, Tensor) and t.shape == weight.shape}


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, p), q in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(p, q), name
