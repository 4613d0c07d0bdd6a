"""Controls: what each keeps, what it destroys, and how uniformly."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.core.budgets import uniform
from wirings.core.errors import WiringError
from wirings.core.select import top, top_global
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.controls import (
    Control,
    inverted,
    inverted_scores,
    permuted_units,
    rewired_degrees,
    shuffled,
    shuffled_within_rows,
)
from wirings.makers.random import ErdosRenyi

SHAPES = {"conv": (6, 3, 3, 3), "fc1": (20, 24), "fc2": (10, 20), "dense": (4, 10), "none": (3, 4)}
CONTROLS: list[Control] = [shuffled, shuffled_within_rows, rewired_degrees, inverted]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_wiring(density: float = 0.3) -> Wiring:
    drawn = ErdosRenyi(density, budget=uniform)(SHAPES, generator(9))
    return Wiring(dict(drawn) | {"dense": Topology.full((4, 10)), "none": Topology.empty((3, 4))})


def loose(wiring: Wiring, rng: torch.Generator) -> Wiring:
    return permuted_units(wiring, rng, chain=False)


@pytest.mark.parametrize("control", [*CONTROLS, loose], ids=lambda c: c.__name__)
@pytest.mark.parametrize("density", [0.05, 0.3, 0.8])
def test_every_control_keeps_counts_and_is_repeatable(control: Control, density: float) -> None:
    wiring, before = a_wiring(density), torch.get_rng_state()
    made = control(wiring, generator(1))
    assert made.shapes == wiring.shapes
    assert made.counts == wiring.counts
    assert made == control(wiring, generator(1))
    assert made != control(wiring, generator(2))
    assert made != wiring
    assert torch.equal(torch.get_rng_state(), before)
    assert wiring == a_wiring(density)


def test_the_shuffle_within_rows_keeps_in_degrees_only() -> None:
    wiring = a_wiring()
    made = shuffled_within_rows(wiring, generator())
    for name in SHAPES:
        assert torch.equal(made[name].in_degrees, wiring[name].in_degrees)
    assert not torch.equal(made["fc1"].out_degrees, wiring["fc1"].out_degrees)
    assert not torch.equal(shuffled(wiring, generator())["fc1"].in_degrees, wiring["fc1"].in_degrees)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=2, max_size=6), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_rewiring_keeps_both_degrees(rows: list[list[bool]], seed: int) -> None:
    before = Topology.of(torch.tensor(rows))
    after = rewired_degrees(Wiring({"w": before}), generator(seed))["w"]
    assert torch.equal(after.in_degrees, before.in_degrees)
    assert torch.equal(after.out_degrees, before.out_degrees)
    assert torch.equal(after.mask.sum(0), before.mask.sum(0))


def test_rewiring_ends_up_uniform_over_all_graphs_with_these_degrees() -> None:
    from scipy.stats import chisquare

    start = Topology.at((3, 4), [0, 1, 5, 6, 8])  # degrees (2, 2, 1) in, (2, 2, 1, 0) out
    same = [
        set(chosen)
        for chosen in combinations(range(12), 5)
        if torch.equal(Topology.at((3, 4), chosen).in_degrees, start.in_degrees)
        and torch.equal(Topology.at((3, 4), chosen).out_degrees, start.out_degrees)
    ]
    assert len(same) > 3
    rng, counts = generator(4), [0] * len(same)
    for _ in range(600):
        counts[same.index(set(rewired_degrees(Wiring({"w": start}), rng)["w"].index.tolist()))] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_rewiring_forgets_where_it_began_even_at_scale() -> None:
    wiring = ErdosRenyi(0.1)({"w": (1000, 1000)}, generator())
    made = rewired_degrees(wiring, generator(1))["w"]
    before = wiring["w"]
    assert made.nnz == 100_000
    assert torch.equal(made.in_degrees, before.in_degrees)
    assert torch.equal(made.out_degrees, before.out_degrees)
    assert (made & before).nnz / 100_000 == pytest.approx(0.1, abs=0.02)  # as two random wirings


def test_rewiring_of_a_convolution_keeps_every_kernel_elements_count() -> None:
    wiring = a_wiring()
    made = rewired_degrees(wiring, generator())
    assert torch.equal(made["conv"].mask.sum(0), wiring["conv"].mask.sum(0))
    assert rewired_degrees(wiring, generator(), rounds=0) == wiring
    with pytest.raises(ValueError, match=r"`rounds` of `rewired_degrees` must be an integer of at least 0. Got 1.5"):
        rewired_degrees(wiring, generator(), rounds=1.5)  # type: ignore[arg-type]


def test_the_inversion_takes_what_was_not_connected() -> None:
    sparse, crowded = a_wiring(0.3), a_wiring(0.8)
    for name, t in inverted(sparse, generator()).items():
        if name != "dense":
            assert (t & sparse[name]).nnz == 0
    for name, t in inverted(crowded, generator()).items():
        assert (t | crowded[name]).is_full or name == "none"


def test_inverted_scores_keep_the_worst() -> None:
    scores = {"a": torch.tensor([1.0, 3.0, 2.0]), "b": torch.tensor([0.5, 9.0])}
    on = Wiring.full({"a": (3,), "b": (2,)})
    assert {n: t.index.tolist() for n, t in top_global(inverted_scores(scores), 2, on).items()} == {"a": [0], "b": [0]}
    assert top(inverted_scores(scores)["a"], 1, on["a"]).index.tolist() == [0]


def chain_masks(wiring: Wiring) -> list[torch.Tensor]:
    return [t.mask.double() for t in wiring.values()]


def test_relabelled_units_give_an_isomorphic_network() -> None:
    shapes = {"fc1": (7, 5), "fc2": (6, 7), "fc3": (3, 6)}
    wiring = ErdosRenyi(0.5)(shapes, generator())

    def paths(w: Wiring) -> torch.Tensor:
        one, two, three = chain_masks(w)
        return three @ two @ one

    hidden_only = permuted_units(wiring, generator(1), inputs=False)
    assert hidden_only != wiring
    assert torch.equal(paths(hidden_only), paths(wiring))  # ends keep their names: the very same paths
    with_inputs = permuted_units(wiring, generator(1))
    assert torch.equal(paths(with_inputs).sort(dim=1).values, paths(wiring).sort(dim=1).values)
    assert not torch.equal(paths(with_inputs), paths(wiring))
    all_ends = permuted_units(wiring, generator(1), outputs=True)
    assert torch.equal(paths(all_ends).flatten().sort().values, paths(wiring).flatten().sort().values)


def test_relabelled_channels_carry_their_kernels_and_features() -> None:
    shapes = {"conv": (3, 2, 2, 2), "fc": (4, 3 * 5)}  # five positions a channel after flattening
    wiring = ErdosRenyi(0.4)(shapes, generator())
    made = permuted_units(wiring, generator(3), inputs=False)
    kernels = lambda w: w["conv"].mask.double()
    features = lambda w: w["fc"].mask.double().view(4, 3, 5)
    both = lambda w: torch.einsum("fcp,cikl->fpikl", features(w), kernels(w))
    assert made != wiring
    assert torch.equal(both(made), both(wiring))


def test_layers_relabelled_apart_keep_their_degrees() -> None:
    wiring = a_wiring()
    made = permuted_units(wiring, generator(), chain=False)
    for name in SHAPES:
        assert torch.equal(made[name].in_degrees.sort().values, wiring[name].in_degrees.sort().values)
        assert torch.equal(made[name].out_degrees.sort().values, wiring[name].out_degrees.sort().values)


def test_weights_that_are_no_chain_are_refused_in_words() -> None:
    wiring = Wiring.full({"a": (4, 3), "b": (2, 5)})
    with pytest.raises(WiringError, match=r"`b` does not follow `a`: 5 inputs for 4 outputs. .* chain=False"):
        permuted_units(wiring, generator())
