"""Sparse kernels: compiled C++ for the CPU where it was built, plain torch everywhere else.

The functions take tensors and an index and return tensors; they know nothing of modules or autograd. `describe()` says
what runs here.
"""

from wirings.kernels.conv import (
    ConvGradients,
    ConvIndex,
    Planes,
    PlanesGradients,
    conv_backward,
    conv_forward,
    conv_planes_backward,
    conv_planes_forward,
    from_planes,
    to_planes,
    with_halo,
)
from wirings.kernels.index import SparseIndex, Transposed
from wirings.kernels.interleaved import Interleaved
from wirings.kernels.linear import (
    LinearGradients,
    linear_backward,
    linear_forward,
    pack,
    panel_width,
    panels_backward,
    panels_forward,
    sddmm,
    unpack,
)
from wirings.kernels.native import available, describe, isa
from wirings.kernels.norm import Normed, NormGradients, norm_backward, norm_forward
from wirings.kernels.pool import Window, pool_backward, pool_forward
from wirings.kernels.select import strongest, strongest_conv_gradient, strongest_gradient, top_index, top_mask

__all__ = [
    "ConvGradients",
    "ConvIndex",
    "Interleaved",
    "LinearGradients",
    "NormGradients",
    "Normed",
    "Planes",
    "PlanesGradients",
    "SparseIndex",
    "Transposed",
    "Window",
    "available",
    "conv_backward",
    "conv_forward",
    "conv_planes_backward",
    "conv_planes_forward",
    "describe",
    "from_planes",
    "isa",
    "linear_backward",
    "linear_forward",
    "norm_backward",
    "norm_forward",
    "pack",
    "panel_width",
    "panels_backward",
    "panels_forward",
    "pool_backward",
    "pool_forward",
    "sddmm",
    "strongest",
    "strongest_conv_gradient",
    "strongest_gradient",
    "to_planes",
    "top_index",
    "top_mask",
    "unpack",
    "with_halo",
]
