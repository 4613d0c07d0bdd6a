"""Cost: floating-point operations and bytes, forward and training, by the conventions of the papers.

A multiply-add is two operations. What a weight costs is in proportion to its connections; the gradient for its inputs
costs as much again, and the gradient for itself as much as the part of it that is computed (Evci et al. 2020,
appendix H): a step costs ``2 f(forward) + f(gradient)``, where f is the forward pass at some densities.

==============  ============================================  =====================================================
method          a step                                        as here
==============  ============================================  =====================================================
dense           3 f_D                                         ``step()`` at density 1
static, SET     3 f_S                                         ``step()``
RigL            3 f_S; 2 f_S + f_D when it listens            ``step(dense_gradient=True)`` every ΔT-th
SNFS, DNW       2 f_S + f_D                                   ``step(dense_gradient=True)``, or a full backward
frozen DNW      3 f_S from then on                            ``step()`` from then on
Top-KAST        2 f_A + f_B                                   backward densities of their own
gradual         3 f of the density of the moment              ``densities(...)`` whenever it changes
==============  ============================================  =====================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wirings.core.names import bare
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.scoring import unwrapped

Densities = Mapping[str, float]
"""Weight name -> density; a weight that is not named is dense. A :class:`Wiring` will do wherever this is asked."""

Layout = Literal["dense", "csr", "bits"]
"""How a weight lies in memory: all positions; values with columns and row pointers; values and one bit a position."""


@dataclass(frozen=True)
class LayerCost:
    """What one dense weight costs for one input: multiply-adds, and the output elements that they end in."""

    shape: tuple[int, ...]
    macs: int
    outputs: int


def layer_costs(model: nn.Module, shape: Sequence[int]) -> dict[str, LayerCost]:
    """Weight name -> its dense cost for one input, in the order in which the layers first run.

    Counts `nn.Linear`, `nn.Conv1d/2d` (and subclasses), `transformers`' `Conv1D` and the projections of
    `nn.MultiheadAttention`; norms, activations and the products inside attention are left out, as in the papers.
    The model runs once, in eval mode, on zeros; one on the device "meta" costs nothing at all.

    Example:
        >>> layer_costs(nn.Conv2d(3, 8, 3, padding=1), (1, 3, 32, 32))["weight"].macs
        221184

    Args:
        model: dense or masked; it is left as it was.
        shape: of an input batch, batch dimension first; costs are per input.
    """
    if not shape or any(type(n) is not int or n < 1 for n in shape):
        raise ValueError(f"`shape` of `layer_costs` must be the sizes of an input batch. Got {tuple(shape)!r}.")
    inner = unwrapped(model)
    found: dict[str, LayerCost] = {}

    def add(name: str, weight: Tensor, macs: int, outputs: int) -> None:
        before = found.get(name, LayerCost(tuple(weight.shape), 0, 0))
        found[name] = LayerCost(before.shape, before.macs + macs // shape[0], before.outputs + outputs // shape[0])

    def listen(path: str) -> Callable[..., None]:
        prefix = bare(f"{path}." if path else "")

        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if isinstance(module, nn.MultiheadAttention):
                _add_attention(prefix, module, (*args, *kwargs.values()), add)
                return
            weight: Tensor = module.weight
            each = weight.shape[0] if type(module).__name__ == "Conv1D" else math.prod(weight.shape[1:])
            add(f"{prefix}weight", weight, output.numel() * each, output.numel())

        return hook

    first = next(inner.parameters(), torch.empty(0))
    handles = [m.register_forward_hook(listen(n), with_kwargs=True) for n, m in inner.named_modules() if _counts(m)]
    flags = [(module, module.training) for module in inner.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused path of transformer layers calls no module
    try:
        inner.eval()  # nothing is drawn, no running mean moves
        with torch.no_grad():
            inner(torch.zeros(tuple(shape), device=first.device, dtype=first.dtype))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, flag in flags:
            module.training = flag
        for handle in handles:
            handle.remove()
    return found


def forward_flops(
    model: nn.Module | Mapping[str, LayerCost],
    shape: Sequence[int] | None = None,
    densities: Densities | Wiring | None = None,
    *,
    elementwise: int = 0,
) -> float:
    """Operations of one forward pass for one input.

    Example:
        >>> forward_flops(nn.Linear(100, 10), (1, 100), {"weight": 0.1})
        200.0

    Args:
        model: a model, or what :func:`layer_costs` said of it.
        shape: of an input batch; needed for a model.
        densities: of its weights, or a wiring; dense where nothing is said.
        elementwise: operations per output element beside the multiply-adds. The published tables of RigL count 1: the
            ReLU (a bias makes up for the addition that a dot product saves).
    """
    layers = _layers(model, shape)
    told = _told(densities, layers)
    return sum(2 * c.macs * told.get(name, 1.0) + elementwise * c.outputs for name, c in layers.items())


def step_flops(forward: float, gradient: float | None = None) -> float:
    """Operations of one training step for one input: forward, gradient of the inputs, gradient of the weights.

    Args:
        forward: operations of the forward pass.
        gradient: operations of a forward pass at the density at which the weights' gradient is computed; that of
            ``forward`` where nothing is said.
    """
    return 2 * forward + (forward if gradient is None else gradient)


def training_flops(sparse: float, dense: float, *, steps: int, dense_gradients: int = 0) -> float:
    """Operations of a training at constant density, for one input a step.

    Example:
        >>> training_flops(1.0, 10.0, steps=100, dense_gradients=1)  # RigL, every 100 steps
        309.0

    Args:
        sparse, dense: operations of the sparse and of the dense forward pass.
        steps: how many steps, all told.
        dense_gradients: how many of them computed the gradient of all positions: none for static and SET, all for SNFS
            and DNW, those up to the freezing for frozen DNW, the updates for RigL.
    """
    if not 0 <= dense_gradients <= steps:
        raise ValueError(f"`dense_gradients` of `training_flops` must be in [0, {steps}]. Got {dense_gradients!r}.")
    return steps * step_flops(sparse) + dense_gradients * (dense - sparse)


def rigl_step_flops(sparse: float, dense: float, *, every: int) -> float:
    """Mean operations of a RigL step as its paper has it: ``(3 f_S dT + 2 f_S + f_D) / (dT + 1)``.

    The paper counts the update as a step beside the ``every`` ordinary ones, not as one of them.
    """
    return (every * step_flops(sparse) + step_flops(sparse, dense)) / (every + 1)


class CostMeter:
    """Adds up what a training costs, step by step; a step costs two additions.

    Example:
        >>> meter = CostMeter({"weight": LayerCost((10, 100), 1000, 10)})
        >>> meter.densities({"weight": 0.1})
        >>> meter.step(32)
        >>> meter.step(32, dense_gradient=True)  # an update of RigL
        >>> meter.total, meter.dense_total, meter.share
        (96000.0, 384000.0, 0.25)

    Args:
        layers: what :func:`layer_costs` says of the model, or what is to be counted of it.
    """

    def __init__(self, layers: Mapping[str, LayerCost]) -> None:
        self.layers = dict(layers)
        self.dense = forward_flops(self.layers)
        self.forward = self.gradient = self.dense
        self.total = 0.0
        self.samples = self.steps = self.dense_gradients = 0

    def densities(self, forward: Densities | Wiring, backward: Densities | Wiring | None = None) -> None:
        """Say the densities from now on; called whenever a topology changes its size.

        Args:
            forward: what the forward pass uses.
            backward: what gets a gradient, where that is more (DNW, Top-KAST).
        """
        self.forward = forward_flops(self.layers, None, forward)
        self.gradient = self.forward if backward is None else forward_flops(self.layers, None, backward)

    def step(self, samples: int, *, dense_gradient: bool = False) -> None:
        """Count one training step.

        Args:
            samples: inputs in the batch.
            dense_gradient: whether this step computed the gradient of every position.
        """
        dense_gradient = dense_gradient or self.gradient >= self.dense > self.forward
        self.total += samples * step_flops(self.forward, self.dense if dense_gradient else self.gradient)
        self.samples += samples
        self.steps += 1
        self.dense_gradients += dense_gradient

    @property
    def dense_total(self) -> float:
        """What the same steps would have cost densely."""
        return self.samples * step_flops(self.dense)

    @property
    def share(self) -> float:
        """The cost so far relative to dense training; 0 before the first step."""
        return self.total / self.dense_total if self.samples else 0.0

    def state_dict(self) -> dict[str, float]:
        """What must be saved to go on after a resume."""
        return {name: getattr(self, name) for name in _COUNTED}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what :meth:`state_dict` said."""
        for name in _COUNTED:
            setattr(self, name, state[name])


