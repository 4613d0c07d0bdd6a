"""A run's network come alive: with its first values, its optimizer and its method, masked or truly sparse."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from wirings.attach import Sparsifier, attach
from wirings.core.errors import WiringError
from wirings.core.names import bare
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes
from wirings.makers.prunable import prunable
from wirings.sparse import SparseConv2d, SparseLayer, keep_planes, stays_dense, to_sparse
from wirings.training.beginning import Beginning, find_beginning, maker_of
from wirings.training.build import Task, network
from wirings.training.settings import Run


@dataclass(frozen=True)
class Network:
    """What trains.

    Args:
        model: the network that runs.
        optimizer: of its parameters.
        sparse: the method at work; ``None`` for a dense network.
        plan: the network in its dense form, to measure paths and arithmetic on. Masked it is ``model``; beside a truly
            sparse one its sparse weights take no memory and hold nothing.
        shapes: of the weights that may be sparse.
        beginning: the wiring that was found on this network, where the method begins so.
        beside: weights of a truly sparse network that train masked, and why.
    """

    model: nn.Module
    optimizer: Optimizer
    sparse: Sparsifier | None
    plan: nn.Module
    shapes: Shapes
    beginning: Beginning | None
    beside: Mapping[str, str]


def come_alive(run: Run, images: Task, steps: int, *, beginning: Beginning | None = None) -> Network:
    """Build the network of a run and attach its method.

    Truly sparse, every layer begins with all its positions and is narrowed as the method starts: so a method sees the
    same first values and draws the same numbers as masked.

    Args:
        run, images, steps: the run, what it looks at, and how long it is in all.
        beginning: the wiring that this run found when it began; by default it is found now, where the method asks.

    Raises:
        WiringError: the method does not fit the network; or truly sparse, no layer can be in sparse storage.
    """
    model, method = network(run, images.image_shape, images.data.classes), run.method
    weights: Mapping[str, nn.Parameter] = prunable(model, except_=run.except_)
    if maker_of(method) is not None:
        beginning = beginning or find_beginning(run, model, images)
        method = dataclasses.replace(method, begin=beginning.wiring)  # type: ignore[type-var]
        own = {bare(name): p for name, p in model.named_parameters(remove_duplicate=False)}
        weights = {name: own[name] for name in beginning.wiring}  # the maker may leave weights dense, or prune biases
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    plan = model
    beside: Mapping[str, str] = {}
    if run.execution == "sparse" and method is not None:
        plan = _plan(model, weights)
        model, beside = _in_storage(model, shapes, own=":" not in run.model)
    optimizer = run.optimizer(model.parameters(), run.learning_rate)
    sparse = None
    if method is not None:
        sparse = attach(model, optimizer, method, steps=steps, where=shapes, seed=run.seed_of("wiring"))
    return Network(model, optimizer, sparse, plan, shapes, beginning, beside)


def dense_values(model: nn.Module) -> dict[str, Tensor]:
    """The state dict that the dense network would have: zero wherever nothing is connected."""
    state = dict(model.state_dict())
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, SparseLayer):
            prefix = f"{path}." if path else ""
            for name in ("values", "pointer", "column", "used"):
                state.pop(f"{prefix}{name}", None)
            state[f"{prefix}weight"] = module.dense_weight()
    return state


def _plan(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> nn.Module:
    """A copy of the network in which these weights are a single zero each, seen as many."""
    shadows = {id(w): nn.Parameter(w.detach().new_zeros(()).expand(w.shape), False) for w in weights.values()}
    return copy.deepcopy(model, dict(shadows))


def _in_storage(model: nn.Module, shapes: Shapes, *, own: bool) -> tuple[nn.Module, dict[str, str]]:
    """The network with these weights in sparse storage, and those that cannot be, with the reason.

    Args:
        own: whether it is one of the library's models, whose forward pass is known to run in planes.
    """
    reasons, weights = stays_dense(model), prunable(model)
    beside = {name: reasons.get(name, "a bias") for name in shapes if name in reasons or name not in weights}
    wiring = {name: Topology.full(shape) for name, shape in shapes.items() if name not in beside}
    if not wiring:
        name, reason = next(iter(beside.items()), ("it", "it has no weight that may be sparse"))
        raise WiringError(f"No layer of this network can run truly sparse (`{name}`: {reason}); run it masked.")
    model = to_sparse(model, wiring)
    if own and sum(isinstance(module, SparseConv2d) for module in model.modules()) > 1:
        keep_planes(model)
    return model, beside
