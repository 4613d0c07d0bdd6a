"""Other people's sparse layers, where they are installed; what is missing is said, not passed over.

Two peers are runtimes that people deploy with: onnxruntime and openvino are given the whole network, zeros among its
weights, as one graph. Neither looks for zeros in float32, so that they say what a fast dense product would take.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wirings.core.errors import SettingsError, nearest

Layers = Sequence[tuple[Tensor, Tensor]]
"""Weight ``(out, in)`` and bias ``(out,)`` of each layer of a chain."""

DENSE = ("dense", "dense-bf16")
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "sparseprop": ("sparseprop",),
    "sparselab": ("sparselab",),
    "mkl": ("sparse_dot_mkl",),
    "scipy": ("scipy",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino",),
}
"""Peer -> the packages that it needs; `torch-csr` needs none."""

_HOW = {"sparseprop": "from its sources, github.com/IST-DASLab/sparseprop"}

PEERS = (*DENSE, "torch-csr", *PACKAGES)
TRAINS = ("torch-csr", "sparseprop", "sparselab")
"""Peers that have a gradient."""
GRAPHS = ("onnxruntime", "openvino")
"""Peers that run a whole network as one graph, forward only."""
REFUSED = {"nerva": "nerva-torch has dense layers only, by torch's own product, which the dense rows measure"}
"""Asked for and not taken in -> why."""


def asked(names: Iterable[str], *, offers: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which of the named contenders can be measured, and why the others cannot.

    Args:
        names: of `PEERS`, or of `REFUSED`, which no benchmark runs.
        offers: those that the benchmark knows how to run.

    Raises:
        SettingsError: a name that is none of `PEERS`.
    """
    found, missing = [], {}
    for name in names:
        if name in REFUSED:
            missing[name] = f"not part of this benchmark: {REFUSED[name]}"
            continue
        if name not in PEERS:
            raise SettingsError(f"`--against` knows no {name!r}. {nearest(name, PEERS)}")
        if name not in offers:
            missing[name] = "not part of this benchmark"
        elif not installed(name):
            packages = " ".join(PACKAGES[name]).replace("_", "-")
            missing[name] = f"not installed ({_HOW.get(name, f'pip install {packages}')})"
        else:
            found.append(name)
    return tuple(found), missing


def installed(peer: str) -> bool:
    """Whether all packages that it needs are there."""
    return all(importlib.util.find_spec(package) is not None for package in PACKAGES.get(peer, ()))


def layer(peer: str, weight: Tensor, *, batch: int) -> nn.Module:
    """A peer's linear layer with the non-zeros of a dense weight ``(out, in)``, bias zero; it takes ``(batch, in)``."""
    if peer in GRAPHS:
        return graph(peer, [(weight, torch.zeros(weight.shape[0]))], batch=batch)
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


def graph(peer: str, layers: Layers, *, batch: int) -> nn.Module:
    """Linear layers with ReLU between them as a runtime's graph in float32, compiled for a batch.

    It computes on as many threads as torch has now, reads its input where it is, and writes its result where the last
    one was.

    Args:
        peer: of `GRAPHS`.
        layers: weight ``(out, in)`` and bias ``(out,)`` of each.
        batch: the only one that it takes.
    """
    kinds: dict[str, Callable[..., nn.Module]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVINO}
    return kinds[peer](layers, batch)


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


class Graph(nn.Module):
    """A compiled chain whose input and result are bound to it, and bound anew only when another input comes."""

    def __init__(self, layers: Layers, batch: int) -> None:
        super().__init__()
        self.y = torch.empty(batch, layers[-1][0].shape[0])
        self.x: Tensor | None = None

    @abstractmethod
    def bind(self, x: Tensor) -> None:
        """Read from ``x`` from now on, without a copy."""

    @abstractmethod
    def compute(self) -> None:
        """Read the input that is bound, write the result."""

    def forward(self, x: Tensor) -> Tensor:
        if x is not self.x:
            assert x.is_contiguous()
            self.bind(x)
            self.x = x
        self.compute()
        return self.y


class OnnxRuntime(Graph):
    """A chain of ``Gemm`` and ``Relu``, weights as initialisers; one thread is the one that calls."""

    def __init__(self, layers: Layers, batch: int) -> None:
        super().__init__(layers, batch)
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        # Workers that spin while they wait would take a core from whoever has the next turn.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = self._model(layers, batch).SerializeToString()
        self.session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.binding.bind_output("y", "cpu", 0, np.float32, tuple(self.y.shape), self.y.data_ptr())

    def bind(self, x: Tensor) -> None:
        self.binding.bind_input("x", "cpu", 0, np.float32, tuple(x.shape), x.data_ptr())

    def compute(self) -> None:
        self.session.run_with_iobinding(self.binding)

    @staticmethod
    def _model(layers: Layers, batch: int) -> Any:
        onnx: Any = importlib.import_module("onnx")
        nodes, held, last = [], [], "x"
        for i, (weight, bias) in enumerate(layers):
            final = i == len(layers) - 1
            held += [onnx.numpy_helper.from_array(t.numpy(), f"{k}{i}") for k, t in (("w", weight), ("b", bias))]
            product = "y" if final else f"z{i}"
            nodes.append(onnx.helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [product], transB=1))
            if not final:
                last = f"a{i}"
                nodes.append(onnx.helper.make_node("Relu", [product], [last]))
        kind, (out, into) = onnx.TensorProto.FLOAT, (layers[-1][0].shape[0], layers[0][0].shape[1])
        x, y = (onnx.helper.make_tensor_value_info(name, kind, [batch, n]) for name, n in (("x", into), ("y", out)))
        made = onnx.helper.make_graph(nodes, "chain", [x], [y], held)
        # Versions that every onnxruntime of the last years reads; onnx would write its newest.
        return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


class OpenVINO(Graph):
    """A chain of ``MatMul``, ``Add`` and ``Relu`` with constant weights; one thread is the one that calls.

    Its decompression of sparse weights (``CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE``) is for int8 on AMX only, so that
    float32 weights stay dense.
    """

    def __init__(self, layers: Layers, batch: int) -> None:
        super().__init__(layers, batch)
        openvino: Any = importlib.import_module("openvino")
        compiled = openvino.Core().compile_model(self._model(layers, batch), "CPU", self._settings())
        self.request = compiled.create_infer_request()
        self.tensor: Any = openvino.Tensor
        self.request.set_output_tensor(self.tensor(self.y.numpy(), shared_memory=True))

    def bind(self, x: Tensor) -> None:
        self.request.set_input_tensor(self.tensor(x.numpy(), shared_memory=True))

    def compute(self) -> None:
        self.request.infer(share_outputs=True)

    @staticmethod
    def _settings() -> dict[str, object]:
        return {
            "INFERENCE_PRECISION_HINT": "f32",  # where the processor has bfloat16, that is what it takes by itself
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # the calling thread serves the other contenders too
        }

    @staticmethod
    def _model(layers: Layers, batch: int) -> Any:
        openvino, op = importlib.import_module("openvino"), importlib.import_module("openvino.opset13")
        first = last = op.parameter([batch, layers[0][0].shape[1]], np.float32)
        for i, (weight, bias) in enumerate(layers):
            product = op.matmul(last, op.constant(weight.numpy()), False, True)
            last = op.add(product, op.constant(bias.numpy()[None]))
            if i < len(layers) - 1:
                last = op.relu(last)
        return openvino.Model([op.result(last)], [first])
