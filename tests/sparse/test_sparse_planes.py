"""Activations that stay in planes: any `forward`, the same numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wirings as wr
from wirings.kernels import native
from wirings.methods import DNW, GraNet, Method, RigL
from wirings.sparse import keep_planes, to_dense, to_sparse
from wirings.sparse.planes import PlaneImages


class Block(nn.Module):
    def __init__(self, ins: int, outs: int, stride: int, *, pad: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs)
        self.conv2, self.bn2 = nn.Conv2d(outs, outs, 3, 1, 1, groups=2), nn.BatchNorm2d(outs, affine=False)
        self.relu = nn.ReLU(inplace=True)
        self.short = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))
        self.pad, self.stride, self.missing = pad, stride, outs - ins

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += (
            F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing)) if self.pad else self.short(x)
        )
        return self.relu(y)


class Odd(nn.Module):
    """Everything that planes do not know, in the middle of what they do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 5, padding=2), nn.BatchNorm2d(6)
        self.leaky, self.drop = nn.LeakyReLU(0.1, inplace=True), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.a(x)
        self.leaky(y)  # in place, its result thrown away
        z = self.b(y)
        z.mul_(2)
        n = self.norm(z)
        m = n + y.size(1)  # used twice: its running statistics move once
        w = torch.relu(n) - torch.sigmoid(m)
        u = self.drop(torch.cat([w, self.a(w)], 1))[:, :6] * 0.5
        return self.b(u), {"seen": self.a(z).mean((2, 3)), "flat": self.a(u).flatten(1), "kept": self.a(x)}


def blocks(pad: bool = False) -> nn.Module:
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), Block(6, 8, 2, pad=pad), Block(8, 8, 1), *head)


class Plain(nn.Module):
    """A block whose shortcut is its input, used by both its convolutions and the addition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x)
        return y + self.conv2(x) + self.conv1(y)  # everything again, in another order


def wide_stem() -> nn.Module:
    stem = nn.Conv2d(2, 6, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(6), nn.ReLU()
    return nn.Sequential(*stem, nn.MaxPool2d(2), Block(6, 8, 1), nn.Conv2d(8, 3, 1))


def pooled() -> nn.Module:
    parts = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    more = nn.Conv2d(6, 5, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(5, 4, 1), nn.MaxPool2d((1, 2))
    return nn.Sequential(*parts, *more, nn.Conv2d(4, 3, 1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "pooled": pooled,
    "residual": blocks,
    "padded shortcut": lambda: blocks(pad=True),
    "wide stem, images out": wide_stem,
    "plain shortcut": lambda: nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), Plain(5), Plain(5), nn.Conv2d(5, 2, 1)),
    "odd": lambda: nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), Odd()),
}


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A network in sparse storage, and its twin that keeps planes."""
    torch.manual_seed(0)
    dense = NETS[name]().double()
    rng = torch.Generator().manual_seed(0)
    full = {n: wr.Topology.full(tuple(p.shape)) for n, p in wr.prunable(dense).items()}
    plain = to_sparse(dense, {n: t.sample(round(0.5 * t.numel), rng) for n, t in full.items()})
    return plain, keep_planes(copy.deepcopy(plain))


