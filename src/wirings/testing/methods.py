"""The common suite of every method: the library's own join it by one row, plug-ins call it on theirs."""

from __future__ import annotations

import copy
import io
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer

from wirings.attach import Sparsifier, attach
from wirings.core.errors import WiringError, WiringsError
from wirings.core.settings import from_plain, resolved, to_plain
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.core.wiring import Shapes, Wiring
from wirings.methods.method import Method
from wirings.sparse import to_sparse
from wirings.testing.checking import must, small_batch, small_linear_network, small_network

OptimizerMaker = Callable[[Iterable[Tensor]], Optimizer]
Counts = Callable[[int, Shapes], int | Mapping[str, int] | None]

OPTIMIZERS: Mapping[str, OptimizerMaker] = {
    "SGD with momentum": lambda params: SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "AdamW": lambda params: AdamW(params, lr=0.01, weight_decay=1e-2),
}
"""The optimizers that each method is tried with."""


def check_method(
    method: Method, *, steps: int = 12, seed: int = 0, counts: Counts | None = None, device: str = "cpu"
) -> None:
    """Train a small network with a method, with two optimizers, and check what every method must keep.

    Zero outside the forward support after every step; gradients zero outside the backward support; new connections
    without memory, and at zero; the form holds; same seed, same wiring; saved half-way and resumed, bit-equal;
    parameters and state-dict keys unchanged; ``detach`` leaves no hook; settings survive TOML; a batch in two halves
    equals one; the global random state is left alone; masked and truly sparse execution give the same losses and the
    same wiring (or the method is refused truly sparse, if it trains scores or remembers).

    Example:
        >>> check_method(RigL(begin=ErdosRenyi(0.3), when=Every(3)))

    Args:
        method: one with settings that change something within ``steps``.
        steps: how long the run is; shares of the run refer to it.
        seed: of the wiring's random stream.
        counts: (step, shapes) -> how many connections there must be after that step (0: at the start), in all or by
            weight name; ``None`` where that cannot be told.
        device: where the network trains.

    Raises:
        AssertionError: one sentence that says what does not hold, with which optimizer and at which step.
    """
    _check_settings(method)
    settled = resolved(method, steps)
    if type(method).due is not Method.due:
        must(
            any(settled.due(step) for step in range(1, steps + 1)),
            f"{method!r} is never due in {steps} steps; give the check shorter intervals or more `steps`.",
        )
    for label, optimizer in OPTIMIZERS.items():
        try:
            _check_life(_Trial(method, optimizer, steps, seed, device), settled, counts)
            _check_truly_sparse(method, optimizer, steps, seed, device)
        except AssertionError as error:
            raise AssertionError(f"`{type(method).__name__}` with {label}: {error}") from error


