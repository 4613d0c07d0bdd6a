"""The sentence the house stands on: masked and truly sparse execution of one method are one and the same run."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adafactor, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint

import wirings as wr
from wirings.attach.sparse import SparseSite
from wirings.core.schedules import Constant, Cosine, Cubic, Every
from wirings.kernels import native
from wirings.makers.random import ErdosRenyi
from wirings.methods import (
    DNW,
    MEST,
    SET,
    SNFS,
    EdgePopup,
    GemMiner,
    GradualMagnitude,
    GraNet,
    Method,
    RigL,
    SRigL,
    Static,
    Supermask,
    TopKAST,
)
from wirings.sparse import SparseConv2d, SparseLayer, SparseLinear, to_dense, to_sparse

STEPS = 60
BEGIN = ErdosRenyi(0.3)
OFTEN = Every(12)

METHODS: dict[str, Method] = {
    "static": Static(begin=BEGIN),
    "gradual": GradualMagnitude(density=Cubic(initial=1.0, final=0.2, until=40), when=OFTEN),
    "set": SET(begin=BEGIN, when=OFTEN),
    "rigl": RigL(begin=BEGIN, when=OFTEN, fraction=Cosine(0.4, over=50)),
    "snfs": SNFS(begin=BEGIN, when=OFTEN),
    "top-kast": TopKAST(density=0.2, backward=0.5, when=OFTEN, decay=1e-3, rim_decay=2e-3),
    "dnw": DNW(density=0.2),
    "dnw, frozen": DNW(density=0.2, freeze_at=20),
    "granet": GraNet(density=Cubic(initial=0.5, final=0.2, until=40), when=OFTEN),
    "mest": MEST(density=0.2, mutation=0.5, slope=0.5, when=OFTEN),
    "mest, soft": MEST(density=0.2, mutation=0.5, soft=True, when=OFTEN),
    "srigl": SRigL(density=0.3, when=OFTEN, fraction=Constant(0.3)),
}
HOLDS_ITS_COUNT = ("static", "set", "rigl", "top-kast", "dnw", "mest")
STANDS_STILL = ("static",)
HEARS_BESIDE_A_STEP = ("snfs", "granet")  # masked, clipping then sees the whole gradient, and truly sparse it does not

OPTIMIZERS: dict[str, Callable[[Iterable[dict[str, object]]], Optimizer]] = {
    "sgd": lambda groups: SGD(groups, lr=0.1, momentum=0.9),
    "adamw": lambda groups: AdamW(groups, lr=0.01),
}


def mlp(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 16, bias=False), nn.Tanh(), nn.Linear(16, 4)
        ).double()


def batch(step: int, n: int = 32) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(step)
    x = torch.randn(n, 12, generator=rng, dtype=torch.float64)
    return x, (x[:, :3] + x[:, 3:6]).argmax(1)


class Run:
    """One training: its losses, its wirings, and the live objects."""

    def __init__(
        self,
        method: Method,
        optimizer: str = "sgd",
        *,
        sparse: bool = True,
        model: nn.Module | None = None,
        seed: int = 3,
        data: Callable[[int], tuple[Tensor, Tensor]] = batch,
    ) -> None:
        self.data = data
        dense = mlp() if model is None else model
        self.model = to_sparse(dense) if sparse else dense
        self.optimizer = OPTIMIZERS[optimizer](wr.param_groups(self.model, 1e-3))
        self.sparse = wr.attach(self.model, self.optimizer, method, steps=STEPS, seed=seed)
        self.losses: list[float] = []
        self.wirings = [self.sparse.wiring]

    def train(self, first: int, last: int, *, halves: int = 2, clip: bool = True) -> Run:
        for step in range(first, last + 1):
            self.optimizer.zero_grad()
            x, y = self.data(step)
            for part in range(halves):
                loss = cross_entropy(self.model(x[part::halves]), y[part::halves]) / halves
                loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
            self.optimizer.step()
            with torch.no_grad():
                self.losses.append(cross_entropy(self.model(x), y).item())
            if self.sparse.wiring != self.wirings[-1]:
                self.wirings.append(self.sparse.wiring)
        return self


def same(a: Run, b: Run) -> None:
    assert a.losses == pytest.approx(b.losses, rel=1e-10, abs=0)
    assert a.wirings == b.wirings


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_masked_and_truly_sparse_are_one_run(name: str, optimizer: str) -> None:
    clip = name not in HEARS_BESIDE_A_STEP
    masked = Run(METHODS[name], optimizer, sparse=False).train(1, STEPS, clip=clip)
    stored = Run(METHODS[name], optimizer)
    before = [p for p in stored.model.parameters()]
    stored.train(1, STEPS, clip=clip)
    same(masked, stored)
    assert len(stored.wirings) > 3 or name in STANDS_STILL
    assert masked.losses[-1] < masked.losses[0]
    assert stored.sparse.supports == masked.sparse.supports
    kept = all(p is q for p, q in zip(stored.model.parameters(), before, strict=True))
    assert kept is (name in HOLDS_ITS_COUNT)


class Residual(nn.Module):
    """A block with strides, groups, batch norms and a shortcut."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False, groups=2)
        self.norm2 = nn.BatchNorm2d(outs)
        self.short = nn.Conv2d(ins, outs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.norm1(self.conv1(x)))
        return torch.tanh(self.norm2(self.conv2(y)) + self.short(x))


