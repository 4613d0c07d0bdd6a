"""A masked site: one sparse weight that lives in a dense tensor, zero where nothing is connected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.hooks import RemovableHandle, unserializable_hook

from wirings.attach import memory
from wirings.attach.bits import Bits, bits_of, only, only_, put_
from wirings.core.scores import magnitude
from wirings.core.select import top_mask
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.methods.method import Method


class MaskedSite:
    """Between steps ``param`` holds the effective weight; during an optimizer step, the tensor that trains.

    On the forward support the parameter itself is the truth. Only where more is kept than is used (DNW, Top-KAST,
    edge-popup, methods that remember) does the site hold a tensor of its own: ``aside``, the whole trained tensor as
    the last step left it.
    """

    def __init__(self, name: str, param: nn.Parameter) -> None:
        self.name, self.param = name, param
        self.shape = tuple(param.shape)
        self.heard: Tensor | None = None  # the whole gradient of this step, if the method hears it
        self.aside: Tensor | None = None
        self.frozen: Tensor | None = None  # the weights, where scores train
        self.averaged: Tensor | None = None
        self._support: Support | None = None
        self._used: Bits = None
        self._trained: Bits = None
        self._whole = False  # backward passes leave the whole gradient
        self._lent = False  # the parameter holds what trains, not what is used
        self._handle: RemovableHandle | None = None

    def begin(self, method: Method, rng: Generator) -> None:
        self.rule, self._remembers = method.rule(), method.remembers()
        if self.rule.trains_scores:
            self.frozen = self.param.detach().clone()
            self.aside = self.rule.begin(self.frozen, rng)
            self._lent = True
        self._home = (self.param.device, self.param.dtype)
        hook = _Hook(self)
        unserializable_hook(hook)  # type: ignore[no-untyped-call]  # deepcopy and pickle leave it out, silently
        self._handle = self.param.register_hook(hook)  # type: ignore[no-untyped-call]

    def end(self) -> None:
        if self._handle is not None:
            self._handle.remove()

    # ------------------------------------------------------------------ what a method sees

    @property
    def support(self) -> Support:
        if self._support is None:  # before start: a method asks for weights only
            return Support.both(Topology.full(self.shape, device=self.param.device))
        return self._support

    def weight(self, on: Topology) -> Tensor:
        return _pick(self._trained_tensor(), on)

    def gradient(self, on: Topology) -> Tensor:
        found = self.param.grad if self.heard is None else self.heard
        return self.param.new_zeros(on.nnz) if found is None else _pick(found, on)

    def strongest_gradient(self, k: int, among: Topology) -> Topology:
        assert self.heard is not None, "only asked on steps that the method hears"
        strength = magnitude(self.heard).masked_fill_(~among.to(self.heard.device).mask, -1)
        return Topology.of(top_mask(strength.reshape(-1), k).view(self.shape), nnz=k)

    def momentum(self, on: Topology) -> Tensor:
        assert self.averaged is not None, "only asked by methods that declare it"
        return _pick(self.averaged, on)

    def _trained_tensor(self) -> Tensor:
        if self.aside is None:
            return self.param.data
        if not self._lent:
            self._heed()
        return self.aside

    # ------------------------------------------------------------------ one step, in this order

    def listen(self, whole: bool) -> None:
        self._whole, self.heard = whole, None

    def pullback(self, grad: Tensor) -> Tensor:
        """What the optimizer sees of a gradient."""
        self._follow()
        if self.frozen is None:
            return only(grad, self._trained)
        self._heed()
        assert self.aside is not None
        return self.rule.pullback(grad, self.aside, self.frozen, self.support)

    def hear(self, scale: Tensor | None) -> None:
        grad = self.param.grad
        if grad is None:
            self.heard = torch.zeros_like(self.param)
            return
        heard = grad.detach().clone()
        grad.copy_(self.pullback(heard))
        self.heard = heard if scale is None else heard.div_(scale)

    def lend(self) -> None:
        self._follow()
        if self.aside is not None:
            self._heed()
            only_(self.param.data, self._trained, of=self.aside)
        self._lent = True

    def penalty(self) -> Tensor | None:
        return self.rule.penalty(self.param.data, self.support)

    def take_back(self) -> None:
        if not self._lent:
            return
        trained = self.param.data
        bounded = self.rule.project(trained)
        if bounded is not trained:
            trained.copy_(bounded)
        if self.aside is not None:
            put_(self.aside, trained, self._trained)

    def average(self, factor: float) -> None:
        assert self.heard is not None, "only asked on steps that the method hears"
        self.averaged = self.heard.clone() if self.averaged is None else self.averaged.mul_(factor).add_(self.heard)

    def show(self) -> None:
        if self.aside is None or not self._lent:
            only_(self.param.data, self._used)
        elif self.frozen is None:
            only_(self.param.data, self._used, of=self.aside)
        else:
            self.param.data.copy_(self.rule.effective(self.aside, self.frozen, self.support))
        self._lent = False

    def _heed(self) -> None:
        """On the forward support the parameter is the truth: the user may have loaded or edited it."""
        if self._lent:
            return
        held = self.aside if self.frozen is None else self.frozen
        assert held is not None
        factor = self.rule.factor(self.support)
        if factor == 1:
            put_(held, self.param.data, self._used)
        else:  # divided only where somebody edited: rounding would add up over the steps
            edited = (self.param.data != held * factor) & self.support.forward.mask.to(held.device)
            held.copy_(torch.where(edited, self.param.data / factor, held))

    # ------------------------------------------------------------------ a new support

    def install(self, support: Support, state: dict[str, Any] | None, group: dict[str, Any]) -> None:
        old = self._support
        if old is not None and support.forward is old.forward and support.backward is old.backward:
            return
        self._end(_gone(None if old is None else old.backward, support.backward), state, group)
        self._use(support)
        if self.frozen is None:
            if not self._remembers and support.is_plain:
                self.aside = None
            elif self.aside is None:
                self.aside = self.param.data.clone()
        if self.param.grad is not None:  # of a user who accumulates across steps
            only_(self.param.grad, self._trained)

    def _end(self, gone: Topology | None, state: dict[str, Any] | None, group: dict[str, Any]) -> None:
        """Memory ends at these positions, and values too, unless they are scores or remembered."""
        if gone is None:
            return
        where = gone.to(self.param.device).mask
        memory.forget(state, self.param, where, group)
        if self.frozen is None and not self._remembers:
            for values in (self.param.data, self.aside):
                if values is not None:
                    values.masked_fill_(where, 0)

    def _use(self, support: Support) -> None:
        """From now on this is the support; its bits are made once."""
        old, here = self._support, self.param.device
        forward = support.forward.to(here)
        backward = forward if support.is_plain else support.backward.to(here)
        if old is None or forward is not old.forward:
            self._used = bits_of(forward, self.param.data)
        if backward is forward:
            self._trained = self._used
        elif old is None or backward is not old.backward:
            self._trained = bits_of(backward, self.param.data)
        moved = forward is not support.forward or backward is not support.backward
        self._support = Support(forward, backward) if moved else support

    def restore(
        self, support: Support, *, aside: Tensor | None, frozen: Tensor | None, averaged: Tensor | None
    ) -> None:
        """Take a saved support and the values that only attach keeps; parameter and optimizer load their own."""
        self._use(support)
        self.aside, self.frozen, self.averaged = (
            None if t is None else torch.empty_like(self.param.data).copy_(t) for t in (aside, frozen, averaged)
        )
        self._lent = False

    def _follow(self) -> None:
        """Go where the parameter went: ``model.to(...)`` may come after attach."""
        data = self.param.data
        if (data.device, data.dtype) == self._home:
            return
        self._home = (data.device, data.dtype)
        kept = self.support
        self._support = None
        self._use(kept)
        for name in ("aside", "frozen", "averaged", "heard"):
            tensor = getattr(self, name)
            setattr(self, name, None if tensor is None else tensor.to(data))


class _Hook:
    """The one hook on a sparse weight; it knows its site, so that :func:`site_of` finds it."""

    def __init__(self, site: MaskedSite) -> None:
        self.site = site

    def __call__(self, grad: Tensor) -> Tensor:
        return grad if self.site._whole else self.site.pullback(grad)


def site_of(weight: Tensor) -> MaskedSite | None:
    """The live site of a weight, if a method is attached to it."""
    hooks = (weight._backward_hooks or {}).values()
    return next((hook.site for hook in hooks if isinstance(hook, _Hook)), None)


def _gone(old: Topology | None, new: Topology) -> Topology | None:
    """What did not train before or will not from now on; ``None`` for nothing."""
    if old is new:
        return None
    if old is None or old.is_full:
        return None if new.is_full else ~new
    return ~old if new.is_full else ~(new & old)


def _pick(dense: Tensor, on: Topology) -> Tensor:
    flat = dense.detach().reshape(-1)
    return flat if on.is_full else flat[on.index.to(flat.device)]
