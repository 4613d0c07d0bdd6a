"""Paths: which connections lie on a way from an input to an output, and how many ways there are.

At high sparsity many connections hang loose: they enter units that nothing leaves, or leave units that nothing enters.
Report the effective density beside the nominal one from 98 % sparsity on (Vysogorets & Kempe 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wirings.core.errors import WiringError
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.homogeneous import Homogeneous
from wirings.makers.prunable import prunable
from wirings.makers.scoring import keys_of, logits, untouched, unwrapped

_EXACT_IN_FLOAT64 = 1 << 53


def effective(wiring: Wiring, *, order: Sequence[str] | None = None) -> Wiring:
    """The connections of a chain of layers that lie on at least one path from an input to an output.

    For layers that follow one another: linear ones, convolutions (channel by channel) and a flattening between them,
    where each channel becomes a group of features. Networks with shortcuts go to :func:`effective_wiring`: taken for
    chains, their shortcuts would be overlooked.

    Example:
        >>> chain = {"fc1": Topology.at((2, 2), [0, 3]), "fc2": Topology.at((1, 2), [0])}  # unit 1 leads nowhere
        >>> effective(Wiring(chain)).counts
        {'fc1': 1, 'fc2': 1}

    Args:
        wiring: the layers in their order, from input to output.
        order: their names in that order, where the wiring has another; weights not named are left out.

    Raises:
        WiringError: if two layers in a row do not fit together.
    """
    names = list(wiring) if order is None else list(order)
    matrices = [_channels(wiring[name]) for name in names]
    ways = _groups(names, [wiring[name] for name in names])
    reached: list[Tensor] = []  # which inputs of each layer a path from the network's inputs leads to
    alive = torch.ones(matrices[0].shape[1], dtype=torch.bool) if matrices else torch.empty(0, dtype=torch.bool)
    for matrix, group in zip(matrices, ways, strict=True):
        alive = alive.repeat_interleave(group)
        reached.append(alive)
        alive = (matrix & alive).any(1)
    leads: list[Tensor] = []  # which outputs of each layer lead on to the network's outputs
    alive = torch.ones(matrices[-1].shape[0], dtype=torch.bool) if matrices else alive
    for matrix, group in zip(reversed(matrices), reversed(ways), strict=True):
        leads.append(alive)
        alive = (matrix & alive[:, None]).any(0).view(-1, group).any(1)
    found = {}
    for name, inputs, outputs in zip(names, reached, reversed(leads), strict=True):
        mask = wiring[name].mask.cpu()
        extra = (1,) * (mask.ndim - 2)
        found[name] = Topology.of(mask & outputs.view(-1, 1, *extra) & inputs.view(1, -1, *extra))
    return Wiring(found)


def effective_density(wiring: Wiring, *, order: Sequence[str] | None = None) -> float:
    """Density of the :func:`effective` connections of a chain of layers."""
    return effective(wiring, order=order).density


def effective_wiring(model: nn.Module, wiring: Wiring, shape: Sequence[int]) -> Wiring:
    """The connections of any network that lie on at least one path from an input to an output.

    The network runs once in float64 on ones, with positive weights where connections exist, without biases, its
    norms and activations replaced by positive stand-ins and its maximum pooling by means: what gets a gradient lies
    on a path. So shortcuts, branches, concatenations and attention need no description. A shortcut is a path by
    itself: a block may lose all its connections and the network still lead through.

    Images are followed position by position, so it can find a few connections fewer than :func:`effective`, which sees
    channels: a kernel element that meets nothing but padding lies on no path.

    Args:
        model: dense or masked, on any device; it is left as it was. Its own weights do not matter.
        wiring: of some or all of its :func:`prunable` weights; the others count as dense.
        shape: of one input, batch dimension first: ``(1, 3, 32, 32)``.

    Raises:
        WiringError: if the wiring does not belong to the model.
    """
    bare_model = unwrapped(model)
    weights = prunable(bare_model)
    wiring.check({name: tuple(w.shape) for name, w in weights.items()}, whose="the model")
    keys = keys_of(bare_model)
    device = next(iter(weights.values())).device if weights else torch.device("cpu")
    state = {name: _positive(tensor, name) for name, tensor in bare_model.state_dict(keep_vars=True).items()}
    leaves = {}
    for name, topology in wiring.items():
        mask = topology.mask.to(device).double()
        fan_in = mask.flatten(1).sum(1).clamp(min=1)  # means, not sums: however deep, nothing overflows
        leaves[name] = (mask / fan_in.view(-1, *[1] * (mask.ndim - 1))).requires_grad_()
        state[keys[name]] = leaves[name]
    ones = torch.ones(tuple(shape), dtype=torch.float64, device=device)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # for what a forward pass makes by itself
    try:
        with untouched(bare_model), Homogeneous(bare_model), _MeansForMaxima():
            total = logits(functional_call(bare_model, state, (ones,))).sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    finally:
        torch.set_default_dtype(before)
    found = {}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        on_path = torch.zeros_like(leaf) if gradient is None else gradient * leaf.detach()
        found[name] = Topology.of(on_path != 0).to(wiring[name].device)
    return Wiring(found)


def path_counts(topologies: Sequence[Topology]) -> NDArray[np.object_]:
    """How many paths lead from every input to every output, exactly, as Python integers, shape ``(outputs, inputs)``.

    For layers that follow one another, as :func:`effective` takes them. Every kernel element of a convolution is a
    way of its own, and every feature of a flattened channel too.

    Example:
        >>> path_counts([Topology.full((2, 2)), Topology.full((1, 2))]).tolist()
        [[2, 2]]
    """
    names = [str(place) for place in range(len(topologies))]
    product: NDArray[Any] | None = None
    for topology, group in zip(topologies, _groups(names, topologies), strict=True):
        matrix = topology.mask.cpu().reshape(topology.shape[0], topology.shape[1], -1).sum(2).numpy()
        matrix = matrix.reshape(matrix.shape[0], -1, group).sum(2)
        product = matrix.astype(object) if product is None else _times(matrix, product)
    if product is None:
        raise ValueError("`topologies` of `path_counts` must hold at least one layer. Got none.")
    return product


def _times(matrix: NDArray[np.int64], counts: NDArray[np.object_]) -> NDArray[np.object_]:
    """An exact product: by floats where no sum can pass 2^53, by Python integers row by row otherwise."""
    largest = max(counts.max(initial=0), 0) * int(matrix.sum(1).max(initial=0))
    if largest < _EXACT_IN_FLOAT64:
        product: NDArray[np.object_] = (matrix.astype(float) @ counts.astype(float)).astype(np.int64).astype(object)
        return product
    rows = [(counts[row > 0] * row[row > 0, None].astype(object)).sum(0) for row in matrix]
    return np.array([row if isinstance(row, np.ndarray) else np.zeros(counts.shape[1], object) for row in rows], object)


def _channels(topology: Topology) -> Tensor:
    """Which input unit or channel each output is connected to, shape (out, in)."""
    if len(topology.shape) < 2:
        raise WiringError(f"A chain of layers needs weights with outputs and inputs. Got shape {topology.shape}.")
    return topology.mask.cpu().flatten(2).any(2) if len(topology.shape) > 2 else topology.mask.cpu()


def _groups(names: Sequence[str], topologies: Sequence[Topology]) -> list[int]:
    """How many inputs of each layer one output of the layer before became: more than one where it was flattened."""
    groups = [1]
    for place in range(1, len(topologies)):
        outs, ins = topologies[place - 1].shape[0], topologies[place].shape[1]
        if not outs or ins % outs:
            raise WiringError(
                f"`{names[place]}` does not follow `{names[place - 1]}`: {ins} inputs for {outs} outputs. For networks "
                "that are no chain: effective_wiring(model, wiring, shape)."
            )
        groups.append(ins // outs)
    return groups[: len(topologies)]


def _positive(tensor: Tensor, name: str) -> Tensor:
    """What stands in for a tensor that has no topology: ones for weights and scales, zeros for biases and means."""
    value = tensor.detach()
    if not value.is_floating_point():
        return value.clone()
    last = name.rpartition(".")[2]
    if "bias" in last or last == "running_mean":
        return torch.zeros_like(value, dtype=torch.float64)
    fan_in = max(value[0].numel(), 1) if value.ndim > 1 else 1
    return torch.full_like(value, 1 / fan_in, dtype=torch.float64)


class _MeansForMaxima(TorchFunctionMode):
    """Within: pooling takes means, so that every position of a window has a gradient, not the first of equals."""

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # Any: as torch declares it
        mean = _MEANS.get(func)
        given = dict(kwargs or {})
        if mean is None or given.get("return_indices") or given.get("dilation", 1) not in (1, (1,), (1, 1)):
            return func(*args, **given)
        return mean(*args, **{key: value for key, value in given.items() if key not in ("dilation", "return_indices")})


_MEANS: dict[Any, Any] = {  # Any: torch's pooling functions are dispatchers without a type
    F.max_pool1d: F.avg_pool1d,
    F.max_pool2d: F.avg_pool2d,
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
}
