"""Other people's sparse layers, where they are installed; what is missing is said, not passed over."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wirings.core.errors import SettingsError, nearest

DENSE = ("dense", "dense-bf16")
PACKAGES = {"sparseprop": "sparseprop", "sparselab": "sparselab", "mkl": "sparse_dot_mkl", "scipy": "scipy"}
"""Peer -> the package that it needs; `torch-csr` needs none."""

_HOW = {"sparseprop": "from its sources, github.com/IST-DASLab/sparseprop"}

PEERS = (*DENSE, "torch-csr", *PACKAGES)
TRAINS = ("torch-csr", "sparseprop", "sparselab")
"""Peers that have a gradient."""


def asked(names: Iterable[str], *, offers: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which of the named contenders can be measured, and why the others cannot.

    Args:
        names: of `PEERS`.
        offers: those that the benchmark knows how to run.

    Raises:
        SettingsError: a name that is none of `PEERS`.
    """
    found, missing = [], {}
    for name in names:
        if name not in PEERS:
            raise SettingsError(f"`--against` knows no {name!r}. {nearest(name, PEERS)}")
        if name not in offers:
            missing[name] = "not part of this benchmark"
        elif name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
            missing[name] = f"not installed ({_HOW.get(name, f'pip install {PACKAGES[name]}'.replace('_', '-'))})"
        else:
            found.append(name)
    return tuple(found), missing


def layer(peer: str, weight: Tensor) -> nn.Module:
    """A peer's linear layer with the non-zeros of a dense weight ``(out, in)``, bias zero; it takes ``(batch, in)``."""
    if peer == "torch-csr":
        return TorchCSR(weight)
    if peer == "sparseprop":
        kind: Any = importlib.import_module("sparseprop.modules").SparseLinear
        made: nn.Module = kind(weight.clone(), nn.Parameter(torch.zeros(weight.shape[0])))
        return made
    if peer == "sparselab":
        return _sparselab(weight)
    if peer in ("mkl", "scipy"):
        return Multiplied(peer, weight)
    raise AssertionError(f"no layer of {peer}")


def _sparselab(weight: Tensor) -> nn.Module:
    """Its layer draws its own positions; ours are put in their place, as its own `router` puts new ones."""
    package: Any = importlib.import_module("sparselab")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # "sparse CSR support is in beta"
        made: Any = package.SparseLinear(weight.shape[1], weight.shape[0])
        made._csr = package.PaddedCSR.from_dense(weight.detach())
    made._values = nn.Parameter(torch.from_numpy(np.asarray(made._csr.values)))
    nn.init.zeros_(made.bias)
    _hold_threads("sparselab")
    found: nn.Module = made
    return found


def _hold_threads(package: str) -> None:
    """A wheel's own OpenMP runtime does not hear how many threads torch has: it is told."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    for path in {line.split()[-1] for line in lines if f"/{package}.libs/libgomp" in line}:
        ctypes.CDLL(path).omp_set_num_threads(torch.get_num_threads())


class TorchCSR(nn.Module):
    """A linear layer on torch's own compressed rows, under torch's own autograd."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "sparse CSR support is in beta"
            self.weight = nn.Parameter(weight.to_sparse_csr())
        self.bias = nn.Parameter(torch.zeros(weight.shape[0], 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.sparse.mm(self.weight, x.t()) + self.bias
        return y.t()


class Multiplied(nn.Module):
    """A forward pass through scipy's or MKL's product of a sparse with a dense matrix."""

    def __init__(self, peer: str, weight: Tensor) -> None:
        super().__init__()
        from scipy.sparse import csr_array, csr_matrix

        array = weight.numpy()
        self.weight = csr_array(array) if peer == "scipy" else csr_matrix(array)
        self.product: Any = importlib.import_module("sparse_dot_mkl").dot_product_mkl if peer == "mkl" else None

    def forward(self, x: Tensor) -> Tensor:
        right = x.t().contiguous().numpy()
        found = self.weight @ right if self.product is None else self.product(self.weight, right)
        return torch.from_numpy(found).t()
