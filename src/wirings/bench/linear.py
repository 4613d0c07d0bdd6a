"""One linear layer, product by product: forward, both gradients, weight gradient alone, and the whole layer.

Tensors are ``(batch, features)`` on both sides, so packing them into panels and back is part of every time. GF/s count
the connections' multiply-adds only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wirings.bench import masks, nets, peers
from wirings.bench.protocol import watched
from wirings.bench.result import Contender, Result, begun, measured
from wirings.kernels import SparseIndex, linear_backward, linear_forward

OFFERS = (*peers.DENSE, "torch-csr", "mkl", "scipy", *peers.GRAPHS)


@dataclass(frozen=True)
class Case:
    """Width of a square layer, batch, densities."""

    width: int
    batch: int
    densities: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)


CASES = tuple(Case(n, batch) for n in (1024, 2048, 4096) for batch in (1, 16, 128, 512))
QUICK = (Case(512, 1, (0.1,)), Case(512, 64, (0.1, 0.05)))


def run(
    *,
    rounds: int = 9,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench linear",
    cases: Sequence[Case] | None = None,
) -> Result:
    """Products of single layers, as plain data; arguments as in `mlp.run`."""
    found, missing = peers.asked(against, offers=OFFERS)
    result = begun("linear", command, threads=threads, missing=missing)
    result["columns"] = {"gflops": "GF/s"}
    with watched(result, threads=threads):
        for case in cases or (QUICK if quick else CASES):
            result["cases"] += _cases(case, found, rounds)
    return result


def _cases(case: Case, against: Sequence[str], rounds: int) -> list[Result]:
    n, batch = case.width, case.batch
    net = nets.stack(n, n)
    weight = next(net.parameters()).detach()
    x, _ = nets.batch_of((batch, n), 2)
    grad = torch.randn(batch, n, generator=torch.Generator().manual_seed(1))
    products: dict[str, list[Contender]] = {
        "forward": [Contender("dense", lambda: F.linear(x, weight), baseline=True)],
        "both gradients": [Contender("dense", lambda: (grad @ weight, grad.t() @ x), baseline=True)],
        "weight gradient": [Contender("dense", lambda: grad.t() @ x, baseline=True)],
    }
    if "dense-bf16" in against:
        w, x_, g = weight.bfloat16(), x.bfloat16(), grad.bfloat16()
        products["forward"].append(Contender("dense, bf16", lambda: F.linear(x_, w)))
        products["both gradients"].append(Contender("dense, bf16", lambda: (g @ w, g.t() @ x_)))
        products["weight gradient"].append(Contender("dense, bf16", lambda: g.t() @ x_))
    for density in case.densities:
        for mask, make in masks.MASKS.items():
            topology = make({"weight": (n, n)}, density)["weight"]
            index = SparseIndex((n, n), topology.index)
            values = weight.reshape(-1)[topology.index]
            for name, (block, off) in _ours(index, values, x, grad, weight * topology.mask).items():
                products[name].append(Contender("wirings", block, density, mask, error=off))
            if mask == "random":
                for peer in (p for p in against if p not in peers.DENSE):
                    block, off = _theirs(peer, weight * topology.mask, x)
                    whole = peer in peers.PACKAGES
                    products["forward"].append(Contender(peer, block, density, mask, error=off, whole=whole))
    found = []
    for name, contenders in products.items():
        case_ = measured(f"{n} x {n}, batch {batch}, {name}", contenders, rounds=rounds, batch=batch, product=name)
        for row in case_["rows"]:
            density = row["density"] or 1.0
            flops = 2 * density * n * n * batch * (2 if name == "both gradients" else 1)
            row["gflops"] = flops / (row["median_ms"] * 1e6)
        found.append(case_)
    return found


def _ours(
    index: SparseIndex, values: Tensor, x: Tensor, grad: Tensor, weight: Tensor
) -> dict[str, tuple[Callable[[], object], float]]:
    """Product -> block, and how far it is from float64."""
    exact = {"y": x.double() @ weight.double().t(), "gx": grad.double() @ weight.double()}
    gw = (grad.double().t() @ x.double()).reshape(-1)[index.flat()]
    back = linear_backward(index, values, x, grad)
    assert back.x is not None
    forward = _off(linear_forward(index, values, x), exact["y"])
    return {
        "forward": (lambda: linear_forward(index, values, x), forward),
        "both gradients": (
            lambda: linear_backward(index, values, x, grad),
            max(_off(back.x, exact["gx"]), _off(back.values, gw)),
        ),
        "weight gradient": (
            lambda: linear_backward(index, values, x, grad, need_x=False),
            _off(linear_backward(index, values, x, grad, need_x=False).values, gw),
        ),
    }


def _theirs(peer: str, weight: Tensor, x: Tensor) -> tuple[Callable[[], object], float]:
    """A peer's forward pass as a block, and how far it is from float64."""
    layer = peers.layer(peer, weight, batch=len(x))
    with torch.inference_mode():
        off = _off(layer(x), x.double() @ weight.double().t())
    return nets.inference(layer, x), off


def _off(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-30))
