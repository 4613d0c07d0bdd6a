"""What every layer in sparse storage has in common: values, a topology in buffers, and an ear for gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from wirings.core.errors import WiringError
from wirings.core.names import bare
from wirings.core.support import Support
from wirings.core.topology import Topology, positions_of
from wirings.kernels.index import SparseIndex
from wirings.sparse.buffers import checked_support, members
from wirings.sparse.lineage import Lineage
from wirings.sparse.move import Move
from wirings.sparse.product import registered, sparse_product

_STORED = {"pointer": torch.int64, "column": torch.int32, "used": torch.bool}
_REMEMBERED_UP_TO = 1 << 20  # connections whose topologies stay cached; they take eight bytes each

Swapped = Callable[[nn.Parameter, nn.Parameter], None]
"""Told (old, new) when a layer's values become another Parameter, because their number changed."""


class SparseLayer(nn.Module):
    """A layer whose weight exists only where it is connected.

    ``values`` is a 1-D parameter, one number for each connection of the backward support, in ascending flat order. The
    topology lives in two buffers, ``pointer`` and ``column`` (compressed rows of the weight seen as a matrix), so
    ``state_dict``, ``deepcopy``, ``pickle`` and DDP carry it; where the forward pass uses fewer connections than are
    trained, a third, ``used``, says which. A dense checkpoint's ``weight`` loads into it under its own key.

    The values parameter stays the same object as long as the number of connections does. Kinds of layers say how a
    product and its gradients are made: ``index_of``, ``_multiply``, ``_gradients``, ``_output_like``,
    ``gradient_at`` and ``gradient_rows``.
    """

    sparse_values: ClassVar[tuple[str, ...]] = ("values",)
    """Names of the 1-D parameters that are weights, not biases: :func:`wirings.param_groups` decays them."""

    pointer: Tensor
    column: Tensor
    used: Tensor | None
    bias: nn.Parameter | None
    _index: SparseIndex | None
    _forward_index: SparseIndex | None
    _support: Support | None
    _places: Tensor | None
    _seen: tuple[Any, ...]
    _pairs: list[tuple[Tensor, Tensor, int]]
    _heard_in: int

    def __init__(self, support: Support, values: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight_shape = support.backward.shape
        own = values if isinstance(values, nn.Parameter) else nn.Parameter(values.detach().reshape(-1).clone())
        if own.shape != (support.backward.nnz,):
            raise WiringError(f"{support.backward.nnz} connections need as many values. Got {tuple(own.shape)}.")
        self.values = own
        given = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias.detach().clone())
        self.register_parameter("bias", given)
        for name in ("pointer", "column", "used"):
            self.register_buffer(name, None)
        self._shared: list[SparseLayer] = [self]  # every layer with these very values; one list for all of them
        self._lineage = Lineage()
        self.on_swap: Swapped | None = None
        self.listening = False
        self.key = registered(self)
        self._forget_all()
        self.wire(support)

    # ------------------------------------------------------------------ topology

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """The weight seen as a matrix ``(out, in * ...)``."""
        return self.weight_shape[0], math.prod(self.weight_shape[1:])

    @property
    def support(self) -> Support:
        """Which connections the forward pass uses, and which train."""
        index = self.index  # also notices buffers that were written to
        if self._support is None:
            full = index.nnz == math.prod(self.weight_shape)
            backward = Topology.full(self.weight_shape, device=index.device) if full else self._told(index.flat())
            if self.used is None:
                self._support = Support.both(backward)
            elif full:
                self._support = Support(Topology.of(self.used.view(self.weight_shape)), backward)
            else:
                self._support = Support(self._told(self.in_use(backward.index)), backward)
        return self._support

    def _told(self, flat: Tensor) -> Topology:
        return Topology.at(self.weight_shape, flat, trusted=True)

    @property
    def topology(self) -> Topology:
        """The connections that the forward pass uses."""
        return self.support.forward

    @property
    def index(self) -> SparseIndex:
        """Of every trained connection, as the kernels read it."""
        if self._index is None or not self._is_current():
            self._read_buffers()
        assert self._index is not None
        return self._index

    @property
    def forward_index(self) -> SparseIndex:
        """Of the connections that the forward pass uses."""
        index = self.index
        if self.used is None:
            return index
        if self._forward_index is None:
            whole = index.nnz == math.prod(self.weight_shape)
            self._forward_index = self.index_of(self.places if whole else index.flat().index_select(0, self.places))
        return self._forward_index

    @property
    def places(self) -> Tensor:
        """Which of the connections that train the forward pass uses, by their number; ``used`` is not none."""
        _ = self.index  # notices buffers that were written to
        if self._places is None:
            assert self.used is not None
            self._places = positions_of(self.used)
        return self._places

    def in_use(self, values: Tensor) -> Tensor:
        """Of numbers one for each connection that trains, those that the forward pass uses."""
        return values if self.used is None else values.index_select(0, self.places)

    def wire(self, support: Support) -> None:
        """Take another topology; the caller sees to ``values``, one for each connection of ``support.backward``."""
        if support.backward.shape != self.weight_shape:
            raise WiringError(
                f"A layer of shape {self.weight_shape} cannot take a topology of {support.backward.shape}."
            )
        device = self.values.device
        index = self.index_of(support.backward.index.to(device))
        used = None if support.is_plain else members(support.backward, support.forward).to(device)
        fresh = {"pointer": index.pointer, "column": index.column, "used": used}
        stays = self.column is not None and self.column.shape == (index.nnz,) and self.column.device == device
        for name, tensor in fresh.items():
            old = getattr(self, name)
            if stays and old is not None and tensor is not None:
                old.copy_(tensor)  # in place: a state_dict taken before goes on to fit the values, which move in place
            else:
                # clones: an index is immutable, the buffers are not
                setattr(self, name, None if tensor is None else tensor.to(_STORED[name], copy=True))
        self._forget_all()
        self._index, self._seen = index, self._now()
        self._lineage.moved()

    def rewire(self, support: Support) -> Move:
        """Take another support, in every layer that shares the values: kept ones stay, new ones start at zero.

        Returns what moves any other tensor with a number for each connection (optimizer memory).
        """
        move = Move(self.support.backward, support.backward)
        old, grad = self.values, self.values.grad
        with torch.no_grad():
            fresh = move(old.detach())
            moved_grad = None if grad is None else move(grad)
            if fresh.shape == old.shape:
                old.copy_(fresh)
                if grad is not None and moved_grad is not None:
                    grad.copy_(moved_grad)
            else:
                values = nn.Parameter(fresh, old.requires_grad)
                values.grad = moved_grad
                self._swap(values)
            for layer in self._shared:
                layer.wire(support)
        return move

    def use(self, support: Support) -> None:
        """Let the forward pass use other connections of those that train, in every layer that shares the values."""
        used = None if support.is_plain else members(support.backward, support.forward).to(self.values.device)
        for layer in self._shared:
            _ = layer.index  # what trains stays; nothing of it is made again
            if layer.used is not None and used is not None:
                layer.used.copy_(used)
            else:
                layer.used = None if used is None else used.clone()
            layer._forward_index = layer._support = layer._places = None
            layer._pairs.clear()
            layer._seen = layer._now()
            layer._lineage.moved()

    def forget_support(self) -> None:
        """Let go of cached topologies where they are large; they are made again when asked for."""
        if self.values.numel() > _REMEMBERED_UP_TO:
            self._support = None

    def share(self, other: SparseLayer) -> None:
        """Use the values and the topology of another layer from now on (tied weights)."""
        if other.weight_shape != self.weight_shape:
            raise WiringError(f"Layers of shapes {other.weight_shape} and {self.weight_shape} cannot share values.")
        self.values = other.values
        self._shared = other._shared
        self._shared.append(self)
        self.wire(other.support)

    def dense_weight(self) -> Tensor:
        """The weight as a dense tensor, zero where the forward pass uses nothing."""
        dense = self.values.new_zeros(math.prod(self.weight_shape))
        dense[self.forward_index.flat()] = self.in_use(self.values.detach())
        return dense.view(self.weight_shape)

    def to_dense(self) -> nn.Module:
        """The dense layer that computes the same; it shares the bias."""
        raise AssertionError("a kind of layer says what its dense equal is")

    # ------------------------------------------------------------------ products

    def index_of(self, flat: Tensor) -> SparseIndex:
        """These flat positions as the kernels of this kind of layer read them."""
        return SparseIndex(self.matrix_shape, flat)

    def _multiply(self, index: SparseIndex, values: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's result."""
        raise AssertionError("a kind of layer says how it multiplies")

    def _gradients(
        self, index: SparseIndex, values: Tensor, x: Tensor, grad: Tensor, need: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Gradients of input, values and bias; ``need`` says whether input's and bias's are wanted."""
        raise AssertionError("a kind of layer says what its gradients are")

    def _output_like(self, x: Tensor) -> Tensor:
        """An empty tensor with shape and memory format of the result."""
        raise AssertionError("a kind of layer says what it returns")

    def _outputs(self) -> int:
        """Units that a bias would have."""
        return self.weight_shape[0]

    def gradient_at(self, index: SparseIndex, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient of the dense weight at these positions only."""
        raise AssertionError("a kind of layer says what its gradients are")

    def gradient_rows(self, first: int, last: int, x: Tensor, grad: Tensor) -> Tensor:
        """Rows of the gradient of the dense weight, ``(last - first, columns)``."""
        raise AssertionError("a kind of layer says what its gradients are")

    def _is_dense(self) -> bool:
        """Whether nothing is missing, so that torch's own product serves; refuses stale copies on the way."""
        if not torch.compiler.is_compiling():
            self._lineage.check(self.values, self.training and torch.is_grad_enabled())
        return self.used is None and self.values.numel() == math.prod(self.weight_shape)

    def _product(self, x: Tensor) -> Tensor:
        """The layer's result for an input of the kernels' form, under autograd, autocast and torch.compile."""
        return sparse_product(self, x)

    # ------------------------------------------------------------------ hearing

    def hear(self, x: Tensor, grad: Tensor) -> None:
        """Called in a backward pass: keep what the gradient of the dense weight would be made of."""
        if not self.listening:
            return
        task, held = torch._C._current_graph_task_id(), self.values.grad
        if task != self._heard_in and (held is None or not bool(held.any())):
            self._pairs.clear()  # the first backward pass of this step: what an abandoned one left is gone
        self._heard_in = task
        self._pairs.append((x, grad, x._version))

    def heard(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(input, gradient of the result) of every backward pass since the last step, of all layers that share."""
        for layer in self._shared:
            for x, grad, version in layer._pairs:
                if x._version != version:
                    raise WiringError(
                        "An input of a sparse layer was overwritten between backward and step, so the gradient outside "
                        "its connections cannot be made any more. Give each backward pass a tensor of its own."
                    )
                yield _in_full(x), _in_full(grad)

    def has_heard(self) -> bool:
        """Whether there was a backward pass to hear."""
        return any(layer._pairs for layer in self._shared)

    def listen(self, whole: bool) -> None:
        """Whether backward passes to come keep what a whole gradient is made of; what was heard before is let go."""
        for layer in self._shared:
            layer.listening = whole
            layer._pairs.clear()

    # ------------------------------------------------------------------ life

    def _forget_all(self) -> None:
        """Everything that can be made again from the buffers, or lasts for one step only."""
        self._index = self._forward_index = self._support = self._places = None
        self._seen, self._pairs = (), []
        self._heard_in = -1

    def _now(self) -> tuple[Any, ...]:
        """What tells whether somebody wrote to the buffers, or put others in their place."""
        held = (self.pointer, self.column, self.used)
        return held + tuple(map(_version, held))

    def _is_current(self) -> bool:
        seen, held = self._seen, self._buffers  # asked at every forward pass: past `Module.__getattr__`
        pointer, column, used = held["pointer"], held["column"], held["used"]
        same = bool(seen) and pointer is seen[0] and column is seen[1] and used is seen[2]
        return same and (_version(pointer), _version(column), _version(used)) == seen[3:]

    def _read_buffers(self) -> None:
        """Somebody wrote to the buffers: DDP, which copies those of rank 0, or an average, which must not."""
        index = self._index
        if index is not None and index.device == self.column.device and index.column.shape == self.column.shape:
            same = torch.equal(index.column.to(torch.int32), self.column) and torch.equal(index.pointer, self.pointer)
            if same and self.used is self._seen[2]:
                self._seen, self._forward_index, self._support, self._places = self._now(), None, None, None
                return
        support = checked_support("", self.weight_shape, self.pointer, self.column, self.used, self.values.numel())
        self._forget_all()
        self._index, self._seen = self.index_of(support.backward.index.to(self.values.device)), self._now()

    def _swap(self, values: nn.Parameter) -> None:
        """Put another Parameter in the place of the values, here and in every layer that shares them."""
        old = self.values
        for layer in self._shared:
            layer.values = values
        if self.on_swap is not None:
            self.on_swap(old, values)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def values_only(tensor: Tensor) -> Tensor:
            moved = fn(tensor)  # `.type(dtype)` would make floats of indices, too
            return moved if tensor.is_floating_point() else tensor.to(moved.device)

        super()._apply(values_only, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        made = ("_index", "_forward_index", "_support", "_places", "_seen", "_pairs", "_heard_in")
        gone = (*made, "key", "_turn", "_rest")
        return {k: v for k, v in self.__dict__.items() if k not in gone} | {"on_swap": None, "listening": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.key = registered(self)
        self._forget_all()
        self._lineage.born(self.values)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        """Take another topology with its values; or the positions this layer has out of a dense ``weight``."""
        dense = state_dict.pop(f"{prefix}weight", None)
        keys = {name: f"{prefix}{name}" for name in ("values", "pointer", "column", "used")}
        if dense is not None:
            if tuple(dense.shape) != self.weight_shape:
                raise WiringError(
                    f"`{prefix}weight` of the checkpoint has shape {tuple(dense.shape)}, not {self.weight_shape}."
                )
            state_dict[keys["values"]] = dense.detach().reshape(-1)[self.index.flat().to(dense.device)]
        else:
            self._take_topology(state_dict, keys)
        for name in ("pointer", "column", "used"):  # they are in place: the base class finds what it looks for
            state_dict.pop(keys[name], None)
            if (tensor := getattr(self, name)) is not None and (dense is not None or keys["values"] in state_dict):
                state_dict[keys[name]] = tensor
        before = self.values
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        if self.values is not before:  # load_state_dict(assign=True)
            after, self.values = self.values, before
            self._swap(after)
        self._lineage.moved()

    def _take_topology(self, state_dict: dict[str, Any], keys: dict[str, str]) -> None:
        pointer, column, values, used = (state_dict.get(keys[n]) for n in ("pointer", "column", "values", "used"))
        if not (isinstance(pointer, Tensor) and isinstance(column, Tensor) and isinstance(values, Tensor)):
            return  # the base class says what is missing
        prefix = keys["values"].removesuffix("values")
        support = checked_support(prefix, self.weight_shape, pointer, column, used, values.numel())
        if support == self.support:
            return
        if values.shape != self.values.shape:
            self._swap(nn.Parameter(self.values.new_zeros(values.shape), self.values.requires_grad))
        for layer in self._shared:
            layer.wire(support)


def _version(tensor: Tensor | None) -> int:
    """How often torch saw a tensor written to; -1 where there is nothing that counts."""
    return -1 if tensor is None or tensor.is_inference() else tensor._version


def _in_full(tensor: Tensor) -> Tensor:
    """What is to be ranked is not made of rounded sums."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def sparse_weights(model: nn.Module) -> dict[str, SparseLayer]:
    """Weight name (``"fc.weight"``) -> the layer that holds it, in the model's order; tied ones once."""
    found: dict[int, tuple[str, SparseLayer]] = {}
    for path, module in model.named_modules():
        if isinstance(module, SparseLayer):
            found.setdefault(id(module.values), (bare(f"{path}.weight" if path else "weight"), module))
    return dict(found.values())
