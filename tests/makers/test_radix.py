"""RadiX-Nets against the published cases and the theorems, exactly."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wirings.analysis.paths import path_counts
from wirings.core.topology import Topology
from wirings.makers.radix import (
    density,
    in_degrees,
    mixed_radix,
    out_degrees,
    paths,
    permuted,
    radix_net,
    trimmed,
)

Case = tuple[list[list[int]], list[int]]

GOLDEN: list[tuple[list[list[int]], list[int], int]] = [
    ([[2, 2, 2]], [1, 1, 1, 1], 1),
    ([[10, 10]], [8, 3, 1], 3),
    ([[10, 10]], [8, 30, 1], 30),
    ([[2, 3], [3, 2], [6]], [1, 1, 1, 1, 1, 1], 36),
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Valid systems with N' of at most 24, and widths of at most 3."""
    first = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).filter(lambda s: math.prod(s) <= 24))
    nodes = math.prod(first)
    systems = [first]
    for _ in range(draw(st.integers(0, 2))):
        systems.append(list(draw(st.permutations(first))))
    if len(systems) > 1:
        divisors = [d for d in range(1, nodes + 1) if nodes % d == 0]
        systems[-1] = [draw(st.sampled_from(divisors))]
    layers = sum(map(len, systems))
    widths = draw(st.lists(st.integers(1, 3), min_size=layers + 1, max_size=layers + 1))
    return systems, widths


@pytest.mark.parametrize(("systems", "widths", "expected"), GOLDEN)
def test_published_cases_have_their_path_counts(systems: list[list[int]], widths: list[int], expected: int) -> None:
    assert paths(systems, widths) == expected
    assert set(path_counts(radix_net(systems, widths)).flat) == {expected}


@given(cases())
@settings(max_examples=60, deadline=None)
def test_every_output_has_as_many_paths_to_every_input(case: Case) -> None:
    systems, widths = case
    assert set(path_counts(radix_net(systems, widths)).flat) == {paths(systems, widths)}


@given(cases())
@settings(max_examples=60, deadline=None)
def test_degrees_are_constant_and_densities_are_the_formulas(case: Case) -> None:
    systems, widths = case
    layers = radix_net(systems, widths)
    for layer, entering, leaving in zip(layers, in_degrees(systems, widths), out_degrees(systems, widths), strict=True):
        assert set(layer.in_degrees.tolist()) == {entering}
        assert set(layer.out_degrees.tolist()) == {leaving}
    kept = sum(layer.nnz for layer in layers)
    assert density(systems, widths) == pytest.approx(kept / sum(layer.numel for layer in layers), rel=1e-12)
    nodes, radices = math.prod(systems[0]), [r for s in systems for r in s]
    blocks = [a * b for a, b in pairwise(widths)]
    formula = sum(r * b for r, b in zip(radices, blocks, strict=True)) / (nodes * sum(blocks))
    assert density(systems, widths) == pytest.approx(formula, rel=1e-12)


def test_three_binary_digits_make_the_butterfly_of_eight() -> None:
    layers = mixed_radix([2, 2, 2])
    assert [layer.density for layer in layers] == [0.25] * 3
    assert layers[1].mask[2].nonzero().flatten().tolist() == [0, 2]  # output 2 <- inputs 2 and 2 - 2


def test_the_small_explicit_network_of_seed_one_has_its_connections() -> None:
    first, second = trimmed(radix_net([[10, 10]], [8, 3, 1]), [784, 300, 100])
    assert (first.shape, first.nnz, second.shape, second.nnz) == ((300, 784), 23_520, (100, 300), 3_000)
    assert set(first.out_degrees.tolist()) == {30}
    assert set(second.in_degrees.tolist()) == {30}
    assert first.in_degrees.min() >= 70
    assert first.in_degrees.max() <= 80
    assert set(path_counts(radix_net([[10, 10]], [8, 3, 1])).flat) == {3}


def test_the_big_explicit_network_has_the_connections_of_the_dense_small_one() -> None:
    first, second = trimmed(radix_net([[10, 10]], [8, 30, 1]), [784, 3000, 100])
    assert (first.nnz, second.nnz) == (235_200, 30_000)
    assert first.nnz + second.nnz == 784 * 300 + 300 * 100


def test_trimming_drops_the_first_units() -> None:
    [layer] = radix_net([[2, 2]], [1, 1, 1])[:1]
    [cut] = trimmed([layer], [3, 4])
    assert torch.equal(cut.mask, layer.mask[:, 1:])


