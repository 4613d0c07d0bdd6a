"""Averaged copies of a model (EMA, SWA) whose values move with the wiring."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from wirings.attach.sparse import SparseSite
from wirings.attach.sparsifier import Sparsifier
from wirings.core.errors import WiringError
from wirings.core.names import bare
from wirings.sparse.layer import sparse_weights


def follow(copy: nn.Module, sparse: Sparsifier) -> Callable[[], None]:
    """Keep an averaged copy on the live model's wiring: after every update, what is not connected is zero there too.

    Without it an average mixes values of connections that no longer exist, and is not sparse. In truly sparse layers
    the copy's values move to the new connections; there a copy that was not told raises when it runs.

    Example:
        >>> ema = torch.optim.swa_utils.AveragedModel(model)
        >>> stop = wr.follow(ema, sparse)

    Args:
        copy: an ``AveragedModel`` or a deep copy, its parameters named as the model's (wrappers do not matter).
        sparse: what :func:`attach` returned for the live model.

    Returns:
        A function that ends the following.

    Raises:
        WiringError: if the copy lacks one of the sparse weights, or is the live model itself.
    """
    weights = {bare(name): p for name, p in copy.named_parameters(remove_duplicate=False)}
    layers = sparse_weights(copy)
    for name, site in sparse.sites.items():
        held = layers[name].values if name in layers else weights.get(name)
        if held is site.param:
            raise WiringError("`copy` of `follow` must be a copy. Got the live model itself.")
        shape = layers[name].weight_shape if name in layers else None if held is None else tuple(held.shape)
        if shape != site.shape or (name in layers) is not isinstance(site, SparseSite):
            raise WiringError(
                f"`copy` of `follow` must have the model's weights. `{name}` is missing or of another shape."
            )

    @torch.no_grad()
    def onto_the_wiring(of: Sparsifier) -> None:
        for name, support in of.supports.items():
            if name in layers:
                if support != layers[name].support:
                    layers[name].rewire(support)
            elif not support.forward.is_full:
                weights[name].masked_fill_(~support.forward.to(weights[name].device).mask, 0)

    onto_the_wiring(sparse)
    return sparse.watch(onto_the_wiring)
