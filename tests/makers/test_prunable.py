"""Which weights may be sparse, and why the others stay dense."""

from __future__ import annotations

import pytest
from torch import nn

from wirings.core.errors import WiringError
from wirings.makers.prunable import left_dense, prunable, with_biases


class Tied(nn.Module):
    """Two linear layers of one weight, and a head tied to an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.second.weight = self.first.weight
        self.head.weight = self.embedding.weight


class OwnLinear(nn.Linear):
    """A subclass."""


def test_linear_convolution_and_attention_weights_are_prunable_and_nothing_else() -> None:
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(1, 4, 3),
            "norm": nn.BatchNorm2d(4),
            "line": nn.Conv1d(2, 2, 3),
            "attention": nn.MultiheadAttention(4, 2),
            "own": OwnLinear(4, 4),
            "transposed": nn.ConvTranspose2d(2, 2, 3),
            "fc": nn.Linear(4, 2),
        }
    )
    assert list(prunable(model)) == [
        "conv.weight",
        "line.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "fc.weight",
    ]
    reasons = left_dense(model)
    assert reasons["conv.bias"] == "a bias"
    assert reasons["norm.weight"] == "a vector of BatchNorm2d"
    assert reasons["attention.in_proj_bias"] == "a bias"
    assert reasons["own.weight"] == "OwnLinear is a subclass, which may use its weight in its own way"
    assert reasons["transposed.weight"] == "ConvTranspose2d is not a kind of layer that can be sparse"
    assert len(reasons) + len(prunable(model)) == len(list(model.parameters()))


def test_attention_with_separate_projections_has_three_weights() -> None:
    assert list(prunable(nn.MultiheadAttention(4, 2, kdim=3, vdim=5))) == [
        "q_proj_weight",
        "k_proj_weight",
        "v_proj_weight",
        "out_proj.weight",
    ]


def test_a_shared_weight_appears_once_and_one_tied_to_an_embedding_stays_dense() -> None:
    model = Tied()
    assert list(prunable(model)) == ["first.weight"]
    assert left_dense(model)["embedding.weight"] == "Embedding is not a kind of layer that can be sparse"


def test_the_reason_is_told_wherever_the_first_use_stands() -> None:
    model = nn.ModuleDict({"head": nn.Linear(3, 5, bias=False), "table": nn.Embedding(5, 3)})
    model["table"].weight = model["head"].weight
    reason = "shared with `table.weight`, Embedding is not a kind of layer that can be sparse"
    assert left_dense(model) == {"head.weight": reason}


def test_wrappers_do_not_change_names() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert list(prunable(nn.DataParallel(model))) == ["0.weight"]
    compiled = nn.Module()
    compiled._orig_mod = model  # how torch.compile holds the model that it wraps
    assert list(prunable(compiled)) == ["0.weight"]


def test_parametrized_weights_stay_dense() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert list(prunable(model)) == []
    assert set(left_dense(model).values()) == {"a bias", "computed by a parametrization"}


def test_patterns_leave_weights_out_and_must_fit_one() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert list(prunable(model, except_=("1",))) == ["0.weight"]
    assert left_dense(model, except_=("1",))["1.weight"] == "named by `except_`"
    with pytest.raises(WiringError, match=r"'head' fits none of 0.weight, 1.weight"):
        prunable(model, except_=("head",))
    with pytest.raises(TypeError, match="must be a sequence of patterns"):
        prunable(model, except_="1")


def test_lazy_modules_must_be_run_first() -> None:
    with pytest.raises(WiringError, match="`weight` has no shape yet"):
        prunable(nn.LazyLinear(3))


def test_biases_follow_their_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.MultiheadAttention(4, 2))
    assert list(with_biases(model)) == [
        "0.weight",
        "0.bias",
        "2.in_proj_weight",
        "2.in_proj_bias",
        "2.out_proj.weight",
        "2.out_proj.bias",
    ]
