"""What each of two processes does in ``test_sparse_ddp.py``; its own module, so that a new process can import it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel as DDP

import wirings as wr
from wirings.core.schedules import Cubic, Every
from wirings.methods import SET, GraNet, Method, RigL, Static, TopKAST
from wirings.sparse import to_sparse

STEPS = 6
BEGIN = wr.ErdosRenyi(0.4)
METHODS: dict[str, Method] = {
    "static": Static(begin=BEGIN),
    "set": SET(begin=BEGIN, when=Every(2)),
    "rigl": RigL(begin=BEGIN, when=Every(2)),
    "top-kast": TopKAST(density=0.3, backward=0.6, when=Every(2)),
}


def net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)
        return nn.Sequential(*layers).double()


def batch(step: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(step)
    return torch.randn(8, 2, 5, 5, generator=rng, dtype=torch.float64), torch.randint(3, (8,), generator=rng)


def trained(method: Method, rank: int | None, *, accumulate: bool = False) -> tuple[nn.Module, wr.Sparsifier]:
    """With half of each batch, or all of it where there is no rank."""
    model = to_sparse(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparse = wr.attach(model, optimizer, method, steps=10)
    if rank is not None:  # wrapped once its counts stand; the optimizer holds what it will hold
        model = DDP(model)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        x, y = batch(step)
        own = slice(None) if rank is None else slice(rank, None, 2)
        if accumulate and rank is not None:
            with model.no_sync():
                (cross_entropy(model(x[own][:2]), y[own][:2]) / 2).backward()
            (cross_entropy(model(x[own][2:]), y[own][2:]) / 2).backward()
        else:
            cross_entropy(model(x[own]), y[own]).backward()
        optimizer.step()
    return (model.module if rank is not None else model), sparse


def run(rank: int, folder: str) -> None:
    """Everything, in one pair of processes; an assertion that fails here fails the test."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name, method in METHODS.items():
        for accumulate in (False, True):
            model, sparse = trained(method, rank, accumulate=accumulate)
            assert len(set(of_all(sparse.wiring.fingerprint))) == 1, f"{name}: wirings differ"
            assert len(set(of_all(digest(model)))) == 1, f"{name}: values differ"
            if rank == 0:
                torch.save(model.state_dict(), f"{folder}/{name}-{accumulate}.pt")
    refusals(rank)
    buffers_of_rank_0(rank)
    leave()


def leave() -> None:
    """End the process at once: gloo's threads outlive the group where DDP wrapped a model, and a thread that drops
    its last tensor while the interpreter shuts down aborts the process (pytorch/pytorch#179291)."""
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)


def refusals(rank: int) -> None:
    """Other counts mean other parameters, which a wrapped model cannot follow."""
    words = "wrap in DDP again after the change, or run masked"
    wrapped = DDP(to_sparse(net()))
    with pytest.raises(wr.WiringError, match=words):
        wr.attach(wrapped, torch.optim.SGD(wrapped.parameters(), lr=0.1), Static(begin=BEGIN))
    with pytest.raises(wr.WiringError, match=words):
        trained(GraNet(density=Cubic(initial=0.5, final=0.2, until=5), when=Every(2)), rank)


def buffers_of_rank_0(rank: int) -> None:
    """Ranks that began with other wirings take that of rank 0 with its values, when DDP wraps them."""
    shape = (8, 36)
    rng = torch.Generator().manual_seed(rank)
    model = to_sparse(net(seed=rank), {"3.weight": wr.Topology.full(shape).sample(50, rng)})
    assert len(set(of_all(model[3].topology.fingerprint))) == 2
    wrapped = DDP(model)
    x, _ = batch(1)
    assert len(set(of_all(repr(wrapped(x).sum().item())))) == 1
    assert len(set(of_all(model[3].topology.fingerprint))) == 1


def of_all(value: str) -> list[str]:
    found: list[Any] = [None, None]
    dist.all_gather_object(found, value)
    return found


def digest(model: nn.Module) -> str:
    return repr([float(p.detach().double().sum()) for p in model.parameters()])
