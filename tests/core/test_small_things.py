"""Names, scores, streams, files, errors and supports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wirings.core import scores
from wirings.core.errors import DataError, SettingsError, WiringError, WiringsError, nearest
from wirings.core.files import sha256_of, write_bytes, write_text, written_aside
from wirings.core.names import bare, matches
from wirings.core.streams import derived_seed, stream
from wirings.core.support import Support
from wirings.core.topology import Topology

# ---------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "wrapped",
    ["fc.weight", "module.fc.weight", "_orig_mod.fc.weight", "module._orig_mod.fc.weight", "fc._orig_mod.weight"],
)
def test_wrappers_vanish_from_names(wrapped: str) -> None:
    assert bare(wrapped) == "fc.weight"


def test_names_keep_what_is_their_own() -> None:
    assert bare("encoder.module.weight") == "encoder.module.weight"


@pytest.mark.parametrize(
    "pattern, fits",
    [
        ("layer1.0.conv.weight", True),
        ("layer1.0.conv", True),
        ("layer1", True),
        ("layer?", True),
        ("*.conv", True),
        ("*conv*", True),
        ("layer", False),
        ("conv", False),
        ("0", False),
        ("Layer1", False),
        ("layer1.0.conv.weight.more", False),
    ],
)
def test_a_pattern_fits_a_weight_its_module_or_a_parent(pattern: str, fits: bool) -> None:
    assert matches("layer1.0.conv.weight", [pattern]) is fits
    assert matches("layer1.0.conv.weight", pattern) is fits  # a single pattern is not a row of letters


def test_no_pattern_fits_nothing() -> None:
    assert not matches("fc.weight", [])
    assert matches("fc.weight", iter(["a", "fc"]))


# ---------------------------------------------------------------------- scores


def test_scores_rank_as_their_papers_say() -> None:
    w, g = torch.tensor([3.0, -1, 2, 0.5]), torch.tensor([0.5, -4, 0, 1])
    assert scores.magnitude(w).tolist() == [3, 1, 2, 0.5]
    assert scores.saliency(w, g).tolist() == [1.5, 4, 0, 0.5]  # SNIP on a linear loss
    assert scores.movement(g, w).tolist() == [2.5, 3, 2, 0.5]
    assert scores.magnitude_increase(g, w).tolist() == [2.5, -3, 2, -0.5]


def test_random_scores_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    a, b = (scores.random(torch.zeros(3, 4), torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == (3, 4)
    assert a.dtype == torch.float64
    assert torch.equal(torch.get_rng_state(), before)


def test_lamp_divides_by_what_is_at_least_as_large() -> None:
    assert scores.lamp(torch.tensor([1.0, 2.0, 2.0])).tolist() == pytest.approx([1 / 9, 1 / 2, 1])
    assert scores.lamp(torch.tensor([[-3.0, 0.0]])).tolist() == [[1.0, 0.0]]
    assert scores.lamp(torch.zeros(3)).tolist() == [0, 0, 0]


@given(st.lists(st.floats(-10, 10, width=16), min_size=1, max_size=20))
def test_lamp_agrees_with_its_definition(weights: list[float]) -> None:
    found = scores.lamp(torch.tensor(weights, dtype=torch.float64)).tolist()
    order = sorted(range(len(weights)), key=lambda i: abs(weights[i]))
    for rank, i in enumerate(order):
        below = sum(weights[j] ** 2 for j in order[rank:])
        assert found[i] == pytest.approx(weights[i] ** 2 / below if below else 0.0)
    assert [found[i] for i in order] == sorted(found)


# ---------------------------------------------------------------------- streams


def test_streams_are_the_same_for_ever_and_apart_by_name() -> None:
    assert derived_seed(0, "order", 3) == derived_seed(0, "order", 3)
    seeds = {derived_seed(seed, *names) for seed in (0, 1) for names in (("order",), ("order", 3), ("wiring",), ())}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=stream(0, "a")), torch.rand(3, generator=stream(0, "a")))


def test_the_first_seeds_are_pinned() -> None:
    assert derived_seed(0, "wiring") == 2130329010061781456


# ---------------------------------------------------------------------- files


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match=r"crash"), written_aside(target) as aside:  # noqa: PT012
        aside.write_text("half")
        raise RuntimeError("crash")
    assert target.read_text() == "old"
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in target.parent.iterdir()] == ["file"]
    assert sha256_of(target) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


# ---------------------------------------------------------------------- errors


def test_a_misspelt_name_gets_the_nearest() -> None:
    assert nearest("rigel", ["rigl", "set"]) == "Did you mean 'rigl'? Known: rigl, set."
    assert nearest("xyz", ["rigl"]) == "Known: rigl."
    assert nearest("", ["b", "a"]) == "Known: a, b."


def test_errors_have_their_families() -> None:
    assert issubclass(WiringError, (WiringsError, ValueError))
    assert issubclass(SettingsError, ValueError)
    assert not issubclass(DataError, ValueError)


# ---------------------------------------------------------------------- supports


def test_a_support_trains_at_least_what_it_uses() -> None:
    small, large = Topology.at((4,), [1]), Topology.at((4,), [1, 2])
    assert not Support(small, large).is_plain
    assert Support.both(small).is_plain
    assert Support(small, Topology.at((4,), [1])).is_plain
    assert Support(small, large) == Support(small, Topology.at((4,), [2, 1]))
    with pytest.raises(ValueError, match=r"`backward` of `Support` must contain `forward`"):
        Support(large, small)
