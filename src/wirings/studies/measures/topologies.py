"""What the study of Alford et al. (2019) measures: pruning without retraining, thresholds, dead logits, structure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from wirings.analysis.degrees import dead_logits, gini
from wirings.analysis.paths import path_counts
from wirings.analysis.spectrum import spectrum
from wirings.attach import attach
from wirings.core.settings import resolved
from wirings.core.topology import Topology
from wirings.makers.prunable import prunable
from wirings.makers.radix import density, in_degrees, out_degrees, paths, radix_net
from wirings.methods import GradualMagnitude
from wirings.methods.gradual import thresholds
from wirings.procedures.sensitivity import Further, sensitivity_of
from wirings.studies.measurement import Lab, Measurement
from wirings.training.build import network, task
from wirings.training.rates import Rate

REMOVED = (0.0, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
"""Shares of the weights removed, of the published curves."""


@dataclass(frozen=True, kw_only=True)
class OneTime(Measurement):
    """One-time pruning of a trained network, not trained again: test accuracy at each share removed.

    Args:
        run: a finished run.
        scope: "global": one threshold for all weights (the Caffe networks); "local": the same share of each layer.
    """

    kind: ClassVar[str] = "one-time"
    run: str
    scope: Literal["global", "local"]

    def measure(self, lab: Lab) -> dict[str, Any]:
        further = Further(order="magnitude", scope=self.scope, fractions=REMOVED)
        curve = sensitivity_of(lab.record(self.run), further=further, data_root=lab.data_root)
        return {"removed": list(REMOVED), "accuracy": [100 * score for score in curve.mean]}


@dataclass(frozen=True, kw_only=True)
class Thresholds(Measurement):
    """A gradual pruning once more, step by step, for what its record does not keep: each layer's threshold.

    Same settings and seed as the run; the largest difference between its last wiring and the record's is told.

    Args:
        run: a finished run with `GradualMagnitude`.
    """

    kind: ClassVar[str] = "thresholds"
    run: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        record = lab.record(self.run)
        run = record.run
        images = task(run, lab.data_root)
        model = network(run, images.image_shape, images.data.classes)
        steps, batches = run.total_steps(images.train.count), images.train
        optimizer = run.optimizer(model.parameters(), run.learning_rate)
        where = prunable(model, except_=run.except_)
        assert run.method is not None
        method, rate = resolved(run.method, steps), Rate(run, steps)
        assert isinstance(method, GradualMagnitude)
        sparse = attach(model, optimizer, method, steps=steps, where=where, seed=run.seed_of("wiring"))
        rows: dict[str, list[Any]] = {"step": [], "asked": []}
        layers: dict[str, dict[str, list[float]]] = {name: {"density": [], "threshold": []} for name in where}
        for step, (x, y) in enumerate(_batches(batches, steps), start=1):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if method.due(step):
                rows["step"].append(step)
                rows["asked"].append(float(method.density(step)))
                found = thresholds(where, sparse.wiring)
                for name, topology in sparse.wiring.items():
                    layers[name]["density"].append(topology.density)
                    layers[name]["threshold"].append(found[name])
        same = sparse.wiring == record.wiring
        sparse.detach()
        sizes = {name: weight.numel() for name, weight in where.items()}
        return {**rows, "steps": steps, "layers": layers, "sizes": sizes, "same": same}


@dataclass(frozen=True, kw_only=True)
class Logits(Measurement):
    """Which classes a trained network can no longer name, and what that alone costs.

    Args:
        run: a finished run.
    """

    kind: ClassVar[str] = "logits"
    run: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        record = lab.record(self.run)
        images = task(record.run, lab.data_root).test
        model = record.model()
        with torch.no_grad():
            pairs = [(model(x), y) for x, y in images.epoch(0)]
        logits, labels = torch.cat([said for said, _ in pairs]), torch.cat([y for _, y in pairs])
        dead = dead_logits(logits)
        alive = ~torch.isin(labels, torch.tensor(dead, dtype=labels.dtype))
        right = logits.argmax(1) == labels
        last = list(record.wiring)[-1]
        cut_off = (record.wiring[last].in_degrees == 0).nonzero().flatten().tolist()
        return {
            "dead": list(dead),
            "cut_off": cut_off,
            "share_alive": float(alive.double().mean()),
            "accuracy_alive": float(right[alive].double().mean()) if bool(alive.any()) else 0.0,
        }


@dataclass(frozen=True, kw_only=True)
class Shape(Measurement):
    """The structure of a network: degrees, spectral gap, dead units and paths of its first two linear layers.

    Args:
        run: a finished run.
    """

    kind: ClassVar[str] = "shape"
    run: str

    def measure(self, lab: Lab) -> dict[str, Any]:
        wiring = lab.record(self.run).wiring
        pair = [t for t in wiring.values() if len(t.shape) == 2][:2]
        ways = path_counts(pair).astype(float)
        first, second = pair[0], pair[1]
        spread = spectrum(first)
        return {
            "density": [first.density, second.density],
            "gini_in": gini(first.in_degrees.numpy()),
            "gini_out": gini(first.out_degrees.numpy()),
            "ratio": spread.ratio,
            "dead_inputs": int((first.out_degrees == 0).sum()),
            "dead_units": int(((first.in_degrees == 0) | (second.out_degrees == 0)).sum()),
            "paths": float(ways.mean()),
            "paths_sd": float(ways.std()),
            "unconnected": float((ways == 0).mean()),
        }


@dataclass(frozen=True, kw_only=True)
class RadixTheory(Measurement):
    """The theorems on RadiX-Nets, checked in integers on many systems: how often each is broken.

    Paths: every input and output are joined by equally many paths, as many as the formula says, by exact products of
    the layers. Degrees: constant, as the formula says. Density: as the formula says. Widths: dense factors leave the
    density of each layer as it is.

    Args:
        largest: the largest N' of a system.
    """

    kind: ClassVar[str] = "radix-theory"
    largest: int = 24

    def measure(self, lab: Lab) -> dict[str, Any]:
        broken = {"paths": 0, "degrees": 0, "density": 0, "widths": 0}
        nets = list(_nets(self.largest))
        for systems, widths in nets:
            layers = radix_net(systems, widths)
            counts = path_counts(layers)
            broken["paths"] += int((counts != paths(systems, widths)).sum())
            broken["degrees"] += _irregular(layers, in_degrees(systems, widths), out_degrees(systems, widths))
            nnz, numel = sum(t.nnz for t in layers), sum(t.numel for t in layers)
            broken["density"] += not math.isclose(nnz / numel, density(systems, widths), rel_tol=1e-12)
            narrow = radix_net(systems, [1] * len(widths))
            broken["widths"] += sum(a.nnz * b.numel != b.nnz * a.numel for a, b in zip(layers, narrow, strict=True))
        return {"broken": broken, "nets": len(nets), "picture": density([[2, 2, 2]], [1, 1, 1, 1])}


def _batches(batches: Any, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of a whole run, epoch after epoch, as the training loop serves them."""
    endless = (pair for epoch in itertools.count() for pair in batches.epoch(epoch))
    return itertools.islice(endless, steps)