def test_a_graph_challenge_layer_is_made_from_its_connections_alone() -> None:
    layer = radix_net([[32, 32, 16]], [1, 1, 1, 1])[0]
    assert layer.shape == (16_384, 16_384)
    assert layer.nnz == 16_384 * 32
    assert layer._mask is None


def test_radix_one_renames_units_only() -> None:
    layers = mixed_radix([3, 1, 2])
    assert torch.equal(layers[1].mask, torch.eye(6, dtype=torch.bool))
    assert set(path_counts(layers).flat) == {1}


def test_circulant_copies_thin_out_and_stay_regular() -> None:
    systems, widths, degrees = [[2, 2], [2, 2]], [4, 8, 4, 2, 6], [2, 1, 2, 1]
    layers = radix_net(systems, widths, degrees=degrees)
    for layer, entering, leaving in zip(
        layers,
        in_degrees(systems, widths, degrees=degrees),
        out_degrees(systems, widths, degrees=degrees),
        strict=True,
    ):
        assert set(layer.in_degrees.tolist()) == {entering}
        assert set(layer.out_degrees.tolist()) == {leaving}
    kept, size = sum(layer.nnz for layer in layers), sum(layer.numel for layer in layers)
    assert density(systems, widths, degrees=degrees) == pytest.approx(kept / size, rel=1e-12)
    assert density(systems, widths, degrees=degrees) < density(systems, widths)


def test_full_copy_degrees_are_the_plain_radix_net() -> None:
    plain = radix_net([[2, 3]], [2, 4, 6])
    assert radix_net([[2, 3]], [2, 4, 6], degrees=[2, 2]) == plain


def test_copy_degrees_that_count_the_widths_keep_paths_equal() -> None:
    assert set(path_counts(radix_net([[2, 2], [2, 2]], [4] * 5, degrees=[2, 2, 2, 2])).flat) == {16}


def test_renamed_units_keep_degrees_and_paths() -> None:
    layers = radix_net([[2, 3]], [2, 1, 3])
    renamed = permuted(layers, torch.Generator().manual_seed(0))
    assert renamed != layers
    assert renamed == permuted(layers, torch.Generator().manual_seed(0))
    assert set(path_counts(renamed).flat) == set(path_counts(layers).flat) == {1}
    assert [sorted(t.in_degrees.tolist()) for t in renamed] == [sorted(t.in_degrees.tolist()) for t in layers]


def test_paths_beyond_sixty_four_bits_are_exact() -> None:
    systems, widths = [[1024, 1024]] * 6, [1] * 13
    assert paths(systems, widths) == (1024 * 1024) ** 5
    full = [Topology.full((3, 3))] * 45
    assert set(path_counts(full).flat) == {3**44}


@pytest.mark.parametrize(
    ("systems", "widths", "degrees", "rule"),
    [
        ([[2, 3], [2, 2], [6]], [1] * 6, None, "but the last must have the same product. Got 6 and 4"),
        ([[2, 3], [4]], [1] * 4, None, "last system must divide that of the others. Got 4 and 6"),
        ([[10, 10]], [8, 3], None, "must be one more than its 2 layers, 3. Got 2"),
        ([[10, 10]], [8, 0, 1], None, "`widths` of a RadiX-Net must be integers of at least 1"),
        ([[10, -1]], [8, 3, 1], None, "must hold radices, integers of at least 1. Got [10, -1]"),
        ([[2.0, 2]], [1, 1, 1], None, "must hold radices"),
        ([[]], [1], None, "must hold radices"),
        ([], [1], None, "must be a sequence of number systems"),
        ([10, 10], [1, 1, 1], None, "must be a sequence of number systems"),
        ([[2, 2]], [4, 8, 4], [3, 1], "divisor of the widths around it (4 at layer 1). Got 3"),
        ([[2, 2]], [4, 8, 4], [2], "must be one for each of its 2 layers. Got 1"),
    ],
)
def test_an_invalid_system_is_refused_with_the_rule_it_breaks(
    systems: list[list[int]], widths: list[int], degrees: list[int] | None, rule: str
) -> None:
    with pytest.raises(ValueError) as refused:
        radix_net(systems, widths, degrees=degrees)
    assert rule in str(refused.value)


def test_sizes_that_do_not_fit_are_refused() -> None:
    layers = radix_net([[2, 2]], [1, 1, 1])
    with pytest.raises(ValueError, match="must fit into"):
        trimmed(layers, [5, 4, 4])
    with pytest.raises(ValueError, match=r"must name 3 layers of units"):
        trimmed(layers, [4, 4])
    with pytest.raises(ValueError, match="at least one layer"):
        path_counts([])
