"""What it costs to choose connections and to change them: selection, index building, growth, and optimizer updates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from wirings.bench import peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.core.streams import stream
from wirings.core.topology import Topology
from wirings.kernels import SparseIndex, strongest_gradient, top_index, top_mask

SIZES, QUICK_SIZES = (10**6, 10**7), (10**5,)
WIDTHS, QUICK_WIDTHS = (1024, 4096), (256,)
_BATCH = 128


def run(
    *,
    rounds: int = 7,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench topology",
) -> Result:
    """Costs of topology operations, as plain data; arguments as in `mlp.run`. "Dense" is torch's way to the same."""
    del against
    result = begun("topology", command, threads=threads)
    with watched(result, threads=threads):
        for count in QUICK_SIZES if quick else (*SIZES, 10**8):
            result["cases"].append(_selection(count, rounds))
        for width in QUICK_WIDTHS if quick else WIDTHS:
            result["cases"] += [_index(width, 0.05, rounds), _growth(width, 0.05, rounds)]
        for count in QUICK_SIZES if quick else SIZES:
            result["cases"].append(_update(count, rounds))
    return result


def _selection(count: int, rounds: int) -> Result:
    scores = torch.randn(count, generator=stream(0, "bench scores"))
    k, array = count // 10, scores.abs().numpy()
    ours, places = top_mask(scores, k, absolute=True), top_index(scores, k, absolute=True)
    right = torch.zeros(count, dtype=torch.bool).index_fill(0, torch.topk(scores.abs(), k).indices, True)
    contenders = [
        Contender("torch.topk", lambda: torch.topk(scores.abs(), k), baseline=True),
        Contender("numpy.partition", lambda: np.partition(array, count - k)),
        Contender(
            "wirings, exact top k as a mask",
            lambda: top_mask(scores, k, absolute=True),
            error=0.0 if torch.equal(ours, right) else 1.0,
        ),
        Contender(
            "wirings, exact top k as indices",
            lambda: top_index(scores, k, absolute=True),
            error=0.0 if torch.equal(places, right.nonzero().squeeze(1)) else 1.0,
        ),
    ]
    return measured(f"the largest tenth of {count:,}", contenders, rounds=rounds)


def _index(width: int, density: float, rounds: int) -> Result:
    topology = Topology.full((width, width)).sample(int(density * width**2), stream(0, "bench wiring"))
    index, mask = topology.index, topology.mask

    def ours() -> None:
        SparseIndex((width, width), index).transposed  # noqa: B018  # asking builds it

    def torchs() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "sparse CSR support is in beta"
            mask.float().to_sparse_csr().t().to_sparse_csr()

    return measured(
        f"index and transpose, {width} x {width}",
        [
            Contender("torch, dense to CSR and back", torchs, density, baseline=True),
            Contender("wirings", ours, density),
        ],
        rounds=rounds,
    )


def _growth(width: int, density: float, rounds: int) -> Result:
    """RigL's candidates: where the gradient is strongest among the positions that are free."""
    rng = stream(0, "bench growth")
    x, grad = torch.randn(_BATCH, width, generator=rng), torch.randn(_BATCH, width, generator=rng)
    taken = Topology.full((width, width)).sample(int(density * width**2), rng)
    k, free = taken.nnz // 3, ~taken.mask

    def torchs() -> torch.Tensor:
        return torch.topk(((grad.t() @ x).abs() * free).reshape(-1), k).indices

    def ours() -> torch.Tensor:
        return strongest_gradient(grad, x, k, skip=taken.index)

    shared = len(set(torchs().tolist()) & set(ours().tolist())) / k
    return measured(
        f"RigL's growth, {width} x {width}, batch {_BATCH}",
        [
            Contender("dense gradient and torch.topk", torchs, density, baseline=True),
            Contender("wirings, rows with a running threshold", ours, density, error=1 - shared),
        ],
        rounds=rounds,
    )


def _update(count: int, rounds: int) -> Result:
    contenders = []
    for name, make in (
        ("SGD with momentum, foreach", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True)),
        ("SGD with momentum, fused", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True)),
        ("AdamW, foreach", lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True)),
        ("AdamW, fused", lambda p: torch.optim.AdamW(p, lr=0.1, fused=True)),
    ):
        parameter = torch.nn.Parameter(torch.zeros(count))
        parameter.grad = torch.full((count,), 1e-3)
        contenders.append(Contender(name, make([parameter]).step))
    return measured(f"update of {count:,} values", contenders, rounds=rounds)
