"""Two processes and layers in sparse storage (gloo, on the CPU)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from sparse_ddp_worker import METHODS, run, trained


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what rank 0 held at the end; every other assertion is made by the processes."""
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("ddp")
    torch.multiprocessing.spawn(run, args=(str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_with_half_a_batch_each_are_one_process(method: str, accumulate: bool, saved: Path) -> None:
    alone, _ = trained(METHODS[method], None)
    together = torch.load(saved / f"{method}-{accumulate}.pt", weights_only=True)
    for name, value in alone.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, together[name], rtol=1e-9, atol=1e-12)
        else:
            assert torch.equal(value, together[name])