class _Trial:
    """A method on the small network, and its steps."""

    def __init__(
        self, method: Method, optimizer: OptimizerMaker, steps: int, seed: int, device: str, *, init: int = 0
    ) -> None:
        self.recipe = (method, optimizer, steps, seed)
        self.steps, self.device = steps, device
        self.model = small_network(init).to(device)
        self.optimizer = optimizer(self.model.parameters())
        self.sparse: Sparsifier = attach(self.model, self.optimizer, method, steps=steps, seed=seed)
        self.weights: dict[str, nn.Parameter] = {
            n: p for n, p in self.model.named_parameters() if n in self.sparse.supports
        }

    def again(self, *, seed: int | None = None, init: int = 0) -> _Trial:
        method, optimizer, steps, old = self.recipe
        return _Trial(method, optimizer, steps, old if seed is None else seed, self.device, init=init)

    def backward(self, step: int, *, halves: int = 1) -> None:
        self.optimizer.zero_grad()
        inputs, labels = (t.to(self.device) for t in small_batch(step))
        for part in range(halves):
            loss: Tensor = cross_entropy(self.model(inputs[part::halves]), labels[part::halves]) / halves
            loss.backward()  # type: ignore[no-untyped-call]

    def run(self, first: int = 1, *, halves: int = 1) -> _Trial:
        for step in range(first, self.steps + 1):
            self.backward(step, halves=halves)
            self.optimizer.step()
        return self

    def saved(self) -> dict[str, Any]:
        file = io.BytesIO()
        sparse, optimizer = self.sparse.state_dict(), self.optimizer.state_dict()
        torch.save({"model": self.model.state_dict(), "optimizer": optimizer, "sparse": sparse}, file)
        file.seek(0)
        return dict(torch.load(file, weights_only=True))

    def load(self, saved: Mapping[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.sparse.load_state_dict(saved["sparse"])


def _check_settings(method: Method) -> None:
    import tomli_w

    must(
        copy.deepcopy(method) == method and hash(method) == hash(copy.deepcopy(method)),
        f"{method!r} must be a frozen dataclass, equal to its copy and hashable.",
    )
    try:
        back = from_plain("method", tomllib.loads(tomli_w.dumps(to_plain(method))))
    except WiringsError as error:
        raise AssertionError(
            f"Settings must survive TOML, with @register and a `kind` of their own. {error}"
        ) from error
    must(back == method, f"Settings must survive TOML. {method!r} came back as {back!r}.")


def _check_life(main: _Trial, settled: Method, counts: Counts | None) -> None:
    keys, params = list(main.model.state_dict()), list(main.model.parameters())
    random_state = torch.get_rng_state()
    shapes = {name: tuple(p.shape) for name, p in main.weights.items()}
    half, saved = main.steps // 2, None
    _check_state(main, settled, 0, counts, shapes)
    for step in range(1, main.steps + 1):
        before = main.sparse.supports
        _check_step(main, settled, step)
        _check_newcomers(main, settled, before, step)
        _check_state(main, settled, step, counts, shapes)
        if step == half:
            saved = main.saved()
    must(main.sparse.step == main.steps, f"`step` must be {main.steps} after as many steps. Got {main.sparse.step}.")
    must(bool((torch.get_rng_state() == random_state).all()), "the global random state must be left alone.")
    must(list(main.model.state_dict()) == keys, "state-dict keys must stay what they are.")
    must(
        all(p is q for p, q in zip(main.model.parameters(), params, strict=True)),
        "parameters must stay the same objects.",
    )
    _check_equal(main, main.again().run(), "the same seed must give the same run")
    resumed = main.again(seed=1234, init=1)
    assert saved is not None
    resumed.load(saved)
    _check_equal(main, resumed.run(half + 1), f"a run saved at step {half} must go on bit-equal")
    halves = main.again().run(halves=2)
    must(halves.sparse.wiring == main.sparse.wiring, "a batch in two halves must give the wiring of one batch.")
    for p, q in zip(main.model.parameters(), halves.model.parameters(), strict=True):
        must(torch.allclose(p, q, rtol=1e-9, atol=1e-12), "a batch in two halves must give the weights of one batch.")
    _check_detached(main)


def _check_step(trial: _Trial, settled: Method, step: int) -> None:
    supports, due = trial.sparse.supports, settled.due(step)
    trial.backward(step)
    if not settled.hears(step):  # on a step that is heard the whole gradient passes, until the step begins
        _check_gradients(trial, supports, step, "before")
    dense = {name: p.detach().clone() for name, p in trial.model.named_parameters()}
    trial.optimizer.step()
    _check_gradients(trial, supports, step, "after")
    moved = [n for n, p in trial.model.named_parameters() if n not in supports and not torch.equal(p, dense[n])]
    if due and settled.hears(step) and settled.replaces_step():
        must(not moved, f"an update that replaces step {step} must move no weight. It moved `{(moved or [''])[0]}`.")
    else:
        must(bool(moved), f"step {step} must move the parameters that are not sparse.")
    if not due:
        must(trial.sparse.supports == supports, f"supports may change at due steps only. They did at step {step}.")


def _check_gradients(trial: _Trial, supports: Mapping[str, Support], step: int, when: str) -> None:
    for name, p in trial.weights.items():
        outside = p.grad is not None and bool(p.grad[~supports[name].backward.mask].any())
        must(not outside, f"the gradient of `{name}` must be zero outside the backward support {when} step {step}.")


def _check_newcomers(trial: _Trial, settled: Method, before: Mapping[str, Support], step: int) -> None:
    for name, p in trial.weights.items():
        new = (trial.sparse.supports[name].backward - before[name].backward).mask
        for key, state in trial.optimizer.state[p].items():
            if isinstance(state, Tensor) and state.shape == p.shape:
                must(
                    not bool(state[new].any()),
                    f"new connections of `{name}` must have no memory (`{key}`, step {step}).",
                )
        if not settled.remembers() and not settled.rule().trains_scores:
            must(not bool(p[new].any()), f"new connections of `{name}` must start at zero (step {step}).")


def _check_state(trial: _Trial, settled: Method, step: int, counts: Counts | None, shapes: Shapes) -> None:
    wiring: Wiring = trial.sparse.wiring
    for name, p in trial.weights.items():
        support = trial.sparse.supports[name]
        must(wiring[name] == support.forward, f"`wiring` and `supports` must agree about `{name}` (step {step}).")
        must(support.forward <= support.backward, f"backward of `{name}` must contain forward (step {step}).")
        must(not bool(p[~wiring[name].mask].any()), f"`{name}` must be zero outside its wiring (step {step}).")
        fits = wiring[name].is_full or settled.form.holds(wiring[name])
        must(fits, f"the wiring of `{name}` must have the form {settled.form!r} (step {step}).")
        _check_trained(trial, settled, name, step)
    wanted = None if counts is None else counts(step, shapes)
    if wanted is None:
        return
    found = wiring.nnz if isinstance(wanted, int) else wiring.counts
    must(found == wanted, f"there must be {wanted} connections at step {step}. Got {found}.")


def _check_trained(trial: _Trial, settled: Method, name: str, step: int) -> None:
    site, rule = trial.sparse.sites[name], settled.rule()
    trained = site.weight(on=Topology.full(site.shape))
    must(
        torch.equal(rule.project(trained), trained),
        f"`{name}` must be as the rule's `project` leaves it (step {step}).",
    )
    outside = bool(site.weight(on=~site.support.backward).any())
    if not rule.trains_scores and not site.support.backward.is_full:
        ends = "stay" if settled.remembers() else "end"
        must(
            outside == settled.remembers(),
            f"values of `{name}` outside the backward support must {ends} (step {step}).",
        )


def _check_equal(main: _Trial, other: _Trial, sentence: str) -> None:
    must(main.sparse.wiring == other.sparse.wiring, f"{sentence}: the wirings differ.")
    must(main.sparse.supports == other.sparse.supports, f"{sentence}: the backward supports differ.")
    for (name, p), q in zip(main.model.named_parameters(), other.model.parameters(), strict=True):
        must(torch.equal(p, q), f"{sentence}: `{name}` differs.")


def _check_detached(trial: _Trial) -> None:
    trial.sparse.detach()
    optimizer: Any = trial.optimizer
    hooks = [*optimizer._optimizer_step_pre_hooks, *optimizer._optimizer_step_post_hooks]
    hooks += [hook for p in trial.weights.values() for hook in (p._backward_hooks or ())]
    must(not hooks, "`detach` must leave no hook.")
    trial.backward(1)
    whole = any(
        bool(p.grad[~trial.sparse.wiring[n].mask].any()) for n, p in trial.weights.items() if p.grad is not None
    )
    full = all(t.is_full for t in trial.sparse.wiring.values())
    must(whole or full, "after `detach` gradients must be whole again.")
    trial.optimizer.step()


def _check_truly_sparse(method: Method, optimizer: OptimizerMaker, steps: int, seed: int, device: str) -> None:
    masked, masked_wiring = _losses(small_linear_network().to(device), method, optimizer, steps, seed)
    live = to_sparse(small_linear_network().to(device))
    if method.remembers() or method.rule().trains_scores:
        try:
            attach(live, optimizer(live.parameters()), method, steps=steps, seed=seed)
        except WiringError:
            return
        raise AssertionError("what trains scores or remembers must be refused truly sparse.")
    sparse, sparse_wiring = _losses(live, method, optimizer, steps, seed)
    for step, (a, b) in enumerate(zip(masked, sparse, strict=True), start=1):
        must(abs(a - b) <= 1e-10 * abs(a), f"masked and truly sparse losses must agree. At step {step}: {a} and {b}.")
    must(masked_wiring == sparse_wiring, "masked and truly sparse runs must end with the same wiring.")


def _losses(
    model: nn.Module, method: Method, optimizer: OptimizerMaker, steps: int, seed: int
) -> tuple[list[float], Wiring]:
    optim = optimizer(model.parameters())
    live, losses = attach(model, optim, method, steps=steps, seed=seed), []
    device = next(model.parameters()).device
    for step in range(1, steps + 1):
        optim.zero_grad()
        inputs, labels = (t.to(device) for t in small_batch(step))
        loss: Tensor = cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optim.step()
        losses.append(loss.item())
    return losses, live.wiring
