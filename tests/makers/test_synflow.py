"""SynFlow: the toy by hand, conservation, other architectures, and a model that is the same afterwards, to the bit."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import pytest
import torch
from tiny_networks import MLP, SmallResNet, SmallVGG, built, drawn, same_afterwards
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.core.budgets import erk
from wirings.core.errors import WiringError
from wirings.core.forms import NM
from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.makers.prunable import with_biases
from wirings.makers.scoring import CollapseWarning, ModelMaker, prune, remaining
from wirings.makers.synflow import SynFlow, module_flows, synflow, synflow_scores


@pytest.fixture
def toy() -> nn.Module:
    model = built(MLP, 2, 2, 1)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        model.layers[1].weight.copy_(torch.tensor([[-1.0, 2.0]]))
    return model


def layer_totals(scores: dict[str, Tensor]) -> list[float]:
    return [float(s.sum()) for s in scores.values()]


def test_the_toy_flows_as_computed_by_hand(toy: nn.Module) -> None:
    scores = synflow_scores(toy, (1, 2))
    assert scores["layers.0.weight"].tolist() == [[1, 2], [6, 0]]
    assert scores["layers.1.weight"].tolist() == [[3, 6]]
    assert all(s.dtype == torch.float64 for s in scores.values())


def test_the_toy_loses_its_zero_first_and_keeps_a_path_last(toy: nn.Module) -> None:
    assert {n: t.index.tolist() for n, t in synflow(toy, (1, 2), 5 / 6, rounds=1).items()} == {
        "layers.0.weight": [0, 1, 2],
        "layers.1.weight": [0, 1],
    }
    assert {n: t.index.tolist() for n, t in synflow(toy, (1, 2), 1 / 3, rounds=1).items()} == {
        "layers.0.weight": [2],
        "layers.1.weight": [1],
    }


def test_the_schedules_have_their_published_values() -> None:
    exponential = [remaining(0.01, k, 100) for k in (1, 10, 50, 100)]
    assert [round(share, 5) for share in exponential] == [0.95499, 0.63096, 0.1, 0.01]
    assert [remaining(0.2, k, 4, schedule="linear") for k in (1, 2, 4)] == [pytest.approx(0.8), pytest.approx(0.6), 0.2]
    with pytest.raises(ValueError, match='must be "exponential" or "linear"'):
        remaining(0.1, 1, 2, schedule="cubic")  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@pytest.mark.parametrize("density", [0.5, 0.05, 0.01])
def test_counts_are_exact(density: float, schedule: str) -> None:
    model = built(SmallVGG)
    wiring = synflow(model, (1, 3, 8, 8), density, rounds=7, schedule=schedule)  # type: ignore[arg-type]
    assert wiring.nnz == round(density * wiring.numel)
    assert list(wiring) == ["conv1.weight", "conv2.weight", "conv3.weight", "fc.weight"]


def test_flow_is_the_same_through_every_layer_of_a_vgg() -> None:
    totals = layer_totals(synflow_scores(built(SmallVGG), (1, 3, 8, 8)))
    assert max(totals) / min(totals) - 1 <= 1e-12


def test_flow_is_the_same_through_every_cut_of_a_residual_network() -> None:
    model = built(SmallResNet)
    scores = synflow_scores(model, (1, 3, 8, 8))
    total = {name.removesuffix(".weight"): float(s.sum()) for name, s in scores.items()}
    around = module_flows(model, (1, 3, 8, 8), ["around"])["around"]
    cuts = [
        total["stem"],
        total["a1"] + around,
        total["a2"] + around,
        total["b1"] + total["shortcut"],
        total["b2"] + total["shortcut"],
        total["fc"],
    ]
    assert max(cuts) / min(cuts) - 1 <= 1e-12


def test_a_layer_never_collapses_when_pruned_to_its_last_connections() -> None:
    model = built(MLP, 20, 30, 10, 4)
    wiring = synflow(model, (1, 20), 6 / 940, rounds=100)
    assert min(wiring.counts.values()) >= 1


def test_pruning_at_once_collapses_what_a_hundred_rounds_keep() -> None:
    model = built(MLP, 20, 200, 10, 4)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    density = 12 / sum(a * b for a, b in shapes.values())
    with pytest.warns(CollapseWarning, match="`synflow` left no connection in `layers.0.weight`"):
        once = synflow(model, (1, 20), density, rounds=1)
    slowly = synflow(model, (1, 20), density, rounds=100)
    assert min(once.counts.values()) == 0
    assert min(slowly.counts.values()) > 0


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_the_same_afterwards(training: bool) -> None:
    model = built(SmallVGG).train(training)
    with torch.no_grad():
        model.conv1.weight.view(-1)[:3] = torch.tensor([-0.0, 0.0, -1.5])
        model.bn1.running_mean[0] = -0.0
    model.conv2.eval()
    with same_afterwards(model):
        first = synflow(model, (1, 3, 8, 8), 0.1, rounds=3)
        assert synflow(model, (1, 3, 8, 8), 0.1, rounds=3) == first


def test_the_model_is_the_same_after_an_error() -> None:
    class Fails(SmallVGG):
        def forward(self, x: Tensor) -> Tensor:
            self.bn1(self.conv1(x))
            raise RuntimeError("no\nway")

    model = built(Fails).train()
    with (
        same_afterwards(model),
        pytest.raises(WiringError, match=r"`synflow` could not run `Fails` on ones of .*: no$"),
    ):
        synflow(model, (1, 3, 8, 8), 0.1)


def test_no_data_loader_is_ever_called() -> None:
    def refusing() -> Iterator[tuple[Tensor, Tensor]]:
        raise AssertionError("SynFlow asked for data")
        yield torch.empty(0), torch.empty(0)

    maker = SynFlow(0.1, rounds=3)
    assert isinstance(maker, ModelMaker)
    model = built(SmallVGG)
    wiring = maker.of_model(model, (1, 3, 8, 8), refusing(), stream(0, "wiring"))
    assert wiring == maker.of_model(model, (1, 3, 8, 8), None, stream(1, "wiring"))


def test_it_runs_under_no_grad_and_autocast() -> None:
    model = built(SmallVGG)
    with torch.no_grad(), torch.autocast("cpu"):
        inside = synflow(model, (1, 3, 8, 8), 0.1, rounds=2)
    assert inside == synflow(model, (1, 3, 8, 8), 0.1, rounds=2)


def test_half_precision_weights_are_scored_in_double() -> None:
    model = built(SmallVGG).bfloat16()
    scores = synflow_scores(model, (1, 3, 8, 8))
    assert scores["conv1.weight"].dtype == torch.float64
    totals = layer_totals(scores)
    assert max(totals) / min(totals) - 1 <= 1e-12


def test_depth_beyond_single_precision_is_no_trouble() -> None:
    model = built(MLP, *[64] * 41)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)  # the flow is about 1e78 here: float32 ends at 1e38
    totals = layer_totals(synflow_scores(model, (1, 64)))
    assert max(totals) > 1e60
    assert max(totals) / min(totals) - 1 <= 1e-12


def test_a_flow_beyond_double_precision_is_refused() -> None:
    model = built(MLP, 4, 4, 4, 4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1e38)
    deep = nn.Sequential(*[built(MLP, 4, 4, 4, 4).requires_grad_() for _ in range(3)])
    with torch.no_grad():
        for parameter in deep.parameters():
            parameter.fill_(1e38)
    with pytest.raises(ValueError, match="`synflow` cannot score this model: its flow overflows float64"):
        synflow(deep, (1, 4), 0.5)


def test_a_zero_scale_is_named() -> None:
    model = built(SmallResNet)
    nn.init.zeros_(model.bn2.weight)
    with (
        pytest.warns(CollapseWarning, match="left no connection"),
        pytest.warns(
            CollapseWarning, match=r"no flow in `a1.weight`, `a2.weight`.*`bn2.weight` is zero; begin with ones"
        ),
    ):
        synflow(model, (1, 3, 8, 8), 0.5, rounds=2)


def test_a_tied_weight_is_scored_once_with_all_its_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(F.relu(self.first(x)))
            return out

    model = drawn(Twice())
    w = model.first.weight.detach().double().abs()
    ones = torch.ones(3, dtype=torch.float64)
    by_hand = w * (torch.outer(w.T @ ones, ones) + torch.outer(ones, w @ ones))
    with same_afterwards(model):
        scores = synflow_scores(model, (1, 3))
    assert list(scores) == ["first.weight"]
    assert torch.allclose(scores["first.weight"], by_hand, rtol=1e-12)
    assert synflow(model, (1, 3), 1 / 3, rounds=3).nnz == 3


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_encoder_gets_a_wiring(norm_first: bool, batch_first: bool) -> None:
    model = drawn(
        nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=norm_first, batch_first=batch_first)
    )
    with same_afterwards(model):
        scores = synflow_scores(model, (1, 5, 8) if batch_first else (5, 1, 8))
        wiring = synflow(model, (1, 5, 8) if batch_first else (5, 1, 8), 0.3, rounds=5)
    assert wiring.nnz == round(0.3 * wiring.numel)
    assert all(float(s.min()) >= 0 and float(s.max()) > 0 for s in scores.values())
    query, key, value = scores["self_attn.in_proj_weight"].chunk(3)
    out = scores["self_attn.out_proj.weight"]
    # attention is linear in each of its four projections, so the same flow passes through all of them
    assert torch.allclose(torch.stack([query.sum(), key.sum(), value.sum()]), out.sum(), rtol=1e-12)


def test_our_own_attention_and_torchs_are_scored_alike() -> None:
    class Own(nn.Module):
        def __init__(self, twin: nn.MultiheadAttention) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
            self.qkv.weight, self.out.weight = twin.in_proj_weight, twin.out_proj.weight
            nn.init.zeros_(self.qkv.bias)
            nn.init.zeros_(self.out.bias)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
            return out

    class Theirs(nn.Module):
        def __init__(self, attention: nn.MultiheadAttention) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: Tensor) -> Tensor:
            blocked = torch.triu(torch.full((5, 5), -torch.inf), 1)
            out: Tensor = self.attention(x, x, x, attn_mask=blocked, need_weights=False)[0]
            return out

    attention = drawn(nn.MultiheadAttention(8, 2, batch_first=True))
    own = synflow_scores(Own(attention), (1, 5, 8))
    theirs = synflow_scores(Theirs(attention), (1, 5, 8))
    assert torch.allclose(own["qkv.weight"], theirs["attention.in_proj_weight"], rtol=1e-12)
    assert torch.allclose(own["out.weight"], theirs["attention.out_proj.weight"], rtol=1e-12)


@pytest.mark.parametrize(
    "activation", [nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.ReLU6(), nn.ELU(), nn.PReLU()]
)
def test_smooth_activations_are_passed_on_as_relu_is(activation: nn.Module) -> None:
    model = nn.Sequential(built(MLP, 4, 6), activation, built(MLP, 6, 2))
    plain = nn.Sequential(model[0], nn.ReLU(), model[2])
    smooth, relu = synflow_scores(model, (1, 4)), synflow_scores(plain, (1, 4))
    assert all(torch.equal(smooth[name], relu[name]) for name in relu)


@pytest.mark.parametrize(
    "norm",
    [
        nn.LayerNorm(6),
        nn.RMSNorm(6),
        nn.GroupNorm(2, 6),
        nn.BatchNorm1d(6),
        nn.BatchNorm1d(6, track_running_stats=False),
    ],
)
def test_normalisers_rescale_the_flow_and_keep_it_conserved(norm: nn.Module) -> None:
    model = nn.Sequential(built(MLP, 4, 6), norm, nn.ReLU(), built(MLP, 6, 2))
    totals = layer_totals(synflow_scores(model, (1, 4)))
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def test_a_trained_batch_norm_leaves_the_flow_positive() -> None:
    model = built(SmallVGG)
    with torch.no_grad():
        for norm in (model.bn1, model.bn2, model.bn3):
            norm.running_mean.fill_(100.0)
            norm.running_var.fill_(4.0)
    assert all(float(s.min()) >= 0 and float(s.max()) > 0 for s in synflow_scores(model, (1, 3, 8, 8)).values())


def test_a_model_of_tokens_is_fed_all_tokens_at_once() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.fc = nn.Embedding(7, 4), nn.Linear(4, 7)

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.fc(self.table(tokens))
            return out

    model = drawn(Language())
    scores = synflow_scores(model, (1, 3))["fc.weight"]
    mean = model.table.weight.detach().double().abs().mean(0)
    assert torch.allclose(scores, 3 * model.fc.weight.detach().double().abs() * mean, rtol=1e-12)


def test_a_model_that_subtracts_is_told_of() -> None:
    class Subtracts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.a(x) - self.b(x)
            return out

    with (
        pytest.warns(CollapseWarning, match="left no"),
        pytest.warns(CollapseWarning, match=r"negative flow in `b.weight`: the model subtracts"),
    ):
        synflow(drawn(Subtracts()), (1, 3), 0.5, rounds=1)


def test_the_prunable_set_is_a_setting() -> None:
    model = built(SmallVGG)
    assert list(synflow(model, (1, 3, 8, 8), 0.2, rounds=2, except_=("fc",))) == [f"conv{i}.weight" for i in (1, 2, 3)]
    assert list(synflow(model, (1, 3, 8, 8), 0.2, rounds=2, where=["conv*"], except_=("conv1",))) == [
        "conv2.weight",
        "conv3.weight",
    ]
    assert "fc.bias" in synflow_scores(model, (1, 3, 8, 8), where=with_biases)
    with pytest.raises(WiringError, match=r"`where` of `synflow` must name prunable weights. 'head' fits none"):
        synflow(model, (1, 3, 8, 8), 0.2, where=["head"])
    with pytest.raises(WiringError, match="found no weight to prune in `ReLU`"):
        synflow(nn.ReLU(), (1, 3), 0.2)


def test_a_local_scope_takes_the_budget_of_each_layer() -> None:
    model = built(SmallVGG)
    wiring = synflow(model, (1, 3, 8, 8), 0.2, rounds=4, scope="local", budget=erk)
    assert wiring.counts == erk(wiring.shapes, 0.2)


@pytest.mark.parametrize("scope", ["global", "local"])
def test_forms_hold(scope: str) -> None:
    model = built(MLP, 8, 16, 8)
    wiring = synflow(model, (1, 8), 0.25, rounds=3, scope=scope, form=NM(2, 4))  # type: ignore[arg-type]
    assert all(NM(2, 4).holds(t) for t in wiring.values())
    assert wiring.nnz > 0


def test_wrapped_models_get_the_names_of_the_bare_one() -> None:
    model = built(SmallVGG)
    assert synflow(nn.DataParallel(model), (1, 3, 8, 8), 0.2, rounds=2) == synflow(model, (1, 3, 8, 8), 0.2, rounds=2)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"density": 0.0}, r"`density` of `synflow` must be in \(0, 1\]. Got 0.0"),
        ({"density": float("nan")}, r"must be in \(0, 1\]. Got nan"),
        ({"density": 1e-9}, "leaves none of 3992 connections"),
        ({"rounds": 0}, "`rounds` of `synflow` must be an integer of at least 1. Got 0"),
        ({"schedule": "cubic"}, '`schedule` must be "exponential" or "linear"'),
        ({"shape": (1, 0)}, "`shape` of `synflow` must be the sizes of an input"),
    ],
)
def test_arguments_that_cannot_be_are_refused(keywords: dict[str, object], text: str) -> None:
    given = {"shape": (1, 3, 8, 8), "density": 0.1, **keywords}
    with pytest.raises(ValueError, match=text):
        synflow(built(SmallVGG), **given)  # type: ignore[arg-type]


def test_settings_survive_plain_data_and_refuse_shapes_alone() -> None:
    maker = SynFlow(0.1, rounds=7, schedule="linear", scope="local", budget=erk, except_=("fc",))
    assert from_plain("maker", to_plain(maker)) == maker
    with pytest.raises(WiringError, match="`SynFlow` needs the model, not only its shapes"):
        maker({"fc": (2, 2)}, stream(0, "wiring"))
    with pytest.raises(ValueError, match='`scope` of `SynFlow` must be "global" or "local"'):
        SynFlow(0.1, scope="layer")  # type: ignore[arg-type]


def test_zero_scores_that_had_to_be_kept_are_told() -> None:
    zeros = {"a": torch.zeros(2, 2, dtype=torch.float64), "b": torch.ones(1, 2, dtype=torch.float64)}
    with pytest.warns(CollapseWarning, match="had to keep 1 connections whose score is zero"):
        wiring = prune(lambda _: zeros, {"a": (2, 2), "b": (1, 2)}, 0.5, owner="x")
    assert wiring["a"].index.tolist() == [0]  # ties go to the lower index


def test_removed_connections_never_return_unless_they_may() -> None:
    rng = torch.Generator().manual_seed(0)
    seen: list[Tensor] = []

    def noise(masks: object) -> dict[str, Tensor]:
        return {"a": torch.rand(10, 10, generator=rng, dtype=torch.float64)}

    def watch(number: int, scores: object, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
        seen.append(after["a"])

    prune(noise, {"a": (10, 10)}, 0.1, owner="x", rounds=5, watch=watch)  # type: ignore[arg-type]
    assert all(not bool((late & ~early).any()) for early, late in itertools.pairwise(seen))
    seen.clear()
    prune(noise, {"a": (10, 10)}, 0.1, owner="x", rounds=5, may_return=True, watch=watch)  # type: ignore[arg-type]
    assert any(bool((late & ~early).any()) for early, late in itertools.pairwise(seen))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["vgg-16", "resnet-20"])
def test_conservation_at_full_size(name: str) -> None:
    from wirings.models import build

    model = build(name, image_shape=(3, 32, 32))
    scores = synflow_scores(model, (1, 3, 32, 32))
    totals = {n.removesuffix(".weight"): float(s.sum()) for n, s in scores.items()}
    if name == "resnet-20":
        blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
        around = module_flows(model, (1, 3, 32, 32), [f"{block}.shortcut" for block in blocks])
        for n in totals:
            block = n.rpartition(".")[0]
            totals[n] += around.get(f"{block}.shortcut", 0.0)
    assert max(totals.values()) / min(totals.values()) - 1 <= 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wiring = synflow(model, (1, 3, 32, 32), 1e-2)
    assert wiring.nnz == round(1e-2 * wiring.numel)
