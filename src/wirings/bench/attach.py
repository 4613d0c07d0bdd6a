"""What ``attach`` costs: the plain dense loop against the same loop with a method attached, step by step in turns.

Run it: ``python -m wirings.bench attach``. The input is random; nothing is learnt. A RigL run updates every 100th step:
its time is 99 ordinary steps and one update, each measured, over 100.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wirings.attach import attach
from wirings.bench.protocol import interleaved, median_ms, watched
from wirings.core.schedules import Every
from wirings.core.streams import stream
from wirings.makers.random import ErdosRenyi
from wirings.methods.dnw import DNW
from wirings.methods.drop_grow import RigL
from wirings.methods.method import Method
from wirings.methods.static import Static
from wirings.models import build

_DENSITY, _EVERY = 0.05, 100

METHODS: dict[str, Callable[[], Method]] = {
    "static": lambda: Static(begin=ErdosRenyi(_DENSITY)),
    "rigl": lambda: RigL(begin=ErdosRenyi(_DENSITY), when=Every(_EVERY)),
    "dnw": lambda: DNW(density=_DENSITY),
}


@dataclass(frozen=True)
class Case:
    """A network, its input, how many steps make a block, how many blocks a round, and how much each method may cost."""

    image_shape: tuple[int, int, int]
    steps: int
    blocks: int
    goals: Mapping[str, float]
    batch: int = 128


CASES = {
    "resnet-20": Case((3, 32, 32), 1, 1, {"static": 0.03, "rigl": 0.05, "dnw": 0.25}),
    "lenet-300-100": Case((1, 28, 28), 5, 20, {"static": 0.20, "rigl": 0.25, "dnw": 1.20}),
}


def run(*, rounds: int = 21, threads: int = 1, cases: Mapping[str, Case] = CASES) -> dict[str, Any]:
    """Overhead of each method over the dense loop, as plain data (JSON).

    Args:
        rounds: how often each contender is timed; a small network more often, by its ``blocks``.
        threads: torch threads; with one, processor time is measured, which others on the machine disturb least.
        cases: model name -> case.
    """
    result: dict[str, Any] = {"bench": "attach", "density": _DENSITY, "rounds": rounds, "cases": {}}
    with watched(result, threads=threads):
        for name, case in cases.items():
            result["cases"][name] = _measured(name, case, rounds)
    return result


def _measured(model: str, case: Case, rounds: int) -> dict[str, Any]:
    loops = {"dense": _Loop(model, case, None)} | {name: _Loop(model, case, make()) for name, make in METHODS.items()}
    contenders: dict[str, Callable[[], object]] = {name: loop.steps for name, loop in loops.items()}
    contenders["rigl update"] = loops["rigl"].update
    seconds = interleaved(contenders, rounds=rounds * case.blocks)
    step = {name: statistics.median(seconds[name]) / case.steps for name in loops}
    step["rigl"] += (statistics.median(seconds["rigl update"]) - step["rigl"]) / _EVERY
    table: dict[str, Any] = {"dense": {"step_ms": round(1e3 * step["dense"], 4)}}
    for name, goal in case.goals.items():
        over = step[name] / step["dense"] - 1
        table[name] = {"step_ms": round(1e3 * step[name], 4), "overhead": round(over, 4), "goal": goal}
    table["rigl"]["update_ms"] = round(median_ms(seconds["rigl update"]), 4)
    return {"batch": case.batch, "steps_per_block": case.steps, "methods": table}


class _Loop:
    """The plainest training loop on one random batch, with a method attached or not."""

    def __init__(self, model: str, case: Case, method: Method | None) -> None:
        rng = stream(0, "bench")
        self.net: nn.Module = build(model, image_shape=case.image_shape)
        self.inputs = torch.randn(case.batch, *case.image_shape, generator=rng)
        self.labels = torch.randint(10, (case.batch,), generator=rng)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
        self.sparse = None if method is None else attach(self.net, self.optimizer, method, steps=30_000)
        self.per_block = case.steps

    def steps(self) -> None:
        if self.sparse is not None:
            self.sparse.step = 0  # an ordinary step, however long the measurement takes
        for _ in range(self.per_block):
            self._step()

    def update(self) -> None:
        assert self.sparse is not None
        self.sparse.step = _EVERY - 1
        self._step()

    def _step(self) -> None:
        self.optimizer.zero_grad()
        loss: Tensor = cross_entropy(self.net(self.inputs), self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result as rows of text."""
    found = [f"{'network':<15} {'method':<8} {'ms a step':>10} {'overhead':>9} {'goal':>7}"]
    for name, case in result["cases"].items():
        for method, row in case["methods"].items():
            over = f"{row['overhead']:+.1%}" if "overhead" in row else ""
            goal = f"{row['goal']:.0%}" if "goal" in row else ""
            found.append(f"{name:<15} {method:<8} {row['step_ms']:>10.3f} {over:>9} {goal:>7}".rstrip())
    machine = result["machine"]
    found.append(
        f"{machine['threads']} thread(s), {machine['clock']}, torch {machine['torch']}, load "
        f"{machine['load_before']} to {machine['load_after']}, canary {machine['canary_before_ms']['torch']} to "
        f"{machine['canary_after_ms']['torch']} ms"
    )
    return found
