"""Mixed precision: forward passes in bfloat16 or float16, and gradients that come out in float32 nevertheless."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_LEAST_SCALE = 2.0**-16
"""Gradients that overflow float16 even so are not finite themselves."""


class Precision:
    """What a run multiplies in.

    The small gradients of float16 would vanish, so the loss is multiplied before the backward pass and the gradients
    are divided after it (Micikevicius et al. 2018); the scale is that of ``torch.amp.GradScaler``. Differs from its
    habit: where gradients overflow, the step is not left out. The same backward pass is made again at half the scale,
    so that step n is the n-th of the method's schedule too, and its batch that of any other precision.

    Example:
        >>> precision = Precision("bfloat16", torch.device("cpu"))
        >>> with precision.autocast():
        ...     loss = F.cross_entropy(model(images), labels)
        >>> precision.backward(loss, optimizer)
        True

    Args:
        autocast: ``"none"``, ``"bfloat16"`` or ``"float16"``.
        device: where the run trains.
    """

    def __init__(self, autocast: str, device: torch.device) -> None:
        self._dtype = None if autocast == "none" else getattr(torch, autocast)
        self._device = device.type
        self._scaler = torch.amp.GradScaler(self._device, enabled=autocast == "float16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Within: forward passes and losses. Without autocast nothing is changed, also not what stands around it."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device, self._dtype)

    def backward(self, loss: Tensor, optimizer: Optimizer) -> bool:
        """Leave the gradients of the loss in ``.grad``; false where they overflow at every scale."""
        scaler = self._scaler
        while (scale := scaler.get_scale()) >= _LEAST_SCALE:
            scaler.scale(loss).backward(retain_graph=scaler.is_enabled())  # type: ignore[no-untyped-call]
            scaler.unscale_(optimizer)
            scaler.update()
            if scaler.get_scale() >= scale:
                return True
            optimizer.zero_grad()
        return False

    def state_dict(self) -> dict[str, Any]:
        """The scale and how long it has held; empty where there is none."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._scaler.load_state_dict(dict(state))