_COUNTED = ("total", "samples", "steps", "dense_gradients", "forward", "gradient")


def weight_bytes(wiring: Wiring, layout: Layout = "csr", *, value: int = 4) -> int:
    """Bytes that the weights of a wiring take.

    Example:
        >>> wiring = Wiring({"fc": Topology.at((10, 100), range(50))})
        >>> [weight_bytes(wiring, layout) for layout in ("dense", "csr", "bits")]
        [4000, 344, 325]

    Args:
        wiring: its connections.
        layout: ``"csr"`` counts 16-bit columns where they fit, else 32-bit, and 32-bit row pointers (64-bit from 2^31
            connections); ``"bits"`` is the papers' way to size a model: values, and a bit a position unless dense.
        value: bytes of one value; 2 in half precision.
    """
    return sum(_bytes(t, layout, value) for t in wiring.values())


def training_bytes(wiring: Wiring, layout: Layout = "csr", *, value: int = 4, slots: int = 1) -> int:
    """Bytes of weights, gradients and optimizer memory in training; activations are left out.

    Args:
        wiring, layout, value: see :func:`weight_bytes`. The index is held once.
        slots: optimizer memory per connection: 1 for SGD with momentum, 2 for Adam.
    """
    held = wiring.numel if layout == "dense" else wiring.nnz
    return weight_bytes(wiring, layout, value=value) + (1 + slots) * value * held


