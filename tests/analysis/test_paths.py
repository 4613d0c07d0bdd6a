"""Paths: effective connections of chains and of any network, and exact counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wirings.analysis.paths import effective, effective_density, effective_wiring, path_counts
from wirings.core.errors import WiringError
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.prunable import prunable
from wirings.makers.random import ErdosRenyi


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wiring_for(model: nn.Module, density: float, seed: int = 0) -> Wiring:
    return ErdosRenyi(density)({n: tuple(p.shape) for n, p in prunable(model).items()}, generator(seed))


def by_removal(wiring: Wiring) -> dict[str, list[int]]:
    """The connections whose removal lowers the number of paths: the definition, one by one."""
    found: dict[str, list[int]] = {}
    whole = path_counts(list(wiring.values())).sum()
    for name, t in wiring.items():
        found[name] = []
        for position in t.index.tolist():
            less = Wiring({**wiring, name: t - Topology.at(t.shape, [position])})
            if path_counts(list(less.values())).sum() < whole:
                found[name].append(position)
    return found


@given(st.integers(0, 10_000), st.sampled_from([0.15, 0.3, 0.5]))
@settings(max_examples=40, deadline=None)
def test_effective_connections_are_those_that_paths_need(seed: int, density: float) -> None:
    shapes = {"conv1": (3, 2, 2, 2), "conv2": (2, 3, 1, 1), "fc1": (4, 2 * 3), "fc2": (2, 4)}
    wiring = ErdosRenyi(density)(shapes, generator(seed))
    assert {name: t.index.tolist() for name, t in effective(wiring).items()} == by_removal(wiring)


def test_loose_ends_are_cut_on_both_sides() -> None:
    chain = {"fc1": Topology.at((2, 2), [0, 3]), "fc2": Topology.at((1, 2), [0])}
    assert effective(Wiring(chain)).counts == {"fc1": 1, "fc2": 1}
    assert effective_density(Wiring(chain)) == 2 / 6
    assert effective(Wiring(dict(reversed(list(chain.items())))), order=["fc1", "fc2"]).counts == {"fc1": 1, "fc2": 1}
    assert effective(Wiring({})) == Wiring({})


def test_one_empty_layer_leaves_nothing() -> None:
    wiring = Wiring({"a": Topology.full((3, 3)), "b": Topology.empty((3, 3)), "c": Topology.full((3, 3))})
    assert effective(wiring).nnz == 0


def test_weights_that_are_no_chain_are_refused_in_words() -> None:
    with pytest.raises(WiringError, match=r"`b` does not follow `a`: 5 inputs for 4 outputs. .*effective_wiring"):
        effective(Wiring.full({"a": (4, 3), "b": (2, 5)}))
    with pytest.raises(WiringError, match=r"needs weights with outputs and inputs. Got shape \(3,\)"):
        effective(Wiring.full({"a": (3,)}))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(),
        nn.Dropout(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(dim=1),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make, shape", [(mlp, (1, 6)), (convnet, (1, 2, 8, 8))])
def test_the_general_way_agrees_with_the_chain(make: type[nn.Module], shape: tuple[int, ...], seed: int) -> None:
    model = make()
    wiring = wiring_for(model, 0.1, seed)
    found = effective_wiring(model, wiring, shape)
    chain = effective(wiring)
    assert found == chain
    assert 0 < found.nnz < wiring.nnz


class Residual(nn.Module):
    """A block with a shortcut: ``fc2(x + b(a(x)))``."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.a, self.b, self.fc2 = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        return torch.sigmoid(self.fc2(x + self.b(F.relu(self.a(x)))))


