"""Parameter groups: weight decay for weights, none for biases and norms."""

from __future__ import annotations

from typing import Any

from torch import nn


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights decay; biases, norms and other vectors do not.

    The usual idiom ``p.ndim < 2`` takes the values of a truly sparse layer for a bias; this one does not.

    Example:
        >>> groups = param_groups(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 1e-4)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(1, 0.0001), (3, 0.0)]

    Args:
        model: any module, dense or truly sparse.
        weight_decay: of the first group.
    """
    decayed: dict[int, nn.Parameter] = {}
    spared: dict[int, nn.Parameter] = {}
    for module in model.modules():
        sparse_values = getattr(module, "sparse_values", ())  # names of 1-D parameters that are weights
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.requires_grad:
                continue
            weight = parameter.ndim >= 2 or name in sparse_values
            (decayed if weight else spared)[id(parameter)] = parameter
    return [
        {"params": list(decayed.values()), "weight_decay": weight_decay},
        {"params": [p for key, p in spared.items() if key not in decayed], "weight_decay": 0.0},
    ]
