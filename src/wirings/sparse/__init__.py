"""Floor 3: layers that live in sparse storage, and the way to them and back."""

from wirings.sparse.conv import SparseConv2d
from wirings.sparse.conv1d import SparseConv1D
from wirings.sparse.convert import stays_dense, to_dense, to_sparse
from wirings.sparse.layer import SparseLayer, sparse_weights
from wirings.sparse.linear import SparseLinear
from wirings.sparse.planes import keep_planes
from wirings.sparse.sequential import SparseSequential

__all__ = [
    "SparseConv1D",
    "SparseConv2d",
    "SparseLayer",
    "SparseLinear",
    "SparseSequential",
    "keep_planes",
    "sparse_weights",
    "stays_dense",
    "to_dense",
    "to_sparse",
]
