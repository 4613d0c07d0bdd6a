"""torch's fused transformer layers read the weights of their children; where those are sparse, that way is closed."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from wirings.sparse.layer import SparseLayer


def close_shortcuts(model: nn.Module) -> None:
    """Make encoder layers with sparse children take the way through their children's ``forward``.

    In eval mode ``nn.TransformerEncoderLayer`` and ``nn.TransformerEncoder`` hand ``linear1.weight`` and the like to
    one fused kernel. These public attributes of theirs tell them not to; the result is the same.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and _holds_sparse(module):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder) and _holds_sparse(module) and module.use_nested_tensor:
            module.use_nested_tensor, module.__dict__["nested_before_sparse"] = False, True


def open_shortcuts(model: nn.Module) -> None:
    """As it was, for modules that hold nothing sparse any more."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and not _holds_sparse(module):
            module.activation_relu_or_gelu = {F.relu: 1, F.gelu: 2}.get(module.activation, 0)
        elif module.__dict__.get("nested_before_sparse") and not _holds_sparse(module):
            del module.__dict__["nested_before_sparse"]
            module.use_nested_tensor = True  # type: ignore[assignment]


def _holds_sparse(module: nn.Module) -> bool:
    return any(isinstance(m, SparseLayer) for m in module.modules())
