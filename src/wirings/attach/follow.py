"""Averaged copies of a model (EMA, SWA) whose values move with the wiring."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from wirings.attach.sparsifier import Sparsifier
from wirings.core.errors import WiringError
from wirings.core.names import bare


def follow(copy: nn.Module, sparse: Sparsifier) -> Callable[[], None]:
    """Keep an averaged copy on the live model's wiring: after every update, what is not connected is zero there too.

    Without it an average mixes values of connections that no longer exist, and is not sparse.

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
    for name, site in sparse.sites.items():
        if name not in weights or tuple(weights[name].shape) != site.shape:
            raise WiringError(
                f"`copy` of `follow` must have the model's weights. `{name}` is missing or of another shape."
            )
        if weights[name] is site.param:
            raise WiringError("`copy` of `follow` must be a copy. Got the live model itself.")

    @torch.no_grad()
    def onto_the_wiring(of: Sparsifier) -> None:
        for name, topology in of.wiring.items():
            if not topology.is_full:
                weights[name].masked_fill_(~topology.to(weights[name].device).mask, 0)

    onto_the_wiring(sparse)
    return sparse.watch(onto_the_wiring)
