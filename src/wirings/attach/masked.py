"""A masked site: one sparse weight that lives in a dense tensor, zero where nothing is connected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.hooks import unserializable_hook

from wirings.attach import memory
from wirings.core.scores import magnitude
from wirings.core.select import top_mask
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.methods.rule import Rule


class MaskedSite:
    """Between steps ``param`` holds the effective weight; during an optimizer step, the tensor that trains.

    On the forward support the parameter itself is the truth. Only where more trains than is used (DNW, Top-KAST,
    edge-popup) does the site keep values of its own: ``aside``, the trained tensor as the last step left it.
    """

    def __init__(self, name: str, param: nn.Parameter) -> None:
        self.name, self.param = name, param
        self.shape = tuple(param.shape)
        self.raw = False  # let the whole gradient through, for a step whose update hears it
        self.heard: Tensor | None = None  # the dense gradient of such a step
        self.aside: Tensor | None = None
        self.frozen: Tensor | None = None  # the weights, where scores train
        self.averaged: Tensor | None = None  # running mean of dense gradients, for methods that keep one
        self.lent = False
        self.remembers = False  # values outside the backward support stay, for methods that rank them again
        self._support: Support | None = None
        self._unused: Tensor | None = None  # ~forward mask, in the parameter's memory format
        self._untrained: Tensor | None = None  # ~backward mask; None where everything trains

    def begin(self, rule: Rule, rng: Generator) -> None:
        """Take the parameter as it is, and listen to its gradient from now on."""
        self.rule = rule
        if rule.trains_scores:
            self.frozen = self.param.detach().clone()
            self.aside = rule.begin(self.frozen, rng)

        def hook(grad: Tensor) -> Tensor:
            return grad if self.raw or self._support is None else self.pullback(grad)

        hook.of_wirings = True  # type: ignore[attr-defined]
        unserializable_hook(hook)  # type: ignore[no-untyped-call]  # deepcopy and pickle leave it out, silently
        self._handle = self.param.register_hook(hook)  # type: ignore[no-untyped-call]

    def remember(self) -> None:
        """Keep values outside the backward support, instead of ending them there."""
        self.remembers = True

    def end(self) -> None:
        """Give the parameter back."""
        self._handle.remove()

    # ------------------------------------------------------------------ what a method sees

    @property
    def support(self) -> Support:
        if self._support is None:  # before start: a method asks for weights only
            everything = Topology.full(self.shape, device=self.param.device)
            return Support.both(everything)
        return self._support

    def weight(self, on: Topology) -> Tensor:
        return self._pick(self.trained(), on)

    def gradient(self, on: Topology) -> Tensor:
        if self.heard is not None:
            return self._pick(self.heard, on)
        if self.param.grad is None:
            return self.param.new_zeros(on.nnz)
        return self._pick(self.param.grad, on)

    def strongest_gradient(self, k: int, among: Topology) -> Topology:
        assert self.heard is not None, "only asked on steps that the method hears"
        strength = magnitude(self.heard).masked_fill_(~among.to(self.param.device).mask, -1)
        return Topology.of(top_mask(strength.reshape(-1), k).view(self.shape), nnz=k)

    def momentum(self, on: Topology) -> Tensor:
        assert self.averaged is not None, "only asked by methods that declare it"
        return self._pick(self.averaged, on)

    def _pick(self, dense: Tensor, on: Topology) -> Tensor:
        flat = dense.detach().reshape(-1)
        return flat if on.is_full else flat[on.index.to(flat.device)]

    # ------------------------------------------------------------------ around a step

    def pullback(self, grad: Tensor) -> Tensor:
        """What the optimizer sees of a gradient."""
        if self.rule.trains_scores:
            assert self.frozen is not None
            return self.rule.pullback(grad, self.frozen, self.support)
        return grad if self._untrained is None else grad.masked_fill(self._untrained, 0)

    def hear(self) -> None:
        """Keep this step's whole gradient, and leave in ``.grad`` what the optimizer may see."""
        grad = self.param.grad
        if grad is None:
            self.heard = torch.zeros_like(self.param)
        else:
            self.heard = grad.detach().clone()
            grad.copy_(self.pullback(self.heard))

    def average(self, factor: float) -> None:
        """Let the running mean of whole gradients follow this step's."""
        assert self.heard is not None
        self.averaged = self.heard.clone() if self.averaged is None else self.averaged.mul_(factor).add_(self.heard)

    def lend(self) -> None:
        """Before the optimizer's step: put the whole trained tensor into the parameter."""
        if self.aside is None:
            return
        data = self.param.data
        if self.rule.trains_scores:
            assert self.frozen is not None
            self.frozen.copy_(data if self._unused is None else torch.where(self._unused, self.frozen, data))
            data.copy_(self.aside)
        elif self._unused is not None:
            torch.where(self._unused, self.aside, data, out=data)
        self.lent = True

    def trained(self) -> Tensor:
        """The tensor that trains, whole."""
        if self.aside is None or self.lent:
            return self.param.data
        if self.rule.trains_scores or self._unused is None:
            return self.aside
        return torch.where(self._unused, self.aside, self.param.data)

    def take_back(self) -> None:
        """After the optimizer's step, or a change of support: remember what trains, show what is used."""
        if self.lent:
            assert self.aside is not None
            self.aside.copy_(self.param.data)
            self.lent = False
        self.show()

    def show(self) -> None:
        """Make the parameter exactly its sparse network."""
        if self.rule.trains_scores:
            assert self.aside is not None
            assert self.frozen is not None
            self.param.data.copy_(self.rule.effective(self.aside, self.frozen, self.support))
        elif self._unused is not None:
            self.param.data.masked_fill_(self._unused, 0)

    def penalise(self, scale: float) -> None:
        """Add the rule's penalty to ``.grad``; the parameter holds the trained tensor."""
        penalty = self.rule.penalty(self.param.data, self.support)
        if penalty is not None and self.param.grad is not None:
            self.param.grad.add_(penalty, alpha=scale)

    def project(self) -> None:
        """After the optimizer's step: bring the trained tensor back to where the rule wants it."""
        data = self.param.data
        projected = self.rule.project(data)
        if projected is not data:
            data.copy_(projected)

    # ------------------------------------------------------------------ a new support

    def install(self, support: Support, state: dict[str, Any] | None, group: dict[str, Any]) -> None:
        """Take a new support: values and memory of kept connections stay, new connections start as new."""
        old = self._support
        if old is not None and support.forward is old.forward and support.backward is old.backward:
            return
        support = self._here(support)
        if old is None or support.backward is not old.backward:
            self._end(self._gone(old, support), state, group)
        self._use(support)
        if not self.rule.trains_scores:
            if support.is_plain and not self.remembers:
                self.aside, self.lent = None, False
            elif self.aside is None:
                self.aside = self.param.data.clone()
                self.lent = True  # the parameter holds the whole trained tensor right now

    def _end(self, gone: Tensor | None, state: dict[str, Any] | None, group: dict[str, Any]) -> None:
        """Values and memory end at these positions."""
        if gone is None:
            return
        memory.forget(state, self.param, gone, group)
        if not self.rule.trains_scores and not self.remembers:
            self.param.data.masked_fill_(gone, 0)
            if self.aside is not None:
                self.aside.masked_fill_(gone, 0)

    def _gone(self, old: Support | None, new: Support) -> Tensor | None:
        """Where values and memory end: what did not train before, or will not from now on; ``None`` for nowhere."""
        if new.backward.is_full and (old is None or old.backward.is_full):
            return None
        kept = new.backward if old is None else new.backward & old.backward
        return self._like_param(~kept.mask)

    def _here(self, support: Support) -> Support:
        """The support on the parameter's device."""
        forward = support.forward.to(self.param.device)
        return Support.both(forward) if support.is_plain else Support(forward, support.backward.to(self.param.device))

    def _use(self, support: Support) -> None:
        """From now on this is the support; its masks are made once, in the parameter's memory format."""
        old = self._support
        if old is None or support.forward is not old.forward:
            self._unused = None if support.forward.is_full else self._like_param(~support.forward.mask)
        if support.backward is support.forward:
            self._untrained = self._unused
        elif old is None or support.backward is not old.backward:
            self._untrained = None if support.backward.is_full else self._like_param(~support.backward.mask)
        self._support = support

    def restore(
        self, support: Support, *, aside: Tensor | None, frozen: Tensor | None, averaged: Tensor | None
    ) -> None:
        """Take a saved support and the values that only attach keeps; parameter and optimizer load their own."""
        self._use(self._here(support))
        self.aside, self.frozen, self.averaged = (
            None if t is None else self.param.data.clone().copy_(t) for t in (aside, frozen, averaged)
        )
        self.lent = False

    def _like_param(self, mask: Tensor) -> Tensor:
        """The mask in the parameter's memory format, so that channels_last weights are masked in one pass."""
        return torch.empty_like(self.param, dtype=torch.bool, requires_grad=False).copy_(mask)