def convnet() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Conv2d(2, 6, 3, padding=1), Residual(6, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(8, 4)).double()


def images(step: int, n: int = 16) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(step)
    x = torch.randn(n, 2, 5, 5, generator=rng, dtype=torch.float64)
    return x, x.flatten(1)[:, :4].argmax(1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_a_convolutional_net_is_one_run_too(name: str, optimizer: str) -> None:
    clip = name not in HEARS_BESIDE_A_STEP
    masked = Run(METHODS[name], optimizer, sparse=False, model=convnet(), data=images).train(1, STEPS, clip=clip)
    stored = Run(METHODS[name], optimizer, model=convnet(), data=images)
    assert sum(isinstance(m, SparseConv2d) for m in stored.model.modules()) == 4
    stored.train(1, STEPS, clip=clip)
    same(masked, stored)
    assert len(stored.wirings) > 3 or name in STANDS_STILL


def plain_convnet() -> nn.Sequential:
    """Of 3 x 3 kernels with stride 1, which Winograd's algorithm can multiply."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.Tanh()
        second = nn.Conv2d(6, 7, 3, padding=1), nn.BatchNorm2d(7), nn.Tanh()
        return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 4)).double()


@pytest.mark.parametrize("name", METHODS)
def test_a_convolutional_net_multiplied_by_winograds_algorithm_is_one_run_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.available():
        pytest.skip("no compiler: no kernels were built")
    taken = []

    def always(nnz: int, shape: tuple[int, ...], **geometry: object) -> str:
        taken.append(shape)
        return "winograd"

    monkeypatch.setattr("wirings.kernels.conv.route", always)
    clip = name not in HEARS_BESIDE_A_STEP
    masked = Run(METHODS[name], sparse=False, model=plain_convnet(), data=images).train(1, STEPS, clip=clip)
    stored = Run(METHODS[name], model=plain_convnet(), data=images).train(1, STEPS, clip=clip)
    same(masked, stored)
    assert {(6, 2, 3, 3), (7, 6, 3, 3)} == set(taken)


@pytest.mark.parametrize("method", [EdgePopup(), GemMiner(), Supermask()], ids=lambda m: type(m).__name__)
def test_methods_that_train_a_score_for_every_position_are_refused(method: Method) -> None:
    with pytest.raises(
        wr.WiringError, match=r"cannot run truly sparse: it trains a score for every position of `0.weight`"
    ):
        Run(method)


def test_methods_that_remember_what_is_not_connected_are_refused() -> None:
    with pytest.raises(wr.WiringError, match=r"it remembers the values of every position of `0.weight`"):
        Run(TopKAST(remember=True))


def test_a_refusal_leaves_nothing_behind() -> None:
    model = to_sparse(mlp())
    optimizer = SGD(wr.param_groups(model, 1e-3), lr=0.1)
    with pytest.raises(wr.WiringError):
        wr.attach(model, optimizer, EdgePopup())
    wr.attach(model, optimizer, Static(begin=BEGIN))


def test_optimizers_that_read_the_shape_of_a_matrix_are_refused() -> None:
    model = to_sparse(mlp())
    with pytest.raises(
        wr.WiringError, match=r"`Adafactor` reads the shape of a weight matrix, which `0.weight` in sparse"
    ):
        wr.attach(model, Adafactor(model.parameters()), Static(begin=BEGIN))


def test_lbfgs_runs_where_the_wiring_stands_still_and_is_refused_where_it_moves() -> None:
    def losses(model: nn.Module) -> list[float]:
        optimizer = LBFGS(model.parameters(), lr=0.5, max_iter=3)
        wr.attach(model, optimizer, Static(begin=BEGIN))
        x, y = batch(1)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        return [float(optimizer.step(closure).detach()) for _ in range(5)]

    assert losses(mlp()) == pytest.approx(losses(to_sparse(mlp())), rel=1e-9, abs=0)
    model = to_sparse(mlp())
    with pytest.raises(wr.WiringError, match="`LBFGS` remembers directions over all weights"):
        wr.attach(model, LBFGS(model.parameters()), SET(begin=BEGIN))


def test_a_sparse_weight_spared_by_the_usual_idiom_is_told() -> None:
    model = to_sparse(nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 4)))
    other = nn.Parameter(torch.ones(2, 2))
    groups = [
        {"params": [other], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    with pytest.warns(UserWarning, match=r"`0.weight` has no weight decay, but other parameters have"):
        wr.attach(model, SGD(groups, lr=0.1), Static(begin=BEGIN))
    decayed, spared = wr.param_groups(model, 0.1)
    assert [p.numel() for p in decayed["params"]] == [model[0].values.numel(), model[2].values.numel()]
    assert len(spared["params"]) == 3


@pytest.mark.parametrize("name", ["set", "rigl", "snfs", "dnw, frozen", "top-kast", "granet"])
def test_a_run_saved_and_resumed_is_bit_equal(name: str) -> None:
    whole = Run(METHODS[name], "adamw").train(1, 30)
    file = io.BytesIO()
    state = {"model": whole.model.state_dict(), "optimizer": whole.optimizer.state_dict()}
    torch.save(state | {"sparse": whole.sparse.state_dict()}, file)
    whole.train(31, STEPS)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for order in (("model", "optimizer", "sparse"), ("sparse", "optimizer", "model")):
        resumed = Run(METHODS[name], "adamw", model=mlp(seed=5), seed=9)
        for what in order:
            getattr(resumed, what).load_state_dict(copy.deepcopy(saved[what]))
        resumed.train(31, STEPS)
        assert resumed.losses == whole.losses[30:]
        assert resumed.sparse.supports == whole.sparse.supports
        for p, q in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
            assert torch.equal(p, q)


def test_memory_of_the_optimizer_moves_with_its_connections() -> None:
    run = Run(METHODS["granet"], "adamw").train(1, 11)
    layer: SparseLayer = run.model[0]
    old, state = layer.topology, run.optimizer.state[layer.values]["exp_avg"].clone()
    run.train(12, 12)
    new = layer.topology
    assert old != new
    moved = run.optimizer.state[layer.values]["exp_avg"]
    assert moved.shape == layer.values.shape
    before = torch.zeros(old.numel, dtype=torch.float64).scatter_(0, old.index, state)
    assert bool((moved[~(old.mask.view(-1)[new.index])] == 0).all())
    assert bool((layer.values.detach()[~(old.mask.view(-1)[new.index])] == 0).all())
    assert bool(before.any())
    assert run.optimizer.param_groups[0]["params"][0] is layer.values
    assert len(run.optimizer.state) == len(list(run.model.parameters()))


def test_detach_leaves_no_hook_and_a_second_method_may_follow() -> None:
    run = Run(METHODS["rigl"]).train(1, 13)
    with pytest.raises(wr.WiringError, match="has a method attached already"):
        wr.attach(run.model, run.optimizer, METHODS["set"])
    run.sparse.detach()
    assert all(layer.on_swap is None and not layer.listening for layer in run.model if isinstance(layer, SparseLayer))
    wiring = run.sparse.wiring
    again = wr.attach(run.model, run.optimizer, Static(begin=wiring))
    assert again.wiring == wiring


def test_where_chooses_among_sparse_and_dense_layers() -> None:
    model = mlp()
    wiring = wr.Wiring({"2.weight": wr.Topology.full((16, 20)).sample(50, torch.Generator())})
    model = to_sparse(model, wiring)
    sparse = wr.attach(model, SGD(model.parameters(), lr=0.1), SET(begin=BEGIN))
    assert list(sparse.sites) == ["0.weight", "2.weight", "4.weight"]
    assert [isinstance(site, SparseSite) for site in sparse.sites.values()] == [False, True, False]
    sparse.detach()
    only = wr.attach(model, SGD(model.parameters(), lr=0.1), SET(begin=BEGIN), where=["2.weight"])
    assert list(only.sites) == ["2.weight"]


def test_masked_and_sparse_layers_train_side_by_side() -> None:
    masked = Run(METHODS["rigl"], sparse=False).train(1, 30)
    half = to_sparse(mlp(), wr.Wiring({"2.weight": wr.Topology.full((16, 20))}))
    mixed = Run(METHODS["rigl"], sparse=False, model=half).train(1, 30)
    assert isinstance(mixed.model[2], SparseLinear)
    assert isinstance(mixed.model[0], nn.Linear)
    same(masked, mixed)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.second = nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


@pytest.mark.parametrize("name", ["rigl", "granet", "dnw, frozen"])
def test_tied_weights_stay_tied(name: str) -> None:
    def tied() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            return Tied().double()

    masked = Run(METHODS[name], sparse=False, model=tied()).train(1, 30, clip=False)
    stored = Run(METHODS[name], model=tied()).train(1, 30, clip=False)
    same(masked, stored)
    assert list(stored.sparse.sites) == ["first.weight", "head.weight"]
    assert stored.model.first.values is stored.model.second.values
    assert stored.model.first.topology == stored.model.second.topology
    twin = copy.deepcopy(stored.model)
    assert twin.first.values is twin.second.values
    fresh = to_sparse(tied())
    fresh.load_state_dict(stored.model.state_dict())
    assert fresh.first.values is fresh.second.values
    x, _ = batch(1)
    assert torch.equal(fresh(x), stored.model(x))
    dense = to_dense(twin)
    assert dense.first.weight is dense.second.weight


def test_a_layer_used_twice_in_a_forward_pass_hears_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(12, 12), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))

    torch.manual_seed(0)
    model = Twice().double()
    masked = Run(METHODS["rigl"], sparse=False, model=copy.deepcopy(model)).train(1, 30)
    same(masked, Run(METHODS["rigl"], model=model).train(1, 30))


def test_an_abandoned_backward_pass_is_not_heard() -> None:
    a, b = Run(METHODS["rigl"]), Run(METHODS["rigl"])
    for run, abandons in ((a, False), (b, True)):
        run.train(1, 11)
        if abandons:
            x, y = batch(99)
            cross_entropy(run.model(x), y).backward()
        run.train(12, 13)
    assert a.losses == b.losses
    assert a.wirings == b.wirings


def test_gradients_zeroed_in_place_begin_anew_too() -> None:
    a, b = Run(METHODS["rigl"]), Run(METHODS["rigl"])
    for run, to_none in ((a, True), (b, False)):
        for step in range(1, 14):
            for extra in (77, step):  # the first is zeroed away
                run.optimizer.zero_grad(set_to_none=to_none)
                x, y = batch(extra)
                cross_entropy(run.model(x), y).backward()
            run.optimizer.step()
    assert a.sparse.wiring == b.sparse.wiring


@pytest.mark.parametrize("name", ["rigl", "snfs", "top-kast"])
def test_a_scaled_loss_changes_nothing(name: str) -> None:
    found = []
    for scaled in (False, True):
        run = Run(METHODS[name])
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7, enabled=scaled)
        for step in range(1, 30):
            run.optimizer.zero_grad()
            x, y = batch(step)
            loss = cross_entropy(run.model(x), y)
            scaler.scale(loss).backward()
            scaler.step(run.optimizer)
            scaler.update()
            run.losses.append(loss.item())
        found.append((run.losses, run.sparse.wiring))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    assert found[0][1] == found[1][1]


class Checkpointed(nn.Module):
    """The middle layer runs twice: its activations are not kept but made again."""

    def __init__(self, *, reentrant: bool | None) -> None:
        super().__init__()
        self.layers, self.reentrant = mlp(), reentrant

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant is None or not torch.is_grad_enabled():
            return self.layers(x)
        h = self.layers[0](x)
        middle: Tensor = checkpoint(lambda h: self.layers[2](torch.tanh(h)), h, use_reentrant=self.reentrant)
        return self.layers[4](torch.tanh(middle))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_hear_the_same(reentrant: bool) -> None:
    masked = Run(METHODS["rigl"], sparse=False, model=Checkpointed(reentrant=None)).train(1, 30)
    same(masked, Run(METHODS["rigl"], model=Checkpointed(reentrant=reentrant)).train(1, 30))


def test_an_input_overwritten_before_the_step_is_refused() -> None:
    run = Run(METHODS["rigl"]).train(1, 11)
    x, y = batch(12)
    cross_entropy(run.model(x), y).backward()
    x.zero_()
    with pytest.raises(wr.WiringError, match="was overwritten between backward and step"):
        run.optimizer.step()


def test_snfs_hears_what_clipping_left() -> None:
    run = Run(METHODS["snfs"])
    x, y = batch(1)
    cross_entropy(run.model(x), y).backward()
    grad = run.model[0].values.grad
    for p in run.model.parameters():
        p.grad.mul_(0.25)
    run.optimizer.step()
    site = run.sparse.sites["0.weight"]
    torch.testing.assert_close(site.averaged.view(-1)[site.support.forward.index], grad, rtol=1e-10, atol=0)
    assert int((site.averaged != 0).sum()) > site.support.forward.nnz


def test_averages_follow_and_stale_copies_say_so() -> None:
    run = Run(METHODS["rigl"])
    ema = torch.optim.swa_utils.AveragedModel(run.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    untold = copy.deepcopy(ema)
    snapshot = copy.deepcopy(run.model)
    stop = wr.follow(ema, run.sparse)
    x, _ = batch(0)
    wanted = snapshot(x)
    shadow = torch.zeros(20, 12, dtype=torch.float64)  # the masked average, by hand
    for step in range(1, 15):
        run.train(step, step)
        layer = run.model[0]
        for copied in (ema, untold):
            copied.update_parameters(run.model)
        live = layer.dense_weight()
        shadow = live if step == 1 else (0.9 * shadow + 0.1 * live).masked_fill(~layer.topology.mask, 0)
    assert ema.module[0].topology == run.model[0].topology
    torch.testing.assert_close(ema.module[0].dense_weight(), shadow)
    ema(x)
    with pytest.raises(
        wr.WiringError, match=r"averaged with a model whose wiring has changed since; keep it in step with"
    ):
        untold(x)
    assert torch.equal(snapshot(x), wanted)  # nobody wrote to it
    stop()


def test_an_average_follows_changing_counts() -> None:
    run = Run(METHODS["granet"])
    ema = torch.optim.swa_utils.AveragedModel(run.model)
    wr.follow(ema, run.sparse)
    for step in range(1, 26):
        run.train(step, step)
        ema.update_parameters(run.model)
    x, _ = batch(0)
    assert ema.module[0].topology == run.model[0].topology
    assert bool(ema(x).isfinite().all())
    with pytest.raises(wr.WiringError, match="Got the live model itself"):
        wr.follow(run.model, run.sparse)
    with pytest.raises(wr.WiringError, match=r"`0.weight` is missing or of another shape"):
        wr.follow(mlp(), run.sparse)


def test_a_copy_that_trains_by_itself_is_no_average() -> None:
    run = Run(METHODS["set"]).train(1, 5)
    twin = copy.deepcopy(run.model)
    optimizer = SGD(twin.parameters(), lr=0.1)
    for step in range(6, 16):
        x, y = batch(step)
        optimizer.zero_grad()
        cross_entropy(twin(x), y).backward()
        optimizer.step()
        run.train(step, step)
    assert bool(twin(batch(0)[0]).isfinite().all())


def test_lottery_rounds_give_the_same_tickets() -> None:
    tickets = []
    for sparse in (False, True):
        start = mlp().state_dict()
        wiring, found = wr.Wiring.full({n: tuple(p.shape) for n, p in wr.prunable(mlp()).items()}), []
        for _ in range(3):
            model = mlp()
            model.load_state_dict(start)
            run = Run(Static(begin=wiring), sparse=sparse, model=model).train(1, 20)
            dense = to_dense(run.model) if sparse else run.model
            weights = {n: p.detach().abs().view(-1)[wiring[n].index] for n, p in wr.prunable(dense).items()}
            wiring = wr.top_global(weights, round(0.6 * wiring.nnz), wiring)
            found.append(wiring)
        tickets.append(found)
    assert tickets[0] == tickets[1]