def _nets(largest: int) -> Iterator[tuple[list[list[int]], list[int]]]:
    """One and two systems of up to three digits, narrow and widened."""
    factored = [s for n in range(2, largest + 1) for s in _factorisations(n, 3)]
    for system in factored:
        yield [system], [1] * (len(system) + 1)
        yield [system], [1 + i % 3 for i in range(len(system) + 1)]
    for one, other in itertools.product(factored, repeat=2):
        if math.prod(one) % math.prod(other) == 0 and len(one) + len(other) <= 4 and math.prod(one) <= largest // 2:
            yield [one, other], [2] + [1 + i % 2 for i in range(len(one) + len(other))]


def _factorisations(n: int, digits: int) -> list[list[int]]:
    """All ways to write n as a product of at most so many radices of at least 2, in every order."""
    found = [[n]]
    if digits > 1:
        found += [
            [d, *rest] for d in range(2, n // 2 + 1) if n % d == 0 for rest in _factorisations(n // d, digits - 1)
        ]
    return found


def _irregular(layers: Sequence[Topology], entering: Sequence[int], leaving: Sequence[int]) -> int:
    """Units whose degrees are not what the formulas say."""
    return sum(
        int(np.sum(t.in_degrees.numpy() != a)) + int(np.sum(t.out_degrees.numpy() != b))
        for t, a, b in zip(layers, entering, leaving, strict=True)
    )


__all__ = ["REMOVED", "Logits", "OneTime", "RadixTheory", "Shape", "Thresholds"]
