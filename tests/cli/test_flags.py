"""Lists, ranges, densities, durations and grids on the command line."""

from __future__ import annotations

import pytest

from wirings.cli import flags
from wirings.core.errors import SettingsError


def test_lists_take_ranges_of_integers_and_nothing_else() -> None:
    assert flags.listed("0-2,7", int, flag="--seed") == [0, 1, 2, 7]
    assert flags.listed("rigl, set", str, flag="--method") == ["rigl", "set"]
    with pytest.raises(SettingsError, match=r"`--seed` must be a list such as 0-4 or 0,1,2. Got 'a-b'."):
        flags.listed("a-b", int, flag="--seed")
    with pytest.raises(SettingsError, match="must name at least one"):
        flags.listed(" , ", str, flag="--method")


@pytest.mark.parametrize(
    ("density", "sparsity", "expected"),
    [("0.05,1", None, [0.05, 1.0]), (None, "0.95", [0.05]), (None, "95%,98 %", [0.05, 0.02]), (None, None, [])],
)
def test_densities_come_from_either_word(density: str | None, sparsity: str | None, expected: list[float]) -> None:
    assert flags.densities(density, sparsity and sparsity.replace(" %", "%")) == expected


@pytest.mark.parametrize(
    ("density", "sparsity", "sentence"),
    [
        ("0", None, r"`--density` must be in \(0, 1\]. Got 0."),
        ("1.5", None, r"`--density` must be in \(0, 1\]. Got 1.5."),
        ("nan", None, r"`--density` must be in \(0, 1\]. Got nan."),
        (None, "1", r"`--sparsity` must be in \[0, 1\). Got 1."),
        (None, "-0.5", r"`--sparsity` must be in \[0, 1\). Got -0.5."),
        ("0.1", "0.9", "say the same thing twice"),
        ("many", None, "must be a list such as"),
    ],
)
def test_impossible_densities_are_refused(density: str | None, sparsity: str | None, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        flags.densities(density, sparsity)


def test_durations_are_steps_shares_or_epochs() -> None:
    assert flags.duration("500", 20, flag="--warmup") == 500
    assert flags.duration("0.25", 20, flag="--warmup") == 0.25
    assert flags.duration("3ep", 20, flag="--warmup") == 0.15
    assert flags.duration("0ep", 20, flag="--warmup") == 0
    with pytest.raises(SettingsError, match="within the run's 20 epochs"):
        flags.duration("21ep", 20, flag="--warmup")
    with pytest.raises(SettingsError, match=r"steps \(500\), a share of the run \(0.2\) or epochs \(3ep\)"):
        flags.duration("soon", 20, flag="--warmup")


def test_single_settings_change_by_their_path_and_leave_the_rest() -> None:
    plain = {"method": {"kind": "rigl", "fraction": {"kind": "cosine", "peak": 0.3}}}
    changed = flags.changed(plain, ["method.fraction.peak=0.5", "optimizer.momentum=0.8", "data=mnist"])
    assert changed["method"] == {"kind": "rigl", "fraction": {"kind": "cosine", "peak": 0.5}}
    assert changed["optimizer"] == {"momentum": 0.8}
    assert changed["data"] == "mnist"
    assert plain["method"]["fraction"]["peak"] == 0.3  # type: ignore[index]
    with pytest.raises(SettingsError, match="a setting and its value"):
        flags.changed(plain, ["method"])
    with pytest.raises(SettingsError, match="`kind` is not a table"):
        flags.changed(plain, ["method.kind.peak=1"])


def test_a_grid_has_every_combination_the_last_axis_fastest() -> None:
    assert flags.grid({"a": [1, 2], "b": [3, 4]}) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


def test_methods_are_made_at_each_density_and_a_dense_network_once() -> None:
    tables = flags.method_tables(["dense", "dnw"], [0.1, 0.02], "erk")
    assert [label for label, _ in tables] == ["dense", "dnw", "dnw"]
    assert tables[0][1] is None
    assert [table["density"] for _, table in tables if table is not None] == [0.1, 0.02]
    with pytest.raises(SettingsError, match=r"Got 'rigel'. Did you mean 'rigl'\?"):
        flags.method_tables(["rigel"], [0.1], "erk")
    with pytest.raises(SettingsError, match="needs a density: give --sparsity"):
        flags.method_tables(["rigl"], [], "erk")


def test_a_method_that_finds_its_own_density_is_asked_for_once_whatever_the_densities() -> None:
    assert flags.method_tables(["supermask"], [], "erk") == [("supermask", {"kind": "supermask"})]
    both = flags.method_tables(["supermask", "set"], [0.1, 0.05], "erk")
    assert [label for label, _ in both] == ["supermask", "set", "set"]
