"""Attach a method to a live network: one line before the user's own loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from wirings.attach.masked import MaskedSite, site_of
from wirings.attach.site import LiveSite
from wirings.attach.sparse import SparseSite, check_optimizer
from wirings.attach.sparsifier import Sparsifier
from wirings.attach.summary import stay_dense
from wirings.core.errors import WiringError, nearest
from wirings.core.names import bare
from wirings.core.settings import resolved
from wirings.core.wiring import Wiring
from wirings.makers.prunable import left_dense, prunable
from wirings.methods.method import Method
from wirings.sparse.layer import sparse_weights

Where = Callable[[nn.Module], Mapping[str, nn.Parameter]] | Iterable[str]
"""Which weights become sparse: a function like :func:`wirings.prunable`, or their names."""

_log = logging.getLogger("wirings")


def attach(
    model: nn.Module,
    optimizer: Optimizer,
    method: Method,
    *,
    steps: int | None = None,
    where: Where = prunable,
    seed: int = 0,
) -> Sparsifier:
    """Make a network sparse, and keep it so while it trains in the user's own loop.

    From here on the model is exactly its sparse network between any two optimizer steps. Parameter names, state-dict
    keys, the loop and the optimizer stay what they are: everything happens in the optimizer's public step hooks and in
    one hook on each sparse weight. Works with fused and foreach optimizers, closures, gradient accumulation, clipping,
    ``GradScaler``, ``torch.compile``, tied weights, several parameter groups and DistributedDataParallel.

    Example:
        >>> model = nn.Linear(20, 10)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> sparse = attach(model, optimizer, Static(begin=ErdosRenyi(0.1)))
        >>> sparse.wiring.nnz
        20

    Args:
        model: any module; it may be wrapped already (``torch.compile``, DDP).
        optimizer: the one that holds the sparse weights; wrappers of Accelerate and Lightning are looked through.
        method: what decides the wiring.
        steps: how many optimizer steps the run will have; needed where the method's settings are shares of the run.
        where: which weights may be sparse. Default: the weights of linear and convolutional layers.
        seed: of the wiring's random stream; equal seeds give equal wirings.

    Raises:
        WiringError: if a weight is not in the optimizer, is held twice, or the method's wiring does not fit.
        ValueError: if the method's settings are shares of the run and ``steps`` is not given.
    """
    optimizer = _innermost(optimizer)
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"`steps` of `attach` must be the run's number of optimizer steps, at least 1. Got {steps!r}.")
    if not isinstance(method, Method):
        raise TypeError(f"`method` of `attach` must be a method such as RigL() or Static(begin=...). Got {method!r}.")
    weights = _chosen(model, where)
    _check_held(weights, optimizer)
    _check_decay(weights, optimizer)
    sites = _sites(model, optimizer, method, weights)
    sparse = Sparsifier(optimizer, resolved(method, steps), sites, seed)
    _log.info("%s", _sentence(sparse.wiring))
    for line in stay_dense(_left_dense(model, weights)):
        _log.info("%s", line)
    return sparse


def _innermost(optimizer: Optimizer) -> Optimizer:
    """The optimizer whose ``step`` is the last to be called; Accelerate and Lightning hand out wrappers."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"`optimizer` of `attach` must be a torch.optim.Optimizer. Got {type(optimizer).__name__}.")
    return optimizer


def _chosen(model: nn.Module, where: Where) -> dict[str, nn.Parameter]:
    """Weight name -> parameter, in the model's order; by default frozen ones stay dense."""
    stored = {name: layer.values for name, layer in sparse_weights(model).items() if layer.values.requires_grad}
    if callable(where):
        found = {bare(name): weight for name, weight in where(model).items() if weight.requires_grad} | stored
        order = {id(weight): place for place, weight in enumerate(model.parameters())}
        weights = {name: found[name] for name in sorted(found, key=lambda name: order.get(id(found[name]), len(order)))}
    else:
        weights = _named(model, where)
    if not weights:
        raise WiringError(
            "`attach` found no weight that could be sparse: no linear or convolutional layer that trains."
        )
    for name, weight in weights.items():
        if not weight.is_floating_point() or weight.layout != torch.strided or type(weight.data) is not torch.Tensor:
            what = f"a {type(weight.data).__name__} of {weight.dtype}, {weight.layout}"
            raise WiringError(f"`{name}` must be a plain floating-point tensor to be sparse. Got {what}.")
        if not weight.requires_grad:
            raise WiringError(f"`{name}` must train to be sparse. It is frozen; leave it out of `where`.")
    return weights


