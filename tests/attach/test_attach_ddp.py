"""Two processes, one wiring (gloo, on the CPU)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from attach_nets import METHODS, net, sgd, train
from ddp_worker import METHODS_HERE, STEPS, run

import wirings as wr


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what rank 0 held at the end, per method; every other assertion is made by the processes."""
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("ddp")
    torch.multiprocessing.spawn(run, args=(str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("method", METHODS_HERE)
def test_two_ranks_with_half_a_batch_each_are_one_process_with_the_whole(method: str, saved: Path) -> None:
    model = net()
    model.norm.eval()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=10)
    for _ in train(model, optimizer, STEPS):
        pass
    together = torch.load(saved / f"{method}.pt", weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, together["model"][name], rtol=1e-9, atol=1e-12)
    wiring = sparse.wiring
    sparse.load_state_dict(together["sparse"])
    assert sparse.wiring == wiring
