"""What numbers are stored as and what they are computed in: half precision, seen by the kernels.

bfloat16 is widened as it is read, computed and added up in float32, and rounded once, as it is written. Values and
biases may be kept wider than the activations they meet, as under autocast; gradients that are sums over the batch are
float32, rounded only where what they belong to is narrower.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wirings.kernels import native

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
"""Of activations, that there are compiled kernels for."""


def compiled(x: Tensor) -> native.Library | None:
    """The compiled kernels, where there are some for such a tensor."""
    return native.library() if x.device.type == "cpu" and x.dtype in DTYPES else None


def computed(x: Tensor) -> torch.dtype:
    """What products and sums of such numbers are computed in."""
    return torch.promote_types(x.dtype, torch.float32)


def as_stored(tensor: Tensor, x: Tensor) -> Tensor:
    """Values or a bias in the dtype of the activations."""
    return tensor.to(x.dtype).contiguous()


def sums(n: int, x: Tensor) -> Tensor:
    """Room for what is added up over the batch."""
    return torch.empty(n, dtype=computed(x), device=x.device)


def given(gradient: Tensor, gb: Tensor | None, values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Such sums for values and a bias, rounded where the values are narrower."""
    return gradient.to(values.dtype), None if gb is None else gb.to(values.dtype)


def check_alike(name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor, *, wider: bool = False) -> None:
    """Refuses another shape, dtype or device than the input asks for; ``wider``: it may be kept in a wider dtype."""
    if tensor.shape != shape:
        raise ValueError(f"`{name}` must have shape {tuple(shape)}. Got {tuple(tensor.shape)}.")
    fits = tensor.dtype == like.dtype or (wider and like.dtype == torch.bfloat16 and tensor.dtype in DTYPES)
    if not fits or tensor.device != like.device:
        wanted, got = (f"{t.dtype} on {t.device}" for t in (like, tensor))
        raise TypeError(f"`{name}` must be {wanted}, as its input is. Got {got}.")
