"""The life of a method on a live network: what happens before and after each optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from wirings.attach import ranks
from wirings.attach.masked import MaskedSite
from wirings.attach.saving import from_saved, to_saved
from wirings.core.errors import WiringError
from wirings.core.streams import stream
from wirings.core.support import Support
from wirings.core.wiring import Wiring
from wirings.methods.method import Method
from wirings.methods.rule import Straight

Observer = Callable[["Sparsifier"], None]


class Sparsifier:
    """What :func:`wirings.attach` returns. Between steps the model is exactly its sparse network.

    Attributes:
        method: the method, its shares of the run turned into steps.
        step: completed optimizer steps, counted from 1.
        sites: weight name -> live site.
    """

    def __init__(self, optimizer: Optimizer, method: Method, sites: dict[str, MaskedSite], seed: int) -> None:
        self.method, self.sites, self.step = method, sites, 0
        self._optimizer = optimizer
        self._rng = stream(seed, "wiring")
        self._observers: list[Observer] = []
        self._kept: list[tuple[nn.Parameter, Tensor]] = []
        self._sit_out = False
        self._raw = False
        self._began = False
        rule = method.rule()
        self._penalises = rule != Straight()
        self._projects = not isinstance(rule, Straight)
        with torch.no_grad():
            if ranks.together():
                ranks.from_rank_0(site.param.data for site in sites.values())
            for site in sites.values():
                site.begin(rule, self._rng)
                if method.remembers():
                    site.remember()
            self._install(method.start(sites, self._rng))
            self._show()
        self._listen()
        self._handles = [
            optimizer.register_step_pre_hook(self._on_step_begins),
            optimizer.register_step_post_hook(self._on_step_ends),
        ]

    # ------------------------------------------------------------------ what the user sees

    @property
    def supports(self) -> dict[str, Support]:
        """Weight name -> what is used and what is trained, now."""
        return {name: site.support for name, site in self.sites.items()}

    @property
    def wiring(self) -> Wiring:
        """What the forward pass uses, now."""
        return Wiring({name: site.support.forward for name, site in self.sites.items()})

    @property
    def listening(self) -> bool:
        """Whether the next step makes gradients outside the forward support."""
        return self._raw or any(not site.support.is_plain for site in self.sites.values())

    def watch(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer(sparsifier)`` after every update of the wiring; returns what ends it."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit-equal, beside the model's and the optimizer's own state. Safe to load with
        ``torch.load(..., weights_only=True)``."""
        return to_saved(type(self.method).__name__, self.step, self._rng, self.sites)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; before or after the model's and the optimizer's own loading.

        Raises:
            WiringError: if the state is of another method or network.
        """
        with torch.no_grad():
            self.step = from_saved(state, type(self.method).__name__, self._rng, self.sites)
            self._show()
        self._listen()

    def detach(self) -> None:
        """Take every hook away; the model stays as it is, sparse."""
        for handle in self._handles:
            handle.remove()
        for site in self.sites.values():
            site.end()
        self._handles.clear()
        self._observers.clear()

    # ------------------------------------------------------------------ one step

    def _on_step_begins(self, _: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0] is the optimizer
        if closure is None:
            self._before()
            return None

        def wrapped() -> Any:
            if self._began:  # LBFGS asks again and again within a step: show it the sparse network each time
                self._abandon()
            loss = closure()
            self._before()
            return loss

        self._began = False
        if len(args) > 1:
            return (args[0], wrapped, *args[2:]), kwargs
        return args, {**kwargs, "closure": wrapped}

    @torch.no_grad()
    def _before(self) -> None:
        found_inf = getattr(self._optimizer, "found_inf", None)
        self._began = True
        self._sit_out = found_inf is not None and bool(found_inf)
        if self._sit_out:
            return
        self.step += 1
        sites = self.sites.values()
        if self._raw:
            self._hear()
        if self._raw and self.method.replaces_step():
            self._put_gradients_away()
        for site in sites:
            site.lend()
        if self._penalises and not self._kept:
            scale = getattr(self._optimizer, "grad_scale", None)
            for site in sites:
                site.penalise(1.0 if scale is None else float(scale))

    def _abandon(self) -> None:
        """A closure that is called again within one step: as if the step had not begun."""
        with torch.no_grad():
            self._bring_gradients_back()
            for site in self.sites.values():
                site.take_back()
                site.heard = None
        if not self._sit_out:
            self.step -= 1
        self._began = False

    @torch.no_grad()
    def _on_step_ends(self, *_: Any) -> None:
        if not self._began or self._sit_out:
            self._began = self._sit_out = False
            return
        self._began = False
        if self._projects:
            for site in self.sites.values():
                site.project()
        due = self.method.due(self.step)
        if due:
            self._install(self.method.update(self.sites, self.step, self._rng))
        self._bring_gradients_back()
        self._show()
        if due and ranks.together():
            ranks.check_same(self.wiring, self.step)
        self._listen()
        if due:
            for observer in list(self._observers):
                observer(self)

    # ------------------------------------------------------------------ its parts

    def _listen(self) -> None:
        """Whether the coming backward passes let whole gradients through."""
        self._raw = self.method.hears(self.step + 1)
        for site in self.sites.values():
            site.raw, site.heard = self._raw, None

    def _hear(self) -> None:
        factor = float(getattr(self.method, "momentum", 0.0)) if self.method.keeps_momentum else None
        scale = getattr(self._optimizer, "grad_scale", None)  # fused optimizers unscale inside their step
        for site in self.sites.values():
            site.hear()
        if ranks.together():
            ranks.averaged(site.heard for site in self.sites.values() if site.heard is not None)
        for site in self.sites.values():
            if scale is not None and site.heard is not None:
                site.heard.div_(scale)
            if factor is not None:
                site.average(factor)

    def _put_gradients_away(self) -> None:
        """The update takes the place of the weight update: with no gradient, the optimizer moves nothing."""
        for group in self._optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._kept.append((p, p.grad))
                    p.grad = None

    def _bring_gradients_back(self) -> None:
        for p, grad in self._kept:
            p.grad = grad
        self._kept.clear()

    def _install(self, supports: Any) -> None:
        if supports.keys() != self.sites.keys():
            odd = sorted(supports.keys() ^ self.sites.keys())[0]
            raise WiringError(
                f"`{type(self.method).__name__}` must answer for every site and no other. Got `{odd}` wrong."
            )
        groups = {id(p): group for group in self._optimizer.param_groups for p in group["params"]}
        for name, site in self.sites.items():
            state = self._optimizer.state.get(site.param)
            site.install(supports[name], state, groups[id(site.param)])

    def _show(self) -> None:
        for site in self.sites.values():
            site.take_back()