def flat(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [t for part in parts for t in flat(part)]


@pytest.mark.parametrize("last", [False, True], ids=["plain", "channels last"])
@pytest.mark.parametrize("batch", [3, 16, 19])
@pytest.mark.parametrize("name", NETS)
def test_planes_give_the_numbers_of_tensors(name: str, batch: int, last: bool) -> None:
    plain, kept = pair(name)
    for step in range(2):
        x = torch.randn(batch, 2, 8, 8, dtype=torch.float64)
        x = x.to(memory_format=torch.channels_last) if last else x
        inputs = [x.clone().requires_grad_(step == 0) for _ in range(2)]
        results = [flat(model(some)) for model, some in zip((plain, kept), inputs, strict=True)]
        for theirs, ours in zip(*results, strict=True):
            assert type(ours) is Tensor
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
        for result in results:
            sum((t * torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view_as(t)).sum() for t in result).backward()
        if step == 0:
            torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-8, atol=1e-10)
    for theirs, ours in zip(plain.parameters(), kept.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)
    for theirs, ours in zip(plain.buffers(), kept.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        for theirs, ours in zip(flat(plain.eval()(x)), flat(kept.eval()(x)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_small_layers_that_miss_nothing_run_in_planes_too() -> None:
    torch.manual_seed(0)
    dense = NETS["residual"]().double()
    rng = torch.Generator().manual_seed(0)
    full = {n: wr.Topology.full(tuple(p.shape)) for n, p in wr.prunable(dense).items()}
    wiring = {n: t if "short" in n or n == "0.weight" else t.sample(t.numel // 2, rng) for n, t in full.items()}
    plain = to_sparse(dense, wiring)
    kept = keep_planes(copy.deepcopy(plain))
    seen: list[object] = []
    for layer in (kept[0], kept[1].short[0]):
        layer.register_forward_hook(lambda _m, _i, out: seen.append(type(out)))
    x = torch.randn(5, 2, 8, 8, dtype=torch.float64)
    results = [model(x) for model in (plain, kept)]
    assert seen == [PlaneImages if native.available() else Tensor] * 2
    for result in results:
        result.square().sum().backward()
    torch.testing.assert_close(*results)
    for theirs, ours in zip(plain.parameters(), kept.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_planes_are_really_kept_and_end_at_the_border() -> None:
    _, kept = pair("residual")
    seen: list[object] = []
    kept[1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    kept[1].bn1.register_forward_hook(lambda _m, _i, out: seen.append(out))
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    assert type(kept(x)) is Tensor
    kind = PlaneImages if native.available() else Tensor  # without compiled kernels there is nothing to win
    assert [type(out) for out in seen] == [kind, kind]
    seen = [out if isinstance(out, PlaneImages) else PlaneImages.of(out, halo=1) for out in seen]
    assert seen[1].shape == seen[1].tensor().shape == (4, 8, 4, 4)
    assert type(kept[0](x)) is Tensor  # outside of the region


def test_max_pools_stay_in_planes() -> None:
    _, kept = pair("pooled")
    seen: list[object] = []
    for layer in kept.children():
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_hook(lambda _m, _i, out: seen.append(type(out)))
    kept(torch.randn(4, 2, 8, 8, dtype=torch.float64))
    kind = PlaneImages if native.available() else Tensor
    assert seen == [kind, Tensor, kind]  # the one in the middle counts what is not there


METHODS: dict[str, Method] = {
    "rigl": RigL(begin=wr.ErdosRenyi(0.5), when=wr.Every(2, until=None), fraction=wr.Constant(0.3)),
    "granet": GraNet(density=wr.Cubic(initial=0.6, final=0.3, until=8), when=wr.Every(2)),
    "dnw": DNW(density=0.5, freeze_at=4),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_run_in_planes_as_they_run_outside(name: str) -> None:
    found = []
    for model in pair("residual"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        sparse = wr.attach(model, optimizer, METHODS[name], steps=10)
        rng, losses = torch.Generator().manual_seed(0), []
        for _ in range(10):
            x, y = torch.randn(9, 2, 8, 8, generator=rng, dtype=torch.float64), torch.randint(4, (9,), generator=rng)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found.append((losses, sparse.wiring))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    assert found[0][1] == found[1][1]


def test_copies_keep_planes_and_errors_leave_no_region_behind() -> None:
    plain, kept = pair("residual")
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    y = plain(x)
    assert keep_planes(kept) is kept
    for twin in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):  # noqa: S301 (our own bytes)
        torch.testing.assert_close(twin.train()(x), y)
    with pytest.raises(ValueError, match=r"must have shape \(batch, 2, height, width\)"):
        kept(torch.randn(4, 3, 8, 8, dtype=torch.float64))
    assert type(kept[0](x)) is Tensor
    torch.testing.assert_close(to_dense(kept)(x), y)


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The norm of what differs, as a share; single gradients through batch norms may cancel."""
    ours, theirs = (torch.cat([t.detach().double().flatten() for t in some]) for some in (found, wanted))
    return float((ours - theirs).norm() / theirs.norm())


def flowing(half: torch.dtype, batch: int) -> torch.dtype:
    """What the activations of float32 networks are under autocast."""
    return half if half == torch.bfloat16 and native.multiplies_bfloat16() and batch > 16 else torch.float32


@pytest.mark.parametrize("batch", [4, 20])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_under_autocast_planes_are_bfloat16_where_that_is_faster(half: torch.dtype, batch: int) -> None:
    plain, kept = (model.float() for model in pair("residual"))
    exact = copy.deepcopy(plain)
    x = torch.randn(batch, 2, 8, 8)
    with torch.autocast("cpu", half):
        y, rounded = kept(x), plain(x)
    wanted = exact(x)
    assert y.dtype == rounded.dtype == half  # of the layer at the end, as ever
    torch.testing.assert_close(y.float(), wanted, rtol=0.05, atol=0.05)
    y.float().square().sum().backward()
    wanted.square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in kept.parameters())
    assert apart([p.grad for p in kept.parameters()], [p.grad for p in exact.parameters()]) < 0.2
    for ours, theirs in zip(kept.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    seen: list[object] = []
    kept[1].register_forward_hook(lambda _m, _i, out: seen.append((type(out), out.dtype)))
    with torch.autocast("cpu", half):
        kept(x)
    assert seen == [(PlaneImages, flowing(half, batch))] or not native.available()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [3, 19, 33])
def test_a_bfloat16_network_stays_in_planes_and_rounds_like_any(name: str, batch: int) -> None:
    plain, kept = (model.bfloat16() for model in pair(name))
    exact = copy.deepcopy(plain).double()
    x = torch.randn(batch, 2, 8, 8).bfloat16()
    results = [flat(model(some)) for model, some in ((plain, x), (kept, x), (exact, x.double()))]
    for result in results:
        sum((t.double() * torch.linspace(-1, 1, t.numel()).view_as(t)).sum() for t in result).backward()
    for model, result in ((plain, results[0]), (kept, results[1])):
        assert all(t.dtype == torch.bfloat16 for t in (*result, *model.parameters()))
    assert apart(results[1], results[2]) < max(0.01, 2 * apart(results[0], results[2]))
    gradients = [[p.grad for p in model.parameters() if p.grad is not None] for model in (plain, kept, exact)]
    assert apart(gradients[1], gradients[2]) < max(0.05, 3 * apart(gradients[0], gradients[2]))
    for ours, theirs in zip(kept.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=0.05, atol=0.05)


@pytest.mark.skipif("avx512bf16" not in native.installed(), reason="this processor does not multiply bfloat16")
def test_a_method_learns_in_bfloat16_planes_what_it_learns_in_float32() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(64, 2, 8, 8), torch.randint(4, (64,))
    losses = []
    for half in (False, True):
        net = pair("residual")[1].float()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        sparse = wr.attach(net, optimizer, METHODS["rigl"], steps=40)
        before = sparse.wiring
        for _ in range(40):
            optimizer.zero_grad()
            with native.using("avx512bf16"), torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = F.cross_entropy(net(x), labels)
                loss.backward()
            optimizer.step()
        assert sparse.wiring != before
        assert all(p.dtype == torch.float32 for p in net.parameters())
        losses.append(loss.item())
    assert losses[0] < 0.7
    assert abs(losses[1] - losses[0]) < 0.2


def test_where_planes_cannot_be_nothing_changes() -> None:
    plain, kept = (model.float() for model in pair("residual"))
    x = torch.randn(4, 2, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kept(x), plain(x))


def test_a_compiled_network_runs_without_planes_in_one_graph() -> None:
    plain, kept = pair("residual")
    torch._dynamo.reset()
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    run = torch.compile(kept, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(x), plain(x))
    torch.testing.assert_close(kept.eval()(x), plain.eval()(x))
    torch._dynamo.reset()


def test_second_derivatives_in_planes_are_refused() -> None:
    _, kept = pair("residual")
    loss = kept(torch.randn(4, 2, 8, 8, dtype=torch.float64)).sum()
    with pytest.raises(wr.WiringError, match="cannot be differentiated twice"):
        torch.autograd.grad(loss, list(kept.parameters()), create_graph=True)


def test_a_whole_layer_that_winograds_algorithm_serves_stays_in_planes() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(48, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 48, 5)).double()
    whole = wr.Wiring({n: wr.Topology.full(tuple(p.shape)) for n, p in wr.prunable(dense).items()})
    kept = keep_planes(to_sparse(copy.deepcopy(dense), whole))
    seen: list[object] = []
    for layer in (kept[0], kept[3]):
        layer.register_forward_hook(lambda _m, _i, out: seen.append(type(out)))
    x = torch.randn(16, 48, 9, 9, dtype=torch.float64)
    results = [net(x) for net in (dense, kept)]
    assert seen == [PlaneImages if native.available() else Tensor, Tensor]
    for result in results:
        result.square().mean().backward()
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    gradients = kept[0].values.grad, dense[0].weight.grad.flatten()
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
