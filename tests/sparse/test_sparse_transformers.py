"""Transformers: what goes into sparse storage, what stays masked, and the two as one run."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import wirings as wr
from wirings import models
from wirings.core.schedules import Constant, Cubic, Every
from wirings.methods import DNW, GraNet, Method, RigL
from wirings.sparse import SparseConv1D, SparseLinear, stays_dense, to_dense, to_sparse

BEGIN = wr.ErdosRenyi(0.4)
METHODS: dict[str, Method] = {
    "rigl": RigL(begin=BEGIN, when=Every(4), fraction=Constant(0.3)),
    "dnw": DNW(density=0.3, freeze_at=10),
    "granet": GraNet(density=Cubic(initial=0.6, final=0.2, until=20), when=Every(5)),
}


class Conv1D(nn.Module):
    """As transformers has it: the weight is (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) / math.sqrt(nx))
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


Conv1D.__module__ = "transformers.pytorch_utils"


def encoder() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(24, 3)).double()


def gpt() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Conv1D(12, 8), nn.GELU(), Conv1D(8, 12), nn.Flatten(), nn.Linear(24, 3)).double()


def vit() -> nn.Module:
    """Its patches are a convolution of stride 4, which stays dense and is masked."""
    return models.build("vit-tiny", seed=0, image_shape=(3, 8, 8), classes=3, width=0.25).double()


def train(
    model: nn.Module, method: Method, steps: int = 24, shape: tuple[int, ...] = (3, 8)
) -> tuple[list[float], list[wr.Wiring]]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    sparse = wr.attach(model, optimizer, method, steps=steps)
    losses, wirings = [], [sparse.wiring]
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x, y = torch.randn(6, *shape, generator=rng, dtype=torch.float64), torch.randint(3, (6,), generator=rng)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if sparse.wiring != wirings[-1]:
            wirings.append(sparse.wiring)
    return losses, wirings


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [encoder, gpt, vit])
def test_a_transformer_masked_and_in_sparse_storage_is_one_run(make: object, method: str) -> None:
    dense, stored = make(), to_sparse(make())
    shape = (3, 8, 8) if make is vit else (3, 8)
    a, b = train(dense, METHODS[method], shape=shape), train(stored, METHODS[method], shape=shape)
    assert a[0] == pytest.approx(b[0], rel=1e-10)
    assert a[1] == b[1]
    assert len(a[1]) > 3


def test_an_encoder_keeps_its_attention_dense_and_says_why() -> None:
    model = encoder()
    reasons = stays_dense(model)
    assert list(reasons) == [
        f"0.layers.{i}.self_attn.{name}" for i in range(2) for name in ("in_proj_weight", "out_proj.weight")
    ]
    assert reasons["0.layers.0.self_attn.out_proj.weight"] == "MultiheadAttention reads this weight itself"
    with pytest.raises(wr.WiringError, match=r"in_proj_weight` cannot be in sparse storage.*run it masked"):
        to_sparse(model, {"0.layers.0.self_attn.in_proj_weight": wr.Topology.full((24, 8))})
    to_sparse(model)
    assert isinstance(model[0].layers[0].linear1, SparseLinear)


@pytest.mark.parametrize("mask", [None, torch.tensor([[False, False, True]] * 4)])
def test_the_fused_encoder_does_not_pass_sparse_children_by(mask: Tensor | None) -> None:
    dense = encoder()[0]
    with torch.no_grad():
        for name, p in dense.named_parameters():
            if "linear" in name and p.ndim == 2:
                p[:, ::2] = 0
    stored = copy.deepcopy(dense)
    weights = {n: wr.Topology.of(p.detach() != 0) for n, p in dense.named_parameters() if "linear" in n and p.ndim == 2}
    to_sparse(stored, weights)
    x = torch.randn(4, 3, 8, dtype=torch.float64)
    seen = slice(None) if mask is None else slice(0, 2)
    with torch.no_grad():
        for training in (True, False):
            y = stored.train(training)(x, src_key_padding_mask=mask)
            torch.testing.assert_close(y[:, seen], dense.train(True)(x, src_key_padding_mask=mask)[:, seen])
    back = to_dense(stored.eval())
    assert back.use_nested_tensor is dense.use_nested_tensor
    assert back.layers[0].activation_relu_or_gelu == dense.layers[0].activation_relu_or_gelu == 1


def test_a_conv1d_is_swapped_and_comes_back() -> None:
    dense = gpt()
    topology = wr.Topology.full((8, 12)).sample(30, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dense[0].weight.mul_(topology.mask)
    stored = to_sparse(copy.deepcopy(dense), {"0.weight": topology})
    assert isinstance(stored[0], SparseConv1D)
    assert repr(stored[0]) == "SparseConv1D(nx=8, nf=12, density=0.3125)"
    x = torch.randn(4, 3, 8, dtype=torch.float64)
    torch.testing.assert_close(stored(x), dense(x))
    stored.load_state_dict(dense.state_dict())
    torch.testing.assert_close(copy.deepcopy(stored)(x), dense(x))
    back = to_dense(stored)
    assert type(back[0]) is Conv1D
    assert torch.equal(back[0].weight, dense[0].weight)


def test_a_conv1d_reads_and_writes_bfloat16() -> None:
    dense = gpt()[0].float()
    topology = wr.Topology.full((8, 12)).sample(30, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dense.weight.mul_(topology.mask)
    stored = to_sparse(copy.deepcopy(dense), {"weight": topology})
    x, grad = torch.randn(40, 8, requires_grad=True), torch.randn(40, 12).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = stored(x)
    y.backward(grad)
    values = dense.weight.detach().bfloat16().double()
    exact = x.detach().bfloat16().double() @ values, grad.double() @ values.T
    for found, wanted in zip((y, x.grad), exact, strict=True):
        assert ((found.double() - wanted).abs() <= 2**-8 * wanted.abs() + 1e-5).all()
    gradient = (x.detach().bfloat16().double().T @ grad.double()).flatten()[topology.index]
    assert stored.values.grad.dtype == torch.float32
    torch.testing.assert_close(stored.values.grad.double(), gradient, rtol=1e-5, atol=1e-5)
    assert stored.bfloat16()(x.detach().bfloat16()).dtype == torch.bfloat16


@pytest.mark.interop
def test_gpt2_itself_trains_masked_and_in_sparse_storage() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    torch.manual_seed(0)
    dense = transformers.GPT2LMHeadModel(config).double()
    stored = to_sparse(copy.deepcopy(dense))
    losses = []
    for model in (dense, stored):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        sparse = wr.attach(model, optimizer, METHODS["rigl"], steps=12)
        assert "transformer.h.0.attn.c_attn.weight" in sparse.wiring
        rng = torch.Generator().manual_seed(0)
        found = []
        for _ in range(12):
            tokens = torch.randint(20, (3, 8), generator=rng)
            optimizer.zero_grad()
            loss = model(input_ids=tokens, labels=tokens).loss
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append((found, sparse.wiring))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-10)
    assert losses[0][1] == losses[1][1]
