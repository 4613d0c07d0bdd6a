"""The common suite of every maker."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping

import torch
from torch import nn

from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.core.wiring import Shapes, Wiring
from wirings.makers.maker import Maker, WeightMaker
from wirings.makers.scoring import ModelMaker
from wirings.testing.checking import must, small_batch, small_network

AnyMaker = Maker | WeightMaker | ModelMaker


def check_maker(maker: AnyMaker, *, counts: Mapping[str, int] | None = None) -> None:
    """Let a maker wire a small network, of its shapes, weights or model, and check what every maker must keep.

    The right names and shapes, in order; as many connections as asked; equal generators, equal wirings; the model (to
    the bit, its training flag too) and the global random state left alone; settings survive TOML.

    Example:
        >>> check_maker(ErdosRenyi(0.25), counts={"0.weight": 45, "3.weight": 121, "5.weight": 50})

    Args:
        maker: of shapes, of weights, or of a model.
        counts: how many connections each weight must get, if that can be told.

    Raises:
        AssertionError: one sentence that says what does not hold.
    """
    label = f"`{type(maker).__name__}`"
    model = small_network()
    held = {name: t.clone() for name, t in model.state_dict().items()}
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.dim() > 1}
    random_state = torch.get_rng_state()
    first, second = (_made(maker, model, shapes) for _ in range(2))
    must(first == second, f"{label} must write equal wirings with equal generators.")
    must(list(first) == list(shapes), f"{label} must wire {list(shapes)}, in order. Got {list(first)}.")
    must(first.shapes == shapes, f"{label} must keep shapes. Got {first.shapes}.")
    must(first.nnz > 0, f"{label} must leave connections.")
    must(counts is None or first.counts == counts, f"{label} must give {counts}. Got {first.counts}.")
    same = all(torch.equal(t, held[name]) for name, t in model.state_dict().items())
    must(same and model.training, f"{label} must leave the model as it was.")
    must(all(p.grad is None for p in model.parameters()), f"{label} must leave no gradient behind.")
    must(torch.equal(torch.get_rng_state(), random_state), f"{label} must leave the global random state alone.")
    if dataclasses.is_dataclass(maker):
        import tomli_w

        back = from_plain("maker", tomllib.loads(tomli_w.dumps(to_plain(maker))))
        must(back == maker, f"{label} must survive TOML. It came back as {back!r}.")


def _made(maker: AnyMaker, model: nn.Module, shapes: Shapes) -> Wiring:
    rng = stream(0, "wiring")
    if isinstance(maker, ModelMaker):
        batches = [small_batch(step) for step in range(8)]
        return maker.of_model(model, (1, *batches[0][0].shape[1:]), batches, rng)
    if isinstance(maker, WeightMaker):
        return maker.of_weights({name: p.detach() for name, p in model.named_parameters() if name in shapes}, rng)
    return maker(shapes, rng)
