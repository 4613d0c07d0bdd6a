"""The common suite of every maker."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping

import torch
from torch import Tensor

from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.maker import Maker, WeightMaker
from wirings.testing.checking import must

SHAPES: Shapes = {"conv.weight": (8, 4, 3, 3), "fc1.weight": (16, 32), "fc2.weight": (4, 16)}
"""What a maker is tried on, if nothing else is said: every side a multiple of four."""


def check_maker(
    maker: Maker | WeightMaker, *, shapes: Shapes = SHAPES, counts: Mapping[str, int] | None = None
) -> None:
    """Let a maker write wirings, and check what every maker must keep.

    The right names and shapes, in order; as many connections as asked; equal generators, equal wirings; weights and
    the global random state left alone; settings survive TOML.

    Example:
        >>> check_maker(ErdosRenyi(0.25), counts={"conv.weight": 120, "fc1.weight": 77, "fc2.weight": 19})

    Args:
        maker: of shapes, or of weights.
        shapes: what it is asked for.
        counts: how many connections each weight must get, if that can be told.

    Raises:
        AssertionError: one sentence that says what does not hold.
    """
    label = f"`{type(maker).__name__}`"
    weights = {
        name: torch.randn(s, generator=stream(0, "init", name), dtype=torch.float64) for name, s in shapes.items()
    }
    held = {name: w.clone() for name, w in weights.items()}
    random_state = torch.get_rng_state()
    first, second = (_made(maker, shapes, weights) for _ in range(2))
    must(first == second, f"{label} must write equal wirings with equal generators.")
    must(list(first) == list(shapes), f"{label} must wire {list(shapes)}, in order. Got {list(first)}.")
    must(first.shapes == dict(shapes), f"{label} must keep shapes. Got {first.shapes}.")
    must(first.nnz > 0, f"{label} must leave connections.")
    must(counts is None or first.counts == counts, f"{label} must give {counts}. Got {first.counts}.")
    must(all(torch.equal(w, held[n]) for n, w in weights.items()), f"{label} must leave the weights alone.")
    must(torch.equal(torch.get_rng_state(), random_state), f"{label} must leave the global random state alone.")
    if dataclasses.is_dataclass(maker):
        import tomli_w

        back = from_plain("maker", tomllib.loads(tomli_w.dumps(to_plain(maker))))
        must(back == maker, f"{label} must survive TOML. It came back as {back!r}.")


def _made(maker: Maker | WeightMaker, shapes: Shapes, weights: Mapping[str, Tensor]) -> Wiring:
    rng = stream(0, "wiring")
    return maker.of_weights(weights, rng) if isinstance(maker, WeightMaker) else maker(shapes, rng)
