"""Optimizers as settings: which one a run uses, and with what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import torch
from torch import nn

from wirings.core.settings import OneOf, in_range, register


class OptimizerSettings(Protocol):
    """Makes an optimizer of ``torch.optim`` for these parameters; the loop sets its learning rate at every step."""

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer: ...


AnyOptimizer = Annotated[OptimizerSettings, OneOf("optimizer")]
"""How a settings field says that it holds an optimizer's settings."""


@register("optimizer")
@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent.

    Args:
        momentum: 0.9, as nearly every paper here has it.
        nesterov: look ahead along the momentum.
        weight_decay: L2 strength on every parameter, biases and norms too, as in the papers' code. Neutral: 0.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    kind: Literal["sgd"] = field(default="sgd", repr=False)

    def __post_init__(self) -> None:
        in_range("momentum", self, 0, 1, open_high=True)
        in_range("weight_decay", self, 0, 1e6)
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` of `SGD` needs a `momentum` above 0. Got 0.")

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )


@register("optimizer")
@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015), its weight decay part of the gradient.

    Args:
        betas: decay of the running means of gradient and square.
        eps: added to the root of the square.
        weight_decay: L2 strength on every parameter. Neutral: 0.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    kind: Literal["adam"] = field(default="adam", repr=False)

    def __post_init__(self) -> None:
        _check_adam(self)

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, lr=learning_rate, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )


@register("optimizer")
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam whose weight decay shrinks the weights directly (Loshchilov & Hutter 2019).

    Args:
        betas: decay of the running means of gradient and square.
        eps: added to the root of the square.
        weight_decay: 0.01, as in PyTorch.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    kind: Literal["adamw"] = field(default="adamw", repr=False)

    def __post_init__(self) -> None:
        _check_adam(self)

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, lr=learning_rate, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )


def _check_adam(owner: Adam | AdamW) -> None:
    for beta in owner.betas:
        in_range("betas", owner, 0, 1, open_high=True, of=beta)
    in_range("eps", owner, 0, 1)
    in_range("weight_decay", owner, 0, 1e6)