def _named(model: nn.Module, where: Iterable[str]) -> dict[str, nn.Parameter]:
    """The weights that a user named; one that has several names (tied) once, under the first."""
    if isinstance(where, str):
        raise TypeError(f"`where` of `attach` must be a sequence of names. Got the string {where!r}.")
    stored = {name: layer.values for name, layer in sparse_weights(model).items()}
    named = {bare(name): weight for name, weight in model.named_parameters(remove_duplicate=False)} | stored
    wanted = [bare(name) for name in where]
    for name in wanted:
        if name not in named:
            raise WiringError(
                f"`where` of `attach` names `{name}`, which the model does not have. {nearest(name, named)}"
            )
    ids = {id(named[name]) for name in wanted}
    own = {id(values): name for name, values in stored.items()}
    return {own.get(id(weight), bare(name)): weight for name, weight in model.named_parameters() if id(weight) in ids}


def _sites(
    model: nn.Module, optimizer: Optimizer, method: Method, weights: Mapping[str, nn.Parameter]
) -> dict[str, LiveSite]:
    """Weight name -> live site: truly sparse where a layer in sparse storage holds the weight, masked elsewhere."""
    layers = {id(layer.values): layer for layer in sparse_weights(model).values()}
    wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    sites: dict[str, LiveSite] = {}
    for name, weight in weights.items():
        if (layer := layers.get(id(weight))) is None:
            sites[name] = MaskedSite(name, weight)
        else:
            if layer.on_swap is not None:
                raise WiringError(f"`{name}` has a method attached already; call `detach()` on that one first.")
            check_optimizer(optimizer, method, name)
            sites[name] = SparseSite(name, layer, optimizer, wrapped=wrapped)
    return sites


def _check_held(weights: Mapping[str, nn.Parameter], optimizer: Optimizer) -> None:
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    for name, weight in weights.items():
        if held.count(id(weight)) != 1:
            raise WiringError(
                f"`{name}` must be in the optimizer once. Got {held.count(id(weight))} times; "
                "attach with its own optimizer, or leave it out with `where`."
            )
        if site_of(weight) is not None:
            raise WiringError(f"`{name}` has a method attached already; call `detach()` on that one first.")


def _check_decay(weights: Mapping[str, nn.Parameter], optimizer: Optimizer) -> None:
    """Grouping by ``p.ndim < 2`` spares what looks like a bias; a sparse weight among the spared is rarely meant."""
    decay = {id(p): group.get("weight_decay", 0) for group in optimizer.param_groups for p in group["params"]}
    spared = [name for name, weight in weights.items() if not decay[id(weight)]]
    if any(decay.values()) and spared:
        warnings.warn(
            f"`{spared[0]}` has no weight decay, but other parameters have; group them with wirings.param_groups.",
            stacklevel=3,
        )


def _left_dense(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Every other parameter, and why it stays dense."""
    chosen = {id(weight) for weight in weights.values()}
    others = {bare(name): p for name, p in model.named_parameters() if id(p) not in chosen}
    reasons = left_dense(model)
    return {
        name: reasons.get(name, "left out by `where`" if p.requires_grad else "frozen") for name, p in others.items()
    }


def _sentence(wiring: Wiring) -> str:
    return f"keeps {wiring.nnz:,} of {wiring.numel:,} weights ({100 * (1 - wiring.density):.4g} % sparse)"
