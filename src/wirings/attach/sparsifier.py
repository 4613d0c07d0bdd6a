"""The life of a method on a live network: what happens before and after each optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from wirings.attach import ranks
from wirings.attach.saving import from_saved, to_saved
from wirings.attach.site import LiveSite
from wirings.core.errors import WiringError
from wirings.core.streams import stream
from wirings.core.support import Support
from wirings.core.wiring import Wiring
from wirings.methods.method import Method, Supports

Observer = Callable[["Sparsifier"], None]


class Sparsifier:
    """What :func:`wirings.attach` returns. Between steps the model is exactly its sparse network.

    Attributes:
        method: the method, its shares of the run turned into steps.
        sites: weight name -> live site.
    """

    def __init__(self, optimizer: Optimizer, method: Method, sites: Mapping[str, LiveSite], seed: int) -> None:
        self.method, self.sites = method, dict(sites)
        self._optimizer = optimizer
        self._rng = stream(seed, "wiring")
        self._observers: list[Observer] = []
        self._put_away: list[tuple[nn.Parameter, Tensor, Tensor | None]] = []  # parameter, its gradient, ours for it
        self._in_step = False  # between our part before the optimizer's step and our part after it
        self._sits_out = False  # GradScaler found inf: this step does not count
        self._agreed = False  # all ranks were seen to hold one wiring
        self._handles = [
            optimizer.register_step_pre_hook(self._on_step_begins),
            optimizer.register_step_post_hook(self._on_step_ends),
        ]
        try:
            self._start()
        except BaseException:
            self.detach()
            raise

    # ------------------------------------------------------------------ what the user sees

    @property
    def step(self) -> int:
        """Completed optimizer steps, counted from 1. Set it where a run begins at a later step (rewinding)."""
        return self._step

    @step.setter
    def step(self, step: int) -> None:
        self._step = step
        self._listen()

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
        return self._hears or any(not site.support.is_plain for site in self._live)

    def watch(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer(sparsifier)`` after every update of the wiring; returns what ends it."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer) if observer in self._observers else None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit-equal, beside the model's and the optimizer's own state. Safe to load with
        ``torch.load(..., weights_only=True)``."""
        return to_saved(type(self.method).__name__, self.step, self._rng, self.sites)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; before or after the model's and the optimizer's own loading.

        Raises:
            WiringError: if the state is damaged, or of another method or network; nothing has changed then.
        """
        with torch.no_grad():
            step = from_saved(state, type(self.method).__name__, self._rng, self.sites)
            for site in self._live:
                site.show()
        self.step, self._agreed = step, False

    def detach(self) -> None:
        """Take every hook away; the model stays as it is, sparse."""
        for handle in self._handles:
            handle.remove()
        for site in self._live:
            site.end()
        self._observers.clear()

    # ------------------------------------------------------------------ one step

    def _on_step_begins(self, _: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._in_step:  # the last step raised half-way
            self._undo()
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0] is the optimizer
        if closure is None:
            self._before()
            return None

        def wrapped() -> Any:
            if self._in_step:  # LBFGS asks again and again within a step: show it the sparse network each time
                self._undo()
            loss = closure()
            self._before()
            return loss

        return ((args[0], wrapped, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": wrapped})

    @torch.no_grad()
    def _before(self) -> None:
        found_inf = getattr(self._optimizer, "found_inf", None)  # fused optimizers: the step itself is to skip
        self._in_step, self._sits_out = True, found_inf is not None and bool(found_inf)
        if self._sits_out:
            return
        self._step += 1
        try:
            scale = getattr(self._optimizer, "grad_scale", None)  # they unscale within their step, too
            if self._hears:
                self._hear(scale)
            for site in self._live:
                site.lend()
            if self._hears and self.method.replaces_step():
                self._replace_step()
            else:
                self._penalise(scale)
        except BaseException:
            self._undo()
            raise

    @torch.no_grad()
    def _on_step_ends(self, *_: Any) -> None:
        counted, self._in_step = self._in_step and not self._sits_out, False
        if not counted:
            return
        due = False
        try:
            self._give_gradients_back()
            for site in self._live:
                site.take_back()
                if self._hears and self.method.keeps_momentum:
                    site.average(float(getattr(self.method, "momentum", 0.0)))
            due = self.method.due(self._step)
            if due:
                self._install(self.method.update(self.sites, self._step, self._rng))
        finally:  # whatever a method raises, the model is its sparse network
            for site in self._live:
                site.show()
            self._listen()
        if due or not self._agreed:
            self._check_ranks()
        if due:
            for observer in list(self._observers):
                observer(self)

    @torch.no_grad()
    def _undo(self) -> None:
        """As if this step had not begun, but for what the optimizer did to the weights."""
        self._give_gradients_back()
        for site in self._live:
            site.take_back()
            site.show()
        if not self._sits_out:
            self._step -= 1
        self._in_step = False

    # ------------------------------------------------------------------ its parts

    @torch.no_grad()
    def _start(self) -> None:
        if ranks.together():
            ranks.from_rank_0(site.param.data for site in self._live)
        for site in self._live:
            site.begin(self.method, self._rng)
        self._install(self.method.start(self.sites, self._rng))
        for site in self._live:
            site.show()
        self.step = 0
        self._check_ranks()

    @property
    def _live(self) -> list[LiveSite]:
        return list(self.sites.values())

    def _listen(self) -> None:
        """Whether the coming backward passes leave whole gradients."""
        self._hears = self.method.hears(self._step + 1)
        for site in self._live:
            site.listen(self._hears)

    def _hear(self, scale: Tensor | None) -> None:
        for site in self._live:
            site.hear(scale)
        if ranks.together():
            ranks.averaged(site.heard for site in self._live if site.heard is not None)

    def _replace_step(self) -> None:
        """The update takes the place of the weight update: with no gradient, the optimizer moves nothing."""
        for group in self._optimizer.param_groups:
            for p in group["params"]:
                self._replace_gradient(p, None)

    def _penalise(self, scale: Tensor | None) -> None:
        for site in self._live:
            p, penalty = site.param, site.penalty()
            if penalty is not None and p.grad is not None:
                self._replace_gradient(p, p.grad + (penalty if scale is None else penalty * scale))

    def _replace_gradient(self, p: nn.Parameter, ours: Tensor | None) -> None:
        if p.grad is not None:
            self._put_away.append((p, p.grad, ours))
            p.grad = ours

    def _give_gradients_back(self) -> None:
        for p, grad, ours in self._put_away:
            if p.grad is ours:  # else there is a new one already: the step before raised
                p.grad = grad
        self._put_away.clear()

    def _install(self, supports: Supports) -> None:
        self._check(supports)
        groups = {id(p): group for group in self._optimizer.param_groups for p in group["params"]}
        for name, site in self.sites.items():
            site.install(supports[name], self._optimizer.state.get(site.param), groups[id(site.param)])

    def _check(self, supports: Supports) -> None:
        """Refuse an answer that does not fit, before anything has changed."""
        who = f"`{type(self.method).__name__}`"
        if not isinstance(supports, Mapping) or supports.keys() != self.sites.keys():
            raise WiringError(f"{who} must answer with a support for each of {', '.join(self.sites)} and no other.")
        for name, site in self.sites.items():
            support = supports[name]
            if not isinstance(support, Support):
                raise WiringError(f"{who} must answer with a Support. Got {support!r} for `{name}`.")
            if support.forward.shape != site.shape:
                raise WiringError(f"{who} answered shape {support.forward.shape} for `{name}`, which has {site.shape}.")

    def _check_ranks(self) -> None:
        if ranks.together():
            ranks.check_same(self.wiring, self._step)
            self._agreed = True
