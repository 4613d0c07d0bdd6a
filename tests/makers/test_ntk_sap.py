"""NTK-SAP: the closed form of a linear network, and draws that come from the generator alone."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import MLP, SmallVGG, built, same_afterwards
from torch import Tensor, nn

from wirings.core.errors import WiringError
from wirings.core.settings import from_plain, to_plain
from wirings.core.streams import stream
from wirings.makers.ntk_sap import NTKSAP, ntk_sap, ntk_sap_scores


def test_a_linear_network_scores_its_perturbation_by_hand() -> None:
    model = built(MLP, 3, 2).double()
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    weight = model.layers[0].weight.detach()
    shift = torch.randn(2, 3, generator=rng, dtype=torch.float64)
    ones = torch.ones(2, 3, dtype=torch.bool)
    name = "layers.0.weight"
    scores = ntk_sap_scores(model, {name: weight}, {name: shift}, x, {name: ones})
    # sum over samples of |(m d) x|², whose derivative by m_oi is 2 (d x)_o d_oi x_i
    expected = 2 * shift * ((x @ shift.T).T @ x)
    assert torch.allclose(scores[name], expected.abs(), rtol=1e-12)


def test_counts_repeatability_and_an_untouched_model() -> None:
    model = built(SmallVGG).train()
    with same_afterwards(model):
        first = ntk_sap(model, (1, 3, 8, 8), 0.1, rounds=3, samples=4)
        assert first == ntk_sap(model, (1, 3, 8, 8), 0.1, rounds=3, samples=4)
        assert first != ntk_sap(model, (1, 3, 8, 8), 0.1, rounds=3, samples=4, rng=stream(1, "wiring"))
    assert first.nnz == round(0.1 * first.numel)


def test_a_model_of_tokens_is_refused_in_a_sentence() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.fc = nn.Embedding(7, 4), nn.Linear(4, 7)

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.fc(self.table(tokens))
            return out

    with pytest.raises(WiringError, match="`ntk_sap` could not run `Language` on Gaussian inputs"):
        ntk_sap(built(Language), (1, 3), 0.5)


def test_settings_survive_plain_data() -> None:
    maker = NTKSAP(0.1, rounds=2, samples=3, spread=0.1)
    assert from_plain("maker", to_plain(maker)) == maker
    with pytest.raises(ValueError, match=r"`spread` of `NTKSAP` must be in \(0, 1\]. Got 0.0"):
        NTKSAP(0.1, spread=0.0)
    with pytest.raises(ValueError, match=r"`samples` of `ntk_sap` must be an integer of at least 1. Got 0"):
        ntk_sap(built(SmallVGG), (1, 3, 8, 8), 0.1, samples=0)
