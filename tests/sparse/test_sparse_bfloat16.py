"""Linear layers in bfloat16: as whole models and under autocast, trained and answering."""

from __future__ import annotations

import copy
import io
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import wirings as wr
from wirings.core.schedules import Constant, Every
from wirings.core.support import Support
from wirings.kernels import native, reference
from wirings.methods import RigL
from wirings.sparse import SparseLinear, SparseSequential, to_dense, to_sparse

BF16 = torch.bfloat16


def chain(widths: tuple[int, ...] = (33, 65, 40, 7)) -> nn.Module:
    torch.manual_seed(0)
    layers = [part for ins, outs in pairwise(widths) for part in (nn.Linear(ins, outs), nn.ReLU())][:-1]
    model, rng = nn.Sequential(*layers), torch.Generator().manual_seed(1)
    whole = {name: wr.Topology.full(tuple(p.shape)) for name, p in wr.prunable(model).items()}
    return to_sparse(model, {name: t.sample(round(0.3 * t.numel), rng) for name, t in whole.items()})


def one_layer(*, larger: bool = False) -> nn.Module:
    torch.manual_seed(0)
    whole = wr.Topology.full((20, 30))
    forward = whole.sample(200, torch.Generator().manual_seed(0))
    backward = forward | whole.sample(100, torch.Generator().manual_seed(1)) if larger else forward
    return to_sparse(nn.Linear(30, 20), {"weight": Support(forward, backward)})


