"""A truly sparse site: one weight of a layer in sparse storage, which holds what trains and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import LBFGS, Optimizer

from wirings.attach import memory, ranks
from wirings.core.errors import WiringError
from wirings.core.scores import magnitude
from wirings.core.select import top
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.kernels.select import strongest
from wirings.methods.method import Method
from wirings.methods.rule import Straight
from wirings.sparse.layer import SparseLayer
from wirings.sparse.move import Move

_BLOCK = 1 << 20  # dense gradients are looked at in blocks of about so many numbers, never all at once

_READS_SHAPE = {"muon", "adafactor", "shampoo", "distributedshampoo", "soap", "came", "kron", "galoreadamw"}
"""Optimizers that treat a weight as a matrix; its values alone are a vector to them."""


class SparseSite:
    """The layer's ``values`` are the trained tensor, on the backward support; there is nothing to lend or to mask.

    Args:
        name: of the weight, ``<path>.weight``.
        layer: one of the layers that hold the values.
        optimizer: in which another Parameter must take the place of the values when their number changes.
        wrapped: whether the model is in DistributedDataParallel already, so that no parameter may be replaced.
    """

    heard: Tensor | None = None
    """Always none: the layer keeps what a whole gradient is made of, and not the gradient."""

    def __init__(self, name: str, layer: SparseLayer, optimizer: Optimizer, *, wrapped: bool = False) -> None:
        self.name, self.layer = name, layer
        self.shape = layer.weight_shape
        self.averaged: Tensor | None = None
        self.aside: Tensor | None = None
        self.frozen: Tensor | None = None
        self._optimizer, self._wrapped, self._started = optimizer, wrapped, False
        self._share = 1.0  # what the loop made of this step's gradient: clipped, unscaled

    @property
    def param(self) -> nn.Parameter:
        """The values that the optimizer holds."""
        return self.layer.values

    def begin(self, method: Method, rng: Generator) -> None:
        rule = method.rule()
        if rule.trains_scores:
            raise WiringError(
                f"`{type(method).__name__}` cannot run truly sparse: it trains a score for every position of "
                f"`{self.name}`. Run it masked, on the dense layer (`wr.to_dense`)."
            )
        if method.remembers():
            raise WiringError(
                f"`{type(method).__name__}` with these settings cannot run truly sparse: it remembers the values of "
                f"every position of `{self.name}`. Run it masked, on the dense layer (`wr.to_dense`)."
            )
        if not isinstance(rule, Straight):
            raise WiringError(
                f"`{self.name}` cannot run truly sparse with {rule!r}, which needs the dense weight; run it masked."
            )
        self.rule, self._averages = rule, method.keeps_momentum
        self.layer.on_swap = self._swapped

    def end(self) -> None:
        self.layer.listen(False)
        self.layer.on_swap = None

    # ------------------------------------------------------------------ what a method sees

    @property
    def support(self) -> Support:
        return self.layer.support

    def weight(self, on: Topology) -> Tensor:
        return self._scatter(self.param.detach(), on)

    def gradient(self, on: Topology) -> Tensor:
        if not self.layer.has_heard():
            grad = self.param.grad
            return self.param.new_zeros(on.nnz) if grad is None else self._scatter(grad, on)
        if 8 * on.nnz > on.numel:
            rows = self._rows(0, self.layer.matrix_shape[0]).reshape(-1)
            return rows if on.is_full else rows[on.index.to(rows.device)]
        index, found = self.layer.index_of(on.index.to(self.param.device)), self.param.new_zeros(on.nnz)
        for x, grad in self.layer.heard():
            found += self.layer.gradient_at(index, x, grad)
        return _over_ranks(found)

    def strongest_gradient(self, k: int, among: Topology) -> Topology:
        if among.nnz <= 4 * self.param.numel() and not among.is_full:  # few candidates: look at them only
            return top(magnitude(self.gradient(among)), k, among)
        taken = (~among).index.to(self.param.device)
        where = strongest(self._blocks(), among.numel, k, skip=taken)
        return Topology.at(self.shape, where, trusted=True)

    def momentum(self, on: Topology) -> Tensor:
        assert self.averaged is not None, "only asked by methods that declare it"
        flat = self.averaged.reshape(-1)
        return flat if on.is_full else flat[on.index.to(flat.device)]

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        """The whole gradient, a few rows at a time: (first flat position, entries)."""
        rows, columns = self.layer.matrix_shape
        high = max(1, _BLOCK // max(columns, 1))
        for first in range(0, rows, high):
            yield first * columns, self._rows(first, min(first + high, rows))

    def _rows(self, first: int, last: int) -> Tensor:
        """Rows of the whole gradient, ``(last - first, columns)``."""
        total = self.param.new_zeros(last - first, self.layer.matrix_shape[1])
        for x, grad in self.layer.heard():
            total += self.layer.gradient_rows(first, last, x, grad)
        if not self.layer.has_heard() and self.param.grad is not None and self.support.backward.is_full:
            total += self.param.grad.view(self.layer.matrix_shape)[first:last]  # a full layer's own gradient is whole
        return _over_ranks(total)

    def _scatter(self, values: Tensor, on: Topology) -> Tensor:
        """Values of the backward support, at the positions ``on``; zero outside it."""
        support = self.support
        if on is support.backward or on.nnz == on.numel == values.numel():
            return values
        if on is support.forward:
            return self.layer.in_use(values)
        if support.backward.is_full:
            return values[on.index.to(values.device)]
        return Move(support.backward, on)(values)

    # ------------------------------------------------------------------ around a step

    def listen(self, whole: bool) -> None:
        self.layer.listen(whole)

    def hear(self, scale: Tensor | None) -> None:
        if self.param.grad is None:  # zero_grad came after the backward pass
            self.layer.listen(True)
        if self._averages:
            self._share = self._left_of_gradient() / (1.0 if scale is None else float(scale))

    def _left_of_gradient(self) -> float:
        """Clipping and unscaling reach ``.grad`` only; how much of what was heard they left is read off there."""
        grad = self.param.grad
        if grad is None or not self.layer.has_heard():
            return 1.0
        heard = self.gradient(self.support.backward).double()
        length = float(heard.dot(heard))
        share = float(heard.dot(grad.double())) / length if length else 1.0
        return 1.0 if abs(share - 1) < 1e3 * torch.finfo(grad.dtype).eps else share

    def average(self, factor: float) -> None:
        dense = self._rows(0, self.layer.matrix_shape[0]).view(self.shape).mul_(self._share)
        self.averaged = dense if self.averaged is None else self.averaged.mul_(factor).add_(dense)

    def lend(self) -> None:
        """Nothing to lend: the values are what trains."""

    def take_back(self) -> None:
        """Nothing to remember: the values are what trains."""

    def show(self) -> None:
        """The layer shows what it uses already."""
        self.layer.forget_support()

    def penalty(self) -> Tensor | None:
        if not (self.rule.decay or self.rule.rim_decay):
            return None
        trained = self.param.detach()
        strength = torch.full_like(trained, self.rule.decay)
        if self.layer.used is not None:
            strength.masked_fill_(~self.layer.used, self.rule.rim_decay / self.support.forward.density)
        return trained * strength

    # ------------------------------------------------------------------ a new support

    def install(self, support: Support, state: dict[str, Any] | None, group: dict[str, Any]) -> None:
        old, begun = self.support, self._started
        self._started = True
        if support.forward is old.forward and support.backward is old.backward:
            return
        if support.backward == old.backward:
            self.layer.use(support)
            return
        if support.backward.nnz != old.backward.nnz and (self._wrapped or (begun and ranks.together())):
            raise WiringError(
                f"The number of connections of `{self.name}` changes, so its values become another Parameter, which "
                "DistributedDataParallel cannot follow: wrap in DDP again after the change, or run masked."
            )
        memories = memory.per_weight(state, self.param)
        move = self.layer.rewire(support)
        for key, tensor in memories.items():
            assert state is not None
            moved = move(tensor, memory.start_of(key, group))
            state[key] = tensor.copy_(moved) if moved.shape == tensor.shape else moved

    def restore(
        self, support: Support, *, aside: Tensor | None, frozen: Tensor | None, averaged: Tensor | None
    ) -> None:
        """Take a saved support; parameter and optimizer load their own."""
        if support != self.support:
            if support.backward == self.support.backward:
                self.layer.use(support)
            else:
                self.layer.rewire(support)
        self.averaged = None if averaged is None else averaged.to(self.param, copy=True)

    def _swapped(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """Another Parameter holds the values: the optimizer must hold it too, and what it remembers."""
        for group in self._optimizer.param_groups:
            for place, p in enumerate(group["params"]):
                if p is old:
                    group["params"][place] = new
                    state = self._optimizer.state.pop(old, None)
                    if state is None:
                        return
                    for key, tensor in memory.per_weight(state, old).items():
                        if tensor.shape != new.shape:
                            state[key] = tensor.new_full(new.shape, memory.start_of(key, group))
                    self._optimizer.state[new] = state
                    return


def check_optimizer(optimizer: Optimizer, method: Method, name: str) -> None:
    """Refuse optimizers that would do something else to values than to the dense weight that they are of."""
    kind = type(optimizer).__name__
    if kind.lower() in _READS_SHAPE:
        raise WiringError(
            f"`{kind}` reads the shape of a weight matrix, which `{name}` in sparse storage does not have. Use an "
            "elementwise optimizer (SGD, AdamW, RMSprop, ...), or run masked."
        )
    if isinstance(optimizer, LBFGS) and type(method).due is not Method.due:
        raise WiringError(
            f"`LBFGS` remembers directions over all weights, which cannot follow the connections of `{name}` as "
            f"`{type(method).__name__}` moves them. Use `Static`, or run masked."
        )


def _over_ranks(gradient: Tensor) -> Tensor:
    """The mean over all processes that train this network; each heard its own share of the batch."""
    if ranks.together():
        ranks.averaged([gradient])
    return gradient
