"""Memory of training, each case in a fresh process: the most it ever held, less what imports alone take.

Networks are built straight from topologies, so nothing of the size of a dense weight is ever made. The benchmark
``scaling`` is here too: with the number of connections fixed, cost must not follow the neurons.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from wirings.bench import peers
from wirings.bench.protocol import watched
from wirings.bench.result import Result, begun
from wirings.core.errors import RunError

Spec = dict[str, Any]

CASES: tuple[Spec, ...] = (
    {"name": "784-65536-65536-10, 99.9 %", "widths": [784, 65536, 65536, 10], "density": 0.001, "batch": 64},
    {"name": "784-65536-65536-10, 99 %", "widths": [784, 65536, 65536, 10], "density": 0.01, "batch": 64},
    {"name": "one layer of 10^6 x 10^6, 99.999 %", "widths": [10**6, 10**6], "density": 1e-5, "batch": 8},
)
QUICK: tuple[Spec, ...] = (
    {"name": "784-4096-4096-10, 99 %", "widths": [784, 4096, 4096, 10], "density": 0.01, "batch": 16},
)
_FEW = 1000
"""Connections of a layer that weigh nothing: what training takes with them is the activations' memory."""

_PROCESSES = 3
"""That a case is run in: what allocators give back differs from one to the next; the median counts."""

_COLUMNS = {
    "nnz": "connections (count)",
    "above_mb": "MB above imports",
    "activations_mb": "MB of activations",
    "bytes_per_connection": "bytes a connection",
    "dense_gb": "GB if dense",
}


def run(
    *,
    rounds: int = 3,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench memory",
    cases: Sequence[Spec] | None = None,
) -> Result:
    """Peak memory and step times, as plain data; ``rounds`` steps a case, the other arguments as in `mlp.run`."""
    del against
    result = begun("memory", command, threads=threads)
    result["columns"] = _COLUMNS
    with watched(result, threads=threads):
        for spec in cases or (QUICK if quick else CASES):
            result["cases"].append(_case(spec, rounds, threads))
    return result


def scaling(
    *,
    rounds: int = 3,
    threads: int = 1,
    against: Sequence[str] = peers.DENSE,
    quick: bool = False,
    command: str = "wirings bench scaling",
) -> Result:
    """Cost follows connections: fixed connections on ever more neurons, then ever more connections.

    Time a connection and neuron (``ns_per_unit``) must stay within a factor of two in the first case, memory above
    activations within ten percent.
    """
    del against
    nnz, batch = (10**5 if quick else 10**7), 16
    widths = (512, 4096, 65536) if quick else (4096, 65536, 10**6)
    counts = (10**4, 10**5) if quick else (10**5, 10**6, 10**7, 10**8)
    result = begun("scaling", command, threads=threads)
    result["columns"] = _COLUMNS | {
        "held_mb": "MB above activations",
        "ns_per_unit": "ns a connection and neuron",
        "ns_per_sample": "ns a connection and sample",
    }
    specs: list[Spec] = [
        {"name": f"{nnz:,} connections, {n:,} neurons", "widths": [n, n], "density": nnz / n**2, "batch": batch}
        for n in widths
    ]
    for count in counts:
        n = round((count / 0.01) ** 0.5)
        specs.append({"name": f"{count:,} connections, 99 %", "widths": [n, n], "density": 0.01, "batch": batch})
    with watched(result, threads=threads):
        for spec in specs:
            case = _case(spec, rounds, threads)
            row, (first, last) = case["rows"][0], spec["widths"]
            ns = 1e6 * row["median_ms"]
            row["ns_per_unit"] = ns / (row["nnz"] + first + last)
            row["ns_per_sample"] = ns / (row["nnz"] * batch)
            row["held_mb"] = row["above_mb"] - row["activations_mb"]
            result["cases"].append(case)
    return result