def _bytes(topology: Topology, layout: Layout, value: int) -> int:
    if layout == "dense" or (layout == "bits" and topology.is_full):
        return value * topology.numel
    if layout == "bits":
        return value * topology.nnz + -(-topology.numel // 8)
    if layout == "csr":
        rows = topology.shape[0] if topology.shape else 1
        columns = math.prod(topology.shape[1:])
        pointer = 4 if topology.nnz < 1 << 31 else 8
        return topology.nnz * (value + (2 if columns <= 1 << 16 else 4)) + pointer * (rows + 1)
    raise ValueError(f"`layout` of `weight_bytes` must be 'dense', 'csr' or 'bits'. Got {layout!r}.")


def _layers(model: nn.Module | Mapping[str, LayerCost], shape: Sequence[int] | None) -> Mapping[str, LayerCost]:
    if isinstance(model, nn.Module):
        if shape is None:
            raise ValueError("`shape` of `forward_flops` must be said for a model: the sizes of an input batch.")
        return layer_costs(model, shape)
    return model


def _told(densities: Densities | Wiring | None, layers: Mapping[str, LayerCost]) -> dict[str, float]:
    """Weight name -> density, checked."""
    if densities is None:
        return {}
    if isinstance(densities, Wiring):
        densities = {name: t.density for name, t in densities.items()}
    for name, density in densities.items():
        if name not in layers:
            known = ", ".join(list(layers)[:6])
            raise ValueError(f"`densities` must name weights that run. `{name}` is none of {known}.")
        if not 0 <= density <= 1:
            raise ValueError(f"`densities` of `{name}` must be in [0, 1]. Got {density!r}.")
    return dict(densities)


def _counts(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)) or (
        type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")
    )


def _add_attention(
    prefix: str, module: nn.MultiheadAttention, inputs: tuple[Any, ...], add: Callable[[str, Tensor, int, int], None]
) -> None:
    """The projections, which the module's function computes without calling a layer."""
    tokens = [x.numel() // x.shape[-1] for x in inputs[:3]]
    width = module.embed_dim
    widths = (width, module.kdim, module.vdim)
    if module.in_proj_weight is not None:
        add(f"{prefix}in_proj_weight", module.in_proj_weight, sum(tokens) * width * width, sum(tokens) * width)
    else:
        for kind, n, wide in zip("qkv", tokens, widths, strict=True):
            add(f"{prefix}{kind}_proj_weight", getattr(module, f"{kind}_proj_weight"), n * width * wide, n * width)
    add(f"{prefix}out_proj.weight", module.out_proj.weight, tokens[0] * width * width, tokens[0] * width)