def exact(model: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    """Result and gradients of input, values, biases in float64, from parameters and input rounded to bfloat16."""
    twin = copy.deepcopy(model).bfloat16().double()
    x = x.to(BF16).double().requires_grad_()
    y = twin(x)
    y.backward(grad.double())
    return [y.detach(), x.grad, *(p.grad for p in twin.parameters())]


def close(found: Tensor, wanted: Tensor, share: float) -> bool:
    return bool((found.double() - wanted).abs().max() <= share * wanted.abs().max())


@pytest.mark.parametrize("larger", [False, True], ids=["plain", "backward larger"])
@pytest.mark.parametrize("batch", [1, 2, 13, 129])
def test_a_layer_under_autocast_rounds_its_results_once_and_its_weight_gradient_never(batch: int, larger: bool) -> None:
    layer = one_layer(larger=larger)
    x, grad = torch.randn(batch, 30, requires_grad=True), torch.randn(batch, 20).to(BF16)
    with torch.autocast("cpu", BF16):
        y = layer(x)
    y.backward(grad)
    wanted = exact(layer, x.detach(), grad)
    assert y.dtype == BF16
    assert layer.values.dtype == layer.values.grad.dtype == layer.bias.grad.dtype == x.grad.dtype == torch.float32
    for found, should, share in zip(
        (y, x.grad, layer.values.grad, layer.bias.grad), wanted, (2**-8, 2**-8, 1e-5, 1e-5), strict=True
    ):
        assert close(found, should, share)
    with torch.no_grad(), torch.autocast("cpu", BF16):
        assert torch.equal(layer(x), y)


@pytest.mark.parametrize("batch", [1, 2, 13, 129])
def test_a_bfloat16_layer_keeps_its_dtype_everywhere(batch: int) -> None:
    layer = one_layer()
    x, grad = torch.randn(batch, 30).to(BF16).requires_grad_(), torch.randn(batch, 20).to(BF16)
    wanted = exact(layer, x.detach(), grad)
    narrow = copy.deepcopy(layer).bfloat16()
    y = narrow(x)
    y.backward(grad)
    for found, should in zip((y, x.grad, narrow.values.grad, narrow.bias.grad), wanted, strict=True):
        assert found.dtype == BF16
        assert close(found, should, 2**-8)
    with torch.inference_mode():
        assert torch.equal(narrow(x), y)


def test_a_model_at_rest_answers_single_samples_in_bfloat16() -> None:
    layer = one_layer().bfloat16()
    x = torch.randn(1, 30).to(BF16)
    wanted = layer(x).detach()
    layer.eval().requires_grad_(False)
    with torch.no_grad():
        answers = [layer(x) for _ in range(12)]  # the later ones from interleaved rows
    assert all(answer.dtype == BF16 and close(answer, wanted.double(), 2**-7) for answer in answers)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("batch", [3, 13, 129])
def test_a_chain_in_bfloat16_is_its_layers_one_by_one(
    batch: int, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain() if autocast else chain().bfloat16()
    assert type(model) is SparseSequential
    alone = nn.Sequential(*copy.deepcopy(model))
    x = torch.randn(batch, 33).to(torch.float32 if autocast else BF16)
    calls = []
    whole = SparseLinear.forward
    monkeypatch.setattr(SparseLinear, "forward", lambda self, x: calls.append(1) or whole(self, x))
    results = []
    for net in (model, alone):
        mine = x.clone().requires_grad_()
        with torch.autocast("cpu", BF16, enabled=autocast):
            y = net(mine)
        y.float().pow(2).mean().backward()
        results.append([y.detach(), mine.grad, *(p.grad for p in net.parameters())])
        if net is model and native.available():
            assert not calls  # it ran in panels
    assert [t.dtype for t in results[0]] == [t.dtype for t in results[1]]
    for ours, theirs in zip(*results, strict=True):
        assert close(ours, theirs.double(), 2**-6)  # sums in another order may round to the neighbour
        assert ours.any()


@pytest.mark.parametrize("autocast", [False, True])
def test_training_in_bfloat16_learns_what_the_dense_twin_learns(autocast: bool) -> None:
    model = chain()
    dense = to_dense(copy.deepcopy(model))
    masks = {name: p != 0 for name, p in wr.prunable(dense).items()}
    x = torch.randn(64, 33)
    labels = x[:, :7].argmax(1)
    losses = []
    for net in (model, dense):
        if not autocast:
            net.bfloat16()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.5)
        told = []
        for _ in range(30):
            optimizer.zero_grad()
            with torch.autocast("cpu", BF16, enabled=autocast):
                loss = nn.functional.cross_entropy(net(x if autocast else x.to(BF16)), labels)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for name, weight in wr.prunable(dense).items():
                    weight.mul_(masks[name])
            told.append(loss.item())
        losses.append(told)
    assert losses[0][-1] < 0.85 * losses[0][0]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 0.06


def test_compiled_kernels_serve_bfloat16_models(monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.available():
        pytest.skip("no compiled kernels here")

    def refuse(*_: object) -> None:
        raise AssertionError("the reference was asked")

    for name in ("spmm", "sddmm", "linear", "pack", "unpack"):
        monkeypatch.setattr(reference, name, refuse)
    model = chain()
    x = torch.randn(13, 33)
    with torch.autocast("cpu", BF16):
        model(x).sum().backward()
    model.bfloat16()(x.to(BF16)).sum().backward()


def test_without_compiled_kernels_bfloat16_is_computed_in_full_and_rounded_once() -> None:
    layer = one_layer()
    x, grad = torch.randn(13, 30), torch.randn(13, 20).to(BF16)
    wanted = exact(layer, x, grad)
    with native.using("torch"), torch.autocast("cpu", BF16):
        y = layer(x)
        y.backward(grad)
    assert close(y, wanted[0], 2**-8)
    assert close(layer.values.grad, wanted[2], 1e-5)


def test_what_a_layer_hears_in_bfloat16_is_ranked_in_float32() -> None:
    layer = one_layer()
    layer.listen(True)
    x = torch.randn(13, 30)
    with torch.autocast("cpu", BF16):
        layer(x).float().pow(2).sum().backward()
    pairs = list(layer.heard())
    assert [t.dtype for t in pairs[0]] == [torch.float32] * 2
    assert torch.equal(pairs[0][0], x.to(BF16).float())
    assert layer.gradient_rows(0, 20, *pairs[0]).dtype == torch.float32


@pytest.mark.parametrize("autocast", [False, True])
def test_a_method_rewires_a_bfloat16_model(autocast: bool) -> None:
    model = chain() if autocast else chain().bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    method = RigL(begin=wr.ErdosRenyi(0.4), when=Every(2), fraction=Constant(0.3))
    sparse = wr.attach(model, optimizer, method, steps=8)
    before = sparse.wiring
    x = torch.randn(16, 33).to(torch.float32 if autocast else BF16)
    for _ in range(6):
        optimizer.zero_grad()
        with torch.autocast("cpu", BF16, enabled=autocast):
            loss = model(x).float().pow(2).mean()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert sparse.wiring != before
    assert model[0].values.dtype == (torch.float32 if autocast else BF16)


def test_copies_and_checkpoints_keep_bfloat16() -> None:
    model = chain().bfloat16()
    x = torch.randn(13, 33).to(BF16)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = chain().bfloat16()
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    fresh.load_state_dict(torch.load(file))
    assert fresh[0].values.dtype == BF16
    assert fresh[0].column.dtype == torch.int32
    assert torch.equal(fresh(x), model(x))
    wide = chain()
    wide.load_state_dict(model.state_dict())
    assert wide[0].values.dtype == torch.float32
    assert torch.equal(wide[0].values, model[0].values.float())
    assert to_dense(copy.deepcopy(model))[0].weight.dtype == BF16
    with pytest.raises(TypeError, match=r"must be torch.bfloat16, as its values are. Got torch.float32"):
        model[0](x.float())