def _case(spec: Spec, rounds: int, threads: int) -> dict[str, Any]:
    runs = [in_fresh_process({**spec, "steps": rounds + 1, "threads": threads}) for _ in range(_PROCESSES)]
    found = sorted(runs, key=lambda run: run["above_mb"])[_PROCESSES // 2]
    found["activations_mb"] = in_fresh_process({**spec, "most": _FEW, "steps": 2, "threads": threads})["above_mb"]
    times = [ms for run in runs for ms in run.pop("step_ms")[1:]] or [0.0]  # the first builds the transposed index
    row = {
        "contender": "wirings",
        "density": found["nnz"] / found["positions"],
        "mask": "random",
        "median_ms": statistics.median(times),
        "best_ms": min(times),
        "ratio": None,
        "baseline": False,
        "error": None,
        **found,
    }
    return {"case": spec["name"], "rounds": rounds, "batch": spec["batch"], "rows": [row]}


def in_fresh_process(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Train a network in a process of its own and hear what it took.

    Args:
        spec: ``widths``, ``density``, ``batch``, ``steps``, ``threads``; ``most`` connections a layer.

    Raises:
        RunError: if the process died, as it does where memory runs out.
    """
    words = [sys.executable, "-m", "wirings.bench.memory", json.dumps(spec)]
    source = str(Path(__file__).parents[2])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": source})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed; the memory may have run out"])[-1]
        raise RunError(f"The memory benchmark `{spec.get('name', spec['widths'])}` died: {last}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def train(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What happens in the fresh process: a tiny network first, which loads everything that is loaded when used."""
    import torch

    torch.set_num_threads(int(spec["threads"]))
    _steps([8, 8, 8], 0.5, 4, 2)
    before = peak_bytes()
    widths = list(spec["widths"])
    nnz, times, losses = _steps(widths, spec["density"], spec["batch"], spec["steps"], most=spec.get("most"))
    above = peak_bytes() - before
    positions = sum(a * b for a, b in pairwise(widths))
    return {
        "nnz": nnz,
        "positions": positions,
        "imports_mb": before / 1e6,
        "above_mb": above / 1e6,
        "bytes_per_connection": above / nnz,
        "dense_gb": 12 * positions / 1e9,
        "step_ms": times,
        "loss": losses,
    }


def _steps(
    widths: Sequence[int], share: float, batch: int, steps: int, *, most: int | None = None
) -> tuple[int, list[float], list[float]]:
    """Build a network straight from topologies, of layers with at most so many connections, and train it: connections,
    milliseconds and loss of each step."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from wirings.core.streams import stream
    from wirings.core.topology import Topology
    from wirings.sparse import SparseLinear, SparseSequential

    rng, layers, nnz = stream(0, "bench memory"), list[nn.Module](), 0
    for i, (inner, out) in enumerate(pairwise(widths)):
        # a layer as narrow as an input or an output keeps a tenth, as an ERK budget would have it
        density = max(share, 0.1) if min(inner, out) < 1000 < max(inner, out) else share
        count = round(density * inner * out)
        topology = Topology.full((out, inner)).sample(count if most is None else min(count, most), rng)
        layer = SparseLinear.from_topology(topology, rng=rng)
        layer.forget_support()
        nnz += topology.nnz
        layers += [layer] if i == len(widths) - 2 else [layer, nn.ReLU()]
        del topology
    net = SparseSequential(*layers)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = torch.randn(batch, widths[0], generator=rng)
    labels = torch.randint(widths[-1], (batch,), generator=rng)
    times, losses = [], []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        y = net(x)
        loss = F.cross_entropy(y, labels) if widths[-1] <= 1000 else y.square().mean()
        loss.backward()
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
        losses.append(loss.item())
    return nnz, times, losses


def peak_bytes() -> int:
    """The most this process has held. Linux's own count begins anew with a process; ``getrusage`` may carry over what
    the parent held when it forked."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(train(json.loads(sys.argv[1]))) + "\n")
