"""What each of two processes does in ``test_attach_ddp.py``; its own module, so that a new process can import it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.distributed as dist
from attach_nets import METHODS, batch, check_zero_outside, net, rigl, set_, sgd, static
from torch import Generator, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel as DDP

import wirings as wr
from wirings.core.errors import WiringError
from wirings.methods.method import Method, Sites, Supports

METHODS_HERE = ("static", "set", "rigl", "dnw", "snfs", "top-kast", "edge-popup")
STEPS = 5


def run(rank: int, folder: str) -> None:
    """Everything, in one pair of processes; an assertion that fails here fails the test."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    before_the_group(rank, folder)
    for method in METHODS_HERE:
        for wrap_first in (True, False):
            model, sparse = trained_together(rank, method, wrap_first=wrap_first)
            check_zero_outside(sparse)
            assert len(set(of_all(sparse.wiring.fingerprint))) == 1, f"{method}: wirings differ"
            assert len(set(of_all(digest(model)))) == 1, f"{method}: weights differ"
            if rank == 0 and wrap_first:
                torch.save({"sparse": sparse.state_dict(), "model": model.state_dict()}, f"{folder}/{method}.pt")
    accumulated_without_sync(rank)
    refusals(rank)
    leave()


def leave() -> None:
    """End the process at once: gloo's threads outlive the group where DDP wrapped a model, and a thread that drops
    its last tensor while the interpreter shuts down aborts the process (pytorch/pytorch#179291)."""
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)


def before_the_group(rank: int, folder: str) -> None:
    """Attached before the processes know of each other: the first step finds out what they hold."""
    model = net(seed=0)
    optimizer = sgd(model)
    wr.attach(model, optimizer, static(), seed=rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    loss_of(model, rank, 1).backward()
    refused(optimizer.step, "different wirings after step 1")


def trained_together(rank: int, method: str, *, wrap_first: bool) -> tuple[nn.Module, wr.Sparsifier]:
    model = net(seed=0 if wrap_first else rank)  # attach itself makes the sparse weights equal
    model.norm.eval()
    optimizer = sgd(model)
    wrapped = DDP(model) if wrap_first else model
    sparse = wr.attach(wrapped, optimizer, METHODS[method](), steps=10)
    assert list(sparse.wiring) == ["conv.weight", "fc1.weight", "fc2.weight"]
    wrapped = wrapped if wrap_first else DDP(model)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss_of(wrapped, rank, step).backward()
        optimizer.step()
    return model, sparse


def loss_of(model: nn.Module, rank: int, step: int) -> torch.Tensor:
    x, y = batch(step)
    return cross_entropy(model(x[rank::2]), y[rank::2])


def accumulated_without_sync(rank: int) -> None:
    model = net()
    optimizer = sgd(model)
    wrapped = DDP(model, gradient_as_bucket_view=True)
    sparse = wr.attach(wrapped, optimizer, rigl(every=2))
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        with wrapped.no_sync():
            loss_of(wrapped, rank, step).backward()
        loss_of(wrapped, rank, 10 + step).backward()
        optimizer.step()
        check_zero_outside(sparse)
    assert len(set(of_all(sparse.wiring.fingerprint + digest(model)))) == 1


@dataclass(frozen=True, kw_only=True)
class OwnWay(Method):
    """A method that looks at its rank."""

    def start(self, sites: Sites, rng: Generator) -> Supports:
        return static().start(sites, rng)

    def due(self, step: int) -> bool:
        return step == 2

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        own = torch.Generator().manual_seed(dist.get_rank())
        return static().start(sites, own)


def refusals(rank: int) -> None:
    model = net()
    refused(lambda: wr.attach(model, sgd(model), set_(), seed=rank), "different wirings after step 0")
    assert not any(p._backward_hooks for p in model.parameters())
    for method in (OwnWay(), rigl(every=2)):
        alone = net()  # no DDP: RigL ranks averaged gradients, but weights drift apart
        optimizer = sgd(alone)
        sparse = wr.attach(alone, optimizer, method)

        def step(model: nn.Module = alone, optimizer: Any = optimizer) -> None:
            for number in range(1, STEPS + 1):
                optimizer.zero_grad()
                loss_of(model, rank, number + 20 * rank).backward()
                optimizer.step()

        refused(step, r"Attach with the same seed on every rank, and wrap")
        check_zero_outside(sparse)


def refused(what: Any, sentence: str) -> None:
    with pytest.raises(WiringError, match=sentence):
        what()


def of_all(value: str) -> list[str]:
    found: list[Any] = [None, None]
    dist.all_gather_object(found, value)
    return found


def digest(model: nn.Module) -> str:
    return repr([float(p.detach().double().sum()) for p in model.parameters()])
