"""What the procedures share: a user's own way to train, and weights by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from wirings.core.errors import WiringError
from wirings.core.names import bare
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable

Fit = Callable[[nn.Module, Wiring], float]
"""Trains a network on a wiring, in place, from the values it has, and returns its score (an accuracy).

It makes its own optimizer and schedule each time it is called, so both begin anew::

    def fit(model, wiring):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        attach(model, optimizer, Static(begin=wiring))
        ...  # the user's own loop
        return accuracy(model)
"""

Values = Mapping[str, Tensor]
"""A state dict: parameters and buffers."""


def fitted(model: nn.Module, wiring: Wiring, fit: Fit) -> tuple[nn.Module, float]:
    """A copy of the network, trained on the wiring, and its score; the network itself stays as it is.

    Raises:
        WiringError: the wiring is another network's, or ``fit`` did not keep to it.
    """
    mine = copy.deepcopy(model)
    wiring.check({bare(name): tuple(p.shape) for name, p in mine.named_parameters()})
    score = float(fit(mine, wiring))
    weights = weights_of(mine, wiring)
    for name, topology in wiring.items():
        off = ~topology
        if off.nnz and bool(weights[name].reshape(-1)[off.index.to(weights[name].device)].any()):
            raise WiringError(
                f"`fit` must train on the wiring it is given, but `{name}` has values off it. "
                "Begin it with: attach(model, optimizer, Static(begin=wiring))."
            )
    return mine, score


def weights_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The weights of these names, without their history."""
    every = {bare(name): parameter.detach() for name, parameter in model.named_parameters()}
    return {name: every[name] for name in names}


def values_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def full_wiring(model: nn.Module, except_: Iterable[str] = ()) -> Wiring:
    """Every connection of every weight that may be sparse."""
    return Wiring.full({name: tuple(w.shape) for name, w in prunable(model, except_=except_).items()})