def test_a_shortcut_leads_around_an_empty_block() -> None:
    wiring = Wiring(
        {
            "fc1.weight": Topology.full((2, 3)),
            "a.weight": Topology.full((2, 2)),
            "b.weight": Topology.empty((2, 2)),
            "fc2.weight": Topology.at((1, 2), [0]),
        }
    )
    found = effective_wiring(Residual(), wiring, (1, 3))
    assert found.counts == {"fc1.weight": 3, "a.weight": 0, "b.weight": 0, "fc2.weight": 1}
    with_b = Wiring({**wiring, "b.weight": Topology.at((2, 2), [1])})  # unit 1 of a now leads on by the block alone
    found = effective_wiring(Residual(), with_b, (1, 3))
    assert found.counts == {"fc1.weight": 6, "a.weight": 2, "b.weight": 1, "fc2.weight": 1}


def test_the_model_is_left_as_it_was_whatever_its_weights() -> None:
    model = convnet().train()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(math.nan)  # structure alone counts
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    wiring = wiring_for(model, 0.2)
    found = effective_wiring(model, wiring, (1, 2, 8, 8))
    assert found == effective(wiring)
    assert all(p.isnan().all() for p in [*before, *model.parameters()])
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32


def test_weights_that_are_not_named_count_as_dense() -> None:
    found = effective_wiring(mlp(), Wiring({"0.weight": Topology.at((8, 6), [5, 9])}), (1, 6))
    assert found == Wiring({"0.weight": Topology.at((8, 6), [5, 9])})
    with pytest.raises(WiringError, match=r"names `fc.weight`, which the model does not have"):
        effective_wiring(mlp(), Wiring.full({"fc.weight": (8, 6)}), (1, 6))


def test_a_very_deep_and_thin_network_neither_over_nor_underflows() -> None:
    model = nn.Sequential(*(m for _ in range(120) for m in (nn.Linear(40, 40, bias=False), nn.ReLU())))
    wiring = Wiring.full({n: tuple(p.shape) for n, p in prunable(model).items()})
    assert effective_wiring(model, wiring, (1, 40)) == wiring
    thin = Wiring({name: Topology.at((40, 40), [0, 1]) for name in wiring})
    found = effective_wiring(model, thin, (1, 40))
    assert found == effective(thin)
    assert found.nnz == 121  # the straight line, and one more way in


def test_attention_and_norms_are_passed() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    wiring = wiring_for(layer, 0.5)
    found = effective_wiring(layer, wiring, (1, 5, 8))
    assert 0 < found.nnz <= wiring.nnz
    assert found <= wiring
    full = Wiring.full(wiring.shapes)
    assert effective_wiring(layer, full, (1, 5, 8)) == full


def test_path_counts_are_exact_beyond_every_machine_number() -> None:
    layers = [Topology.full((30, 30))] * 40
    counts = path_counts(layers)
    assert counts.dtype == object
    assert set(counts.flatten().tolist()) == {30**39}
    sparse = ErdosRenyi(0.3)({f"w{i}": (12, 12) for i in range(60)}, generator())
    counts = path_counts(list(sparse.values()))
    expected = np.eye(12, dtype=object)
    for t in sparse.values():
        expected = t.mask.numpy().astype(int).astype(object).dot(expected)
    assert (counts == expected).all()
    assert counts.max() > 2**63


def test_path_counts_know_kernels_and_flattening() -> None:
    assert path_counts([Topology.full((2, 1, 3, 3)), Topology.full((1, 2 * 4))]).tolist() == [[72]]
    assert path_counts([Topology.full((2, 2)), Topology.full((1, 2))]).tolist() == [[2, 2]]
    empty = path_counts([Topology.full((2, 2)), Topology.empty((3, 2)), Topology.full((1, 3))])
    assert empty.tolist() == [[0, 0]]
    with pytest.raises(ValueError, match=r"must hold at least one layer. Got none"):
        path_counts([])


def test_positions_are_followed_where_the_chain_sees_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(1, 1))  # images of one pixel
    wiring = Wiring.full({"0.weight": (1, 1, 3, 3), "2.weight": (1, 1)})
    assert effective(wiring).nnz == 10
    found = effective_wiring(model, wiring, (1, 1, 1, 1))  # eight of nine kernel elements meet padding alone
    assert found["0.weight"].index.tolist() == [4]
