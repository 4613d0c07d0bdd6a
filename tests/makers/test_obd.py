"""OBD: the Gauss-Newton diagonal is the Hessian's in a ReLU network, and the probes estimate it."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import MLP, SmallVGG, built, same_afterwards
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.makers.gradients import Problem
from wirings.makers.obd import OBD, obd, obd_scores
from wirings.makers.prunable import prunable


def problem() -> tuple[MLP, Tensor, Tensor]:
    model = built(MLP, 4, 5, 3).double()
    rng = torch.Generator().manual_seed(1)
    assert isinstance(model, MLP)
    return model, torch.randn(6, 4, generator=rng, dtype=torch.float64), torch.arange(6) % 3


def test_the_exact_diagonal_is_that_of_the_hessian_of_the_loss() -> None:
    model, x, y = problem()
    scores = obd_scores(Problem(model, prunable(model), [(x, y)]), probes=None)
    state = {name: p.detach() for name, p in model.named_parameters()}
    for name, weight in state.items():

        def loss(w: Tensor, name: str = name) -> Tensor:
            return F.cross_entropy(functional_call(model, {**state, name: w}, (x,)), y, reduction="sum")

        full = torch.autograd.functional.hessian(loss, weight)
        assert isinstance(full, Tensor)
        diagonal = full.view(weight.numel(), weight.numel()).diagonal().view(weight.shape)
        assert torch.allclose(scores[name], weight.square() * diagonal / 2, rtol=1e-10, atol=1e-15)


def test_the_probes_estimate_it_without_bias() -> None:
    model, x, y = problem()
    given = Problem(model, prunable(model), [(x, y)])
    exact, estimate = obd_scores(given, probes=None), obd_scores(given, probes=4000, rng=stream(0, "obd"))
    for name in exact:
        worst = ((estimate[name] - exact[name]).abs() / exact[name].clamp(min=1e-12)).max()
        assert float(worst) < 5 * (2 / 4000) ** 0.5


def test_labels_are_not_read_and_the_model_is_the_same_afterwards() -> None:
    model = built(SmallVGG).train()
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with same_afterwards(model):
        first = obd(model, (x, torch.zeros(4, dtype=torch.int64)), 0.1, probes=4)
        assert first == obd(model, (x, torch.full((4,), 3)), 0.1, probes=4)
    assert first.nnz == round(0.1 * first.numel)
    assert obd(model, (x, x), 0.1, probes=4, rounds=3).nnz == first.nnz


def test_settings_survive_plain_data_and_zero_probes_mean_exact() -> None:
    maker = OBD(0.25, probes=0, batches=2)
    assert from_plain("maker", to_plain(maker)) == maker
    model, x, y = problem()
    wiring = maker.of_model(model, (1, 4), [(x[:3], y[:3]), (x[3:], y[3:])], stream(0, "wiring"))
    assert wiring == obd(model, (x, y), 0.25, probes=None)
    with pytest.raises(ValueError, match=r"`probes` of `obd` must be an integer of at least 1, or None. Got 0"):
        obd(model, (x, y), 0.25, probes=0)
