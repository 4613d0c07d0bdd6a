"""Layers in sparse storage: the numbers of a dense layer, and a life like any module's."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

import wirings as wr
from wirings.core import topology as topology_module
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.kernels import native
from wirings.sparse import (
    SparseConv2d,
    SparseLayer,
    SparseLinear,
    rest,
    sparse_weights,
    stays_dense,
    to_dense,
    to_sparse,
)


def some(shape: tuple[int, ...], density: float = 0.3, seed: int = 0) -> Topology:
    whole = Topology.full(shape)
    return whole.sample(round(density * whole.numel), torch.Generator().manual_seed(seed))


def masked_equal(dense: nn.Module, topology: Topology) -> tuple[nn.Module, SparseLayer]:
    """The dense layer with zeros, and the sparse one."""
    with torch.no_grad():
        dense.weight.mul_(topology.mask)
    return dense, to_sparse(copy.deepcopy(dense), {"weight": topology})


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "linear without bias, more batch dimensions": (lambda: nn.Linear(7, 5, bias=False), (2, 3, 7)),
    "linear, one sample": (lambda: nn.Linear(7, 5), (7,)),
    "linear, no sample": (lambda: nn.Linear(7, 5), (0, 7)),
    "linear, one unit": (lambda: nn.Linear(1, 1), (4, 1)),
    "conv": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 5, 6)),
    "conv, stride 2": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), (13, 3, 7, 7)),
    "conv, pointwise": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 5, 5)),
    "conv, 5 x 5": (lambda: nn.Conv2d(2, 3, 5, padding="same"), (1, 2, 6, 6)),
    "conv, 7 x 7 stem": (lambda: nn.Conv2d(2, 3, 7, stride=2, padding=3), (2, 2, 9, 9)),
    "conv, oblong kernel": (lambda: nn.Conv2d(2, 3, (1, 3)), (2, 2, 5, 5)),
    "conv, groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 5, 5)),
    "conv, depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), (2, 4, 5, 5)),
    "conv, one image": (lambda: nn.Conv2d(2, 3, 3), (2, 5, 5)),
}


@pytest.mark.parametrize("larger", [False, True], ids=["plain", "backward larger"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_sparse_layer_computes_what_the_dense_one_with_zeros_does(kind: str, larger: bool) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    dense = make().double()
    forward = some(tuple(dense.weight.shape), 0.4)
    backward = forward | some(tuple(dense.weight.shape), 0.3, seed=1) if larger else forward
    sparse = to_sparse(copy.deepcopy(dense), {"weight": Support(forward, backward)})
    with torch.no_grad():
        dense.weight.mul_(forward.mask)
    x = torch.randn(shape, dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = sparse(b), dense(a)
    torch.testing.assert_close(ours, theirs)
    g = torch.randn_like(theirs)
    theirs.backward(g)
    ours.backward(g)
    torch.testing.assert_close(b.grad, a.grad)
    torch.testing.assert_close(sparse.values.grad, dense.weight.grad.reshape(-1)[backward.index])
    if dense.bias is not None:
        torch.testing.assert_close(sparse.bias.grad, dense.bias.grad)
    assert sparse.topology == forward
    assert sparse.support.backward == backward
    assert torch.equal(sparse.dense_weight(), dense.weight)


@pytest.mark.parametrize("kind", ["linear", "conv, groups", "conv, stride 2"])
def test_rows_of_the_whole_gradient_are_those_of_the_dense_layer(kind: str) -> None:
    make, shape = LAYERS[kind]
    dense, sparse = masked_equal(make().double(), some(tuple(make().weight.shape)))
    x = torch.randn(shape, dtype=torch.float64)
    sparse.listen(True)
    for layer in (dense, sparse):
        layer(x).pow(2).sum().backward()
    ((seen, grad),) = sparse.heard()
    rows, _ = sparse.matrix_shape
    whole = dense.weight.grad.reshape(rows, -1)
    torch.testing.assert_close(sparse.gradient_rows(1, rows, seen, grad), whole[1:])
    on = some(tuple(dense.weight.shape), 0.2, seed=5)
    found = sparse.gradient_at(sparse.index_of(on.index), seen, grad)
    torch.testing.assert_close(found, whole.reshape(-1)[on.index])


def test_channels_last_goes_in_and_comes_out() -> None:
    dense, sparse = masked_equal(nn.Conv2d(3, 4, 3, padding=1), some((4, 3, 3, 3)))
    x = torch.randn(2, 3, 5, 5).to(memory_format=torch.channels_last)
    y = sparse(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, dense(x))


def test_empty_and_full_topologies_work() -> None:
    for topology in (Topology.empty((5, 7)), Topology.full((5, 7))):
        dense, sparse = masked_equal(nn.Linear(7, 5).double(), topology)
        x = torch.randn(3, 7, dtype=torch.float64)
        torch.testing.assert_close(sparse(x), dense(x))
        sparse(x).sum().backward()
        assert sparse.values.grad.shape == (topology.nnz,)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 3))


def wired(seed: int = 0, density: float = 0.3, model: nn.Module | None = None) -> nn.Module:
    model = small() if model is None else model
    shapes = {name: tuple(p.shape) for name, p in wr.prunable(model).items()}
    return to_sparse(model, {n: some(shape, density, seed) for n, shape in shapes.items()})


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),  # noqa: S301 (our own bytes)
    "torch.save": saved,
    "double and back": lambda model: copy.deepcopy(model).double().float(),
    "to(dtype)": lambda model: copy.deepcopy(model).to(torch.float64).to(torch.float32),
    "type": lambda model: copy.deepcopy(model).type(torch.float64).type(torch.float32),
    "a list of its parts": lambda model: nn.Sequential(*copy.deepcopy(model)),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_carry_values_and_topology_and_train_on(how: str) -> None:
    model = wired()
    x = torch.randn(4, 2, 5, 5)
    y = model(x)
    twin = COPIES[how](model)
    assert torch.equal(twin(x), y)
    assert twin[3].topology == model[3].topology
    assert twin[3].column.dtype == torch.int32
    before = model[3].values.detach().clone()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    twin(x).pow(2).sum().backward()
    optimizer.step()
    assert not torch.equal(twin[3].values, before)
    assert torch.equal(model[3].values, before)
    sparse = wr.attach(twin, optimizer, wr.SET(begin=wr.ErdosRenyi(0.2), when=wr.Every(1)))
    twin(x).pow(2).sum().backward()
    optimizer.step()
    assert sparse.wiring["3.weight"] == twin[3].topology != model[3].topology


def test_a_state_dict_goes_into_fresh_layers_of_another_topology() -> None:
    model = wired(seed=0, density=0.3)
    x = torch.randn(4, 2, 5, 5)
    for other in (wired(seed=1, density=0.3), wired(seed=2, density=0.5), to_sparse(small())):
        assert other[3].topology != model[3].topology
        other.load_state_dict(model.state_dict())
        assert other[3].topology == model[3].topology
        assert torch.equal(other(x), model(x))
    assigned = wired(seed=3)
    assigned.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert torch.equal(assigned(x), model(x))


def test_the_used_part_of_what_trains_is_saved_too() -> None:
    forward, backward = some((5, 7), 0.2), some((5, 7), 0.2) | some((5, 7), 0.5, seed=4)
    layer = to_sparse(nn.Linear(7, 5), {"weight": Support(forward, backward)})
    plain = to_sparse(nn.Linear(7, 5), {"weight": forward})
    plain.load_state_dict(layer.state_dict())
    assert (plain.support.forward, plain.support.backward) == (forward, backward)
    other = to_sparse(nn.Linear(7, 5), {"weight": Support(some((5, 7), 0.1), Topology.full((5, 7)))})
    other.load_state_dict(to_sparse(nn.Linear(7, 5), {"weight": forward}).state_dict())
    assert other.used is None
    assert other.topology == forward


def test_dense_checkpoints_load_under_their_own_keys_and_back() -> None:
    dense, model = small(), wired()
    with torch.no_grad():
        for p in dense.parameters():
            p.add_(0.5)
    state = dense.state_dict()
    model.load_state_dict(state)
    for name in ("0", "3", "5"):
        layer = model.get_submodule(name)
        assert torch.equal(layer.dense_weight(), state[f"{name}.weight"] * layer.topology.mask)
        assert torch.equal(layer.bias, state[f"{name}.bias"])
    x = torch.randn(4, 2, 5, 5)
    y = model(x)
    back = to_dense(model)
    assert list(back.state_dict()) == list(state)
    assert [type(m) for m in back] == [type(m) for m in dense]
    torch.testing.assert_close(back(x), y)


def test_a_damaged_checkpoint_is_refused_and_never_reaches_a_kernel() -> None:
    good = wired().state_dict()
    damages: dict[str, Callable[[dict[str, Tensor]], None]] = {
        "column out of range": lambda s: s["3.column"].fill_(10**6),
        "columns out of order": lambda s: s["3.column"].copy_(s["3.column"].flip(0)),
        "pointer that ends early": lambda s: s["3.pointer"].fill_(0),
        "floating columns": lambda s: s.update({"3.column": s["3.column"].float()}),
        "too few columns": lambda s: s.update({"3.column": s["3.column"][:-1]}),
        "dense of another shape": lambda s: s.update({"3.weight": torch.zeros(2, 2)}),
    }
    for what, damage in damages.items():
        state = copy.deepcopy(good)
        damage(state)
        model = wired(seed=1)
        with pytest.raises(wr.WiringError, match=r"of the checkpoint|no topology of shape"):
            model.load_state_dict(state)
        assert model[3].topology == wired(seed=1)[3].topology, what


def test_missing_keys_are_named_as_ever() -> None:
    state = wired().state_dict()
    del state["3.values"]
    with pytest.raises(RuntimeError, match=r"Missing key.*3\.values"):
        wired().load_state_dict(state)


def test_averaged_buffers_are_noticed() -> None:
    model = wired()
    model[3].column.sub_(1)
    with pytest.raises(wr.WiringError, match="the buffers were averaged"):
        model(torch.randn(1, 2, 5, 5))


def test_buffers_written_by_somebody_else_are_read_again() -> None:
    model, other = wired(seed=0), wired(seed=1)
    with torch.no_grad():
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            p.copy_(q)
        for p, q in zip(model.buffers(), other.buffers(), strict=True):
            p.copy_(q)  # as DistributedDataParallel does
    x = torch.randn(4, 2, 5, 5)
    assert torch.equal(model(x), other(x))
    assert model[3].topology == other[3].topology


def test_values_written_through_a_vector_are_the_values_that_train() -> None:
    model = wired()
    x = torch.randn(4, 2, 5, 5)
    vector = nn.utils.parameters_to_vector(model.parameters()).detach()
    doubled = to_dense(copy.deepcopy(model))
    nn.utils.vector_to_parameters(2 * vector, model.parameters())
    with torch.no_grad():
        for p in doubled.parameters():
            p.mul_(2)
    torch.testing.assert_close(model(x), doubled(x))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).pow(2).sum().backward()
    optimizer.step()
    assert not torch.equal(model(x), doubled(x))


def test_units_gain_and_lose_connections_as_they_train() -> None:
    model = wired()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model[3].topology.in_degrees
    begin = wr.Wiring({name: layer.topology for name, layer in sparse_weights(model).items()})
    wr.attach(model, optimizer, wr.RigL(begin=begin, when=wr.Every(1), fraction=wr.Constant(0.3)))
    model(torch.randn(4, 2, 5, 5)).pow(2).sum().backward()
    optimizer.step()
    assert not torch.equal(model[3].topology.in_degrees, before)


# ---------------------------------------------------------------------- straight from a topology


def test_a_layer_of_a_million_by_a_million_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_module, "_MASKS_UP_TO", 1 << 24)  # no mask of it may ever be made
    n, k = 10**6, 20_000
    layer = SparseLinear.from_topology(some((n, n), k / n**2))
    assert layer.values.shape == (k,)
    assert sum(t.numel() * t.element_size() for t in layer.state_dict().values()) < 20 * k + 13 * n
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    sparse = wr.attach(layer, optimizer, wr.SET(begin=wr.Wiring({"weight": layer.topology}), when=wr.Every(1)))
    first = layer.topology
    x = torch.zeros(1, n)
    x[0, first.index[:500] % n] = 1.0
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = layer(x).sub(0.01).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert sparse.wiring["weight"].nnz == k
    assert sparse.wiring["weight"] != first


def test_rigl_never_makes_an_object_of_the_size_of_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    from wirings.attach import sparse as sites

    monkeypatch.setattr(topology_module, "_MASKS_UP_TO", 1 << 18)
    monkeypatch.setattr(topology_module, "_ALGEBRA_BY_MASK_UP_TO", 1 << 12)
    monkeypatch.setattr(sites, "_BLOCK", 1 << 14)
    blocks = []
    layer = SparseLinear.from_topology(some((1000, 1000), 0.002))
    rows = SparseLinear.gradient_rows

    def watched(self: SparseLinear, first: int, last: int, x: Tensor, grad: Tensor) -> Tensor:
        blocks.append(last - first)
        return rows(self, first, last, x, grad)

    monkeypatch.setattr(SparseLinear, "gradient_rows", watched)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    begin, values = layer.topology, layer.values.detach().clone()
    method = wr.RigL(begin=wr.Wiring({"weight": begin}), when=wr.Every(1), fraction=wr.Constant(0.3))
    wr.attach(layer, optimizer, method)
    x = torch.randn(4, 1000)
    y = layer(x)
    y.pow(2).sum().backward()
    optimizer.step()
    assert max(blocks) == 16
    assert sum(blocks) == 1000
    monkeypatch.undo()
    keep = wr.top(values.abs(), begin.nnz - int(0.3 * begin.nnz), begin)
    strength = ((2 * y.detach()).T @ x).abs().reshape(-1)[(~keep).index]
    assert layer.topology == keep | wr.top(strength, begin.nnz - keep.nnz, ~keep)


def test_fresh_values_have_the_law_of_each_units_own_inputs() -> None:
    topology = Topology.at((3, 400), [*range(100), *range(400, 404)])
    layer = SparseLinear.from_topology(topology, rng=torch.Generator().manual_seed(1))
    values = layer.values.detach()
    wide, narrow = values[:100], values[100:]
    assert 0.08 < float(wide.abs().max()) <= 0.1
    assert float(narrow.abs().max()) <= 0.5
    assert torch.equal(layer.bias, torch.zeros(3))
    again = SparseLinear.from_topology(topology, rng=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert again.values.dtype == torch.float64
    assert torch.equal(again.values.float(), layer.values)
    conv = SparseConv2d.from_topology(some((4, 3, 3, 3)), padding=1, stride=2, bias=False)
    assert conv(torch.randn(2, 3, 8, 8)).shape == (2, 4, 4, 4)
    with pytest.raises(ValueError, match=r"must have shape \(out, in\)"):
        SparseLinear.from_topology(some((4, 3, 3, 3)))


# ---------------------------------------------------------------------- to_sparse


def test_swapping_keeps_biases_modes_and_what_is_frozen() -> None:
    model = small().eval()
    model[3].weight.requires_grad_(False)
    bias = model[3].bias
    wired(model=model)
    assert model[3].bias is bias
    assert not model[3].training
    assert not model[3].values.requires_grad
    assert list(
        wr.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), wr.Static(begin=wr.ErdosRenyi(0.5))).sites
    ) == [
        "0.weight",
        "5.weight",
    ]
    assert not to_dense(model)[3].weight.requires_grad


def test_a_layer_by_itself_and_one_module_in_two_places_are_swapped() -> None:
    assert isinstance(to_sparse(nn.Linear(3, 2)), SparseLinear)
    assert isinstance(to_dense(to_sparse(nn.Conv2d(3, 2, 3))), nn.Conv2d)
    layer = nn.Linear(4, 4)
    model = to_sparse(nn.Sequential(layer, nn.ReLU(), layer))
    assert model[0] is model[2]
    assert isinstance(model[0], SparseLinear)


@pytest.mark.parametrize(
    "layer, reason",
    [
        (nn.Conv2d(2, 2, 3, dilation=2), r"its dilation is \(2, 2\), and the kernels have none"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "its padding mode is 'reflect'"),
        (nn.Conv2d(2, 2, 3, stride=3), r"its stride is \(3, 3\), and the kernels know 1 and 2"),
        (nn.Conv2d(2, 2, 3, stride=(1, 2)), r"its stride is \(1, 2\)"),
        (nn.Conv2d(2, 2, 3, padding=(1, 0)), r"its padding is \(1, 0\), and the kernels pad all sides alike"),
        (nn.Conv2d(2, 2, 4, padding="same"), "its padding is 'same'"),
        (nn.Conv1d(2, 2, 3), "only Linear, Conv2d and .* layers can be in sparse storage"),
    ],
)
def test_what_the_kernels_cannot_do_stays_dense_and_says_why(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(layer, nn.Linear(3, 2))
    assert list(stays_dense(model)) == ["0.weight"]
    with pytest.raises(wr.WiringError, match=f"`0.weight` cannot be in sparse storage: {reason}"):
        to_sparse(model, wr.Wiring({"0.weight": some(tuple(layer.weight.shape))}))
    to_sparse(model)
    assert model[0] is layer
    assert isinstance(model[1], SparseLinear)


def test_a_wiring_that_does_not_fit_changes_nothing() -> None:
    model = small()
    for wiring, words in (
        ({"7.weight": some((3, 6))}, "names `7.weight`, which the network does not have"),
        ({"3.weight": some((3, 6))}, r"`3.weight` has shape \(3, 6\), but the layer's \(6, 36\)"),
    ):
        with pytest.raises(wr.WiringError, match=words):
            to_sparse(model, {"5.weight": some((3, 6)), **wiring})
        assert isinstance(model[5], nn.Linear)


def test_hooks_on_a_layer_are_not_lost_silently() -> None:
    model = small()
    model[3].register_forward_hook(lambda *_: None)
    assert stays_dense(model) == {"3.weight": "it has hooks, which would be lost"}


# ---------------------------------------------------------------------- torch


def test_autocast_and_half_precision_return_what_a_dense_layer_returns() -> None:
    for kind in ("linear", "conv, groups"):
        make, shape = LAYERS[kind]
        dense, sparse = masked_equal(make(), some(tuple(make().weight.shape)))
        x = torch.randn(shape)
        with torch.autocast("cpu", torch.bfloat16):
            ours, theirs = sparse(x), dense(x)
            assert ours.dtype == theirs.dtype == torch.bfloat16
            torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
            ours.float().sum().backward()
        assert sparse.values.grad.dtype == torch.float32
        half, half_dense = copy.deepcopy(sparse).bfloat16(), copy.deepcopy(dense).bfloat16()
        y = half(x.bfloat16())
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y, half_dense(x.bfloat16()), rtol=0.05, atol=0.05)
        y.sum().backward()
        assert half.values.grad.dtype == torch.bfloat16
        with pytest.raises(TypeError, match=r"must be torch.float32, as its values are. Got torch.float64"):
            sparse(x.double())


def test_second_derivatives_are_refused_with_a_sentence() -> None:
    model = wired()
    loss = model(torch.randn(2, 2, 5, 5)).pow(2).sum()
    with pytest.raises(wr.WiringError, match="`SparseLinear` cannot be differentiated twice"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


def test_a_sparse_layer_prints_its_size_and_density() -> None:
    assert repr(wired()[3]) == "SparseLinear(36, 6, bias=True, density=0.3009)"
    assert repr(wired()[0]) == "SparseConv2d(2, 4, (3, 3), stride=1, padding=0, groups=1, bias=True, density=0.3056)"


def test_without_compiled_kernels_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from wirings.kernels import native

    model, x = wired().double(), torch.randn(3, 2, 5, 5, dtype=torch.float64)
    y = model(x)
    monkeypatch.setattr(native, "library", lambda: None)
    torch.testing.assert_close(copy.deepcopy(model)(x), y)


def at_rest(seed=0, dtype=torch.float64):
    """A layer that answers, and how its answers are checked."""
    torch.manual_seed(seed)
    dense = torch.nn.Linear(40, 37).to(dtype)
    layer = wr.to_sparse(dense, {"weight": Topology.full((37, 40)).sample(200, torch.Generator().manual_seed(seed))})
    return layer.eval().requires_grad_(False)


def answers(layer, times=12):
    """After enough calls for a layout, what the layer says and what it should say."""
    dtype = layer.values.dtype
    with torch.no_grad():
        for batch in (1, 2):
            x = torch.randn(batch, 40, dtype=dtype)
            for _ in range(times):
                y = layer(x)
            assert_close(y, F.linear(x, layer.dense_weight(), layer.bias))


def test_values_at_rest_are_laid_out_and_notice_every_change(monkeypatch):
    made = []
    real = rest.Interleaved
    monkeypatch.setattr(rest, "Interleaved", lambda index, values: made.append(values) or real(index, values))
    layer = at_rest()
    laid = 1 if native.available() else 0
    answers(layer)
    assert len(made) == laid
    changes = {
        "in place": lambda: layer.values.mul_(2),
        "a step": lambda: layer.values.add_(1.0),
        "a checkpoint": lambda: layer.load_state_dict(at_rest(1).state_dict()),
        "assigned": lambda: layer.load_state_dict(at_rest(2).state_dict(), assign=True),
        "other connections": lambda: layer.rewire(Support.both(at_rest(3).topology)),
        "another dtype": lambda: layer.float(),
        "and back": lambda: layer.double(),
        "through data": lambda: (layer.values.data.mul_(3), layer.eval()),
    }
    for change in changes.values():
        before = len(made)
        with torch.no_grad():
            change()
        layer.requires_grad_(False)
        answers(layer, times=1)  # the very next answer is right
        answers(layer)
        assert len(made) == before + laid
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301 (our own bytes)
        twin.values.mul_(2)
        answers(twin)
        answers(layer)
    with torch.inference_mode():
        answers(layer)


def test_values_that_may_train_are_never_laid_out(monkeypatch):
    monkeypatch.setattr(rest, "Interleaved", None)  # calling it would raise
    layer = at_rest(dtype=torch.float32).requires_grad_()
    for optimizer in (torch.optim.SGD(layer.parameters(), 0.1, fused=True), torch.optim.Adam(layer.parameters(), 0.1)):
        answers(layer)
        layer(torch.randn(3, 40)).square().sum().backward()
        optimizer.step()
    answers(layer.requires_grad_(False).train())
