"""Settings: to plain data and back, equal, by way of real TOML; and what cannot be, refused in words."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tomli_w

from wirings.core import settings as settings_module
from wirings.core.budgets import AnyBudget, Explicit, SmartRatio, Uniform, erk, uniform
from wirings.core.errors import SettingsError, WiringError
from wirings.core.forms import NM, AnyForm, Block, Unstructured
from wirings.core.schedules import AnySchedule, Constant, Cosine, Cubic, Every, Exponential, Linear, When
from wirings.core.settings import (
    Duration,
    build,
    check_duration,
    duration,
    family,
    from_plain,
    in_range,
    positive_int,
    register,
    resolved,
    to_plain,
)
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.magnitude import LAMP, Magnitude
from wirings.makers.maker import AnyBeginning
from wirings.makers.random import Bernoulli, ErdosRenyi, FixedFanIn


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One field of every sort that a method has."""

    begin: AnyBeginning = ErdosRenyi(0.1)
    fraction: AnySchedule = Cosine(0.3, over=0.75)
    when: When = Every(100, until=0.75)
    budget: AnyBudget = uniform
    form: AnyForm = Unstructured()
    other: AnySchedule | None = None
    freeze_at: Duration | None = duration(default=None)
    rate: float = 0.5
    count: int = 3
    flag: bool = False
    names: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["sample"] = field(default="sample", repr=False)


@pytest.fixture(autouse=True)
def _clean_families(monkeypatch: pytest.MonkeyPatch) -> None:
    families = {name: dict(members) for name, members in settings_module._FAMILIES.items()}
    monkeypatch.setattr(settings_module, "_FAMILIES", families)
    monkeypatch.setattr(settings_module, "_plugins_loaded", set())
    monkeypatch.setattr(settings_module, "entry_points", lambda group: [])
    register("sample")(Sample)


def through_toml(name: str, setting: object, *, defaults: bool = True) -> object:
    return from_plain(name, tomllib.loads(tomli_w.dumps({"x": to_plain(setting, defaults=defaults)}))["x"])


EXAMPLES: list[tuple[str, object]] = [
    ("schedule", Constant(0.3)),
    ("schedule", Constant(1)),
    ("schedule", Cosine(0.3, over=75_000, final=0.01)),
    ("schedule", Cosine(1, over=1.0)),
    ("schedule", Cubic(initial=0.5, final=0.05, begin=1, until=0.5)),
    ("schedule", Linear(initial=0.2, final=0.0, until=10)),
    ("schedule", Exponential(initial=1.0, final=0.01, until=100)),
    ("when", Every(100)),
    ("when", Every(0.1, begin=5, until=0.75)),
    ("budget", Uniform()),
    ("budget", Uniform(dense=("conv1.*", "fc"), rounding="floor-zeros")),
    ("budget", erk),
    ("budget", SmartRatio(last=0.2, vgg=True)),
    ("budget", Explicit(densities={"fc1": 0.1, "fc2.*": 1.0})),
    ("form", Unstructured()),
    ("form", NM(2, 4)),
    ("form", Block(4, 8)),
    ("maker", ErdosRenyi(0.1)),
    ("maker", ErdosRenyi(0.1, budget=Uniform(dense=("a",)), form=NM(1, 2))),
    ("maker", Bernoulli(0.2, budget=uniform)),
    ("maker", FixedFanIn(0.2)),
    ("maker", Magnitude(0.05, scope="local", budget=erk)),
    ("maker", LAMP(0.05)),
    ("sample", Sample()),
    (
        "sample",
        Sample(
            begin=FixedFanIn(0.5),
            fraction=Constant(0.2),
            when=Every(3),
            budget=erk,
            form=Block(2, 2),
            other=Linear(initial=1.0, final=0.0),
            freeze_at=0.2,
            rate=1.0,
            count=4,
            flag=True,
            names=("a", "b"),
            shares={"x": 0.5},
        ),
    ),
]


@pytest.mark.parametrize("defaults", [True, False])
@pytest.mark.parametrize("name, setting", EXAMPLES, ids=lambda x: x if isinstance(x, str) else repr(x)[:50])
def test_settings_go_to_toml_and_back_equal(name: str, setting: object, defaults: bool) -> None:
    again = through_toml(name, setting, defaults=defaults)
    assert again == setting
    assert type(again) is type(setting)
    for f in dataclasses.fields(setting):  # type: ignore[arg-type]
        if f.metadata.get("duration"):  # 1 is a step, 1.0 the whole run
            assert type(getattr(again, f.name)) is type(getattr(setting, f.name))


@pytest.mark.parametrize("group", ["schedule", "when", "budget", "form", "maker"])
def test_every_registered_class_has_an_example_here(group: str) -> None:
    tried = {type(setting).__name__ for name, setting in EXAMPLES if name == group}
    simple = {"ER", "ERK", "ConstantFanIn"}  # no field of their own
    here = {cls.__name__ for cls in family(group).values() if cls.__module__.startswith("wirings.core")}
    assert here - tried <= simple
    for kind in ("er", "erk") if group == "budget" else ("constant-fan-in",) if group == "form" else ():
        member = from_plain(group, kind)
        assert through_toml(group, member) == member


def test_open_ends_are_left_out() -> None:
    assert to_plain(Every(100)) == {"kind": "every", "n": 100, "begin": 0}
    assert to_plain(Every(100), defaults=False) == {"kind": "every", "n": 100}
    assert next(iter(to_plain(Sample()))) == "kind"


def test_a_name_alone_means_the_kind() -> None:
    assert from_plain("budget", "erk") == erk
    assert from_plain("sample", {"kind": "sample", "budget": "erk", "form": "unstructured"}) == Sample(budget=erk)


def test_what_is_built_already_stays_as_it_is() -> None:
    budget, wiring = Uniform(), Wiring({"a": Topology.full((2,))})
    assert from_plain("budget", budget) is budget
    assert from_plain("maker", wiring) is wiring
    assert build(Sample, {"begin": wiring}).begin is wiring


def test_a_wiring_is_written_as_path_and_fingerprint(tmp_path: Path) -> None:
    wiring = Wiring({"a": Topology.at((2, 2), [1])})
    with pytest.raises(SettingsError, match=r"call `wiring.save\(path\)` first"):
        to_plain(Sample(begin=wiring))
    wiring.save(tmp_path / "w")
    plain = to_plain(Sample(begin=wiring))
    assert plain["begin"] == {"path": str(tmp_path / "w"), "fingerprint": wiring.fingerprint}
    assert through_toml("sample", Sample(begin=wiring)) == Sample(begin=wiring)
    Wiring({"a": Topology.at((2, 2), [2])}).save(tmp_path / "w")
    with pytest.raises(WiringError, match=r"is not the one that the settings name: fingerprints differ"):
        from_plain("sample", plain)
    (tmp_path / "w").unlink()
    with pytest.raises(SettingsError, match=r"There is no wiring at"):
        from_plain("sample", plain)


@pytest.mark.parametrize(
    "name, plain, sentence",
    [
        ("budget", {"kind": "unifrom"}, "must be a known budget. Got 'unifrom'. Did you mean 'uniform'? Known: er,"),
        ("budget", {"power": 1.0}, "`budget` must be a table with a `kind`. Got {'power': 1.0}. Known: er, erk,"),
        ("budget", 3, "`budget` must be a table with a `kind`. Got 3."),
        ("budget", None, "`budget` must be a table with a `kind`. Got None."),
        ("budget", {"kind": "erk", "powr": 1.0}, "`budget` (ERK) has no setting `powr`. Did you mean 'power'? Known:"),
        ("budget", {"kind": "erk", "power": "much"}, "`power` of `ERK`: Input should be a valid number"),
        ("budget", {"kind": "erk", "power": math.nan}, "`power` of `ERK`: Input should be a finite number. Got nan."),
        ("budget", {"kind": "erk", "power": 11}, "`power` of `ERK` must be in [0, 10]. Got 11"),
        ("budget", {"kind": "erk", "power": True}, "`budget.power` must not be a truth value. Got True."),
        ("budget", {"kind": "uniform", "rounding": "up"}, "`rounding` of `Uniform`: Input should be 'exact',"),
        ("budget", {"kind": "explicit"}, "`budget` (Explicit) needs `densities`."),
        ("schedule", {"kind": "cosine"}, "`schedule` (Cosine) needs `peak`."),
        ("schedule", {"kind": "cosine", "peak": 0.3, "over": 1.5}, "`over` of `Cosine` must be steps"),
        ("schedule", {"kind": "cosine", "peak": 0.3, "over": True}, "`schedule.over` must not be a truth value"),
        ("maker", {"kind": "erdos-renyi", "density": 1.5}, "`density` of `ErdosRenyi` must be in (0, 1]. Got 1.5."),
        ("maker", {"kind": "erdos-renyi", "density": math.nan}, "`density` of `ErdosRenyi`: Input should be a finite"),
        (
            "sample",
            {"kind": "sample", "begin": {"kind": "erdos-renyi", "density": 0.1, "budget": "unifom"}},
            "`sample.begin.budget` must be a known budget. Got 'unifom'. Did you mean 'uniform'?",
        ),
        ("sample", {"kind": "sample", "count": 1.5}, "`count` of `Sample`: Input should be a valid integer"),
        ("sample", {"kind": "sample", "flag": "perhaps"}, "`flag` of `Sample`: Input should be a valid boolean"),
        ("sample", {"kind": "sample", "other": "cosin"}, "`sample.other` must be a known schedule. Got 'cosin'."),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(name: str, plain: object, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_plain(name, plain)
    assert sentence in str(caught.value)


def test_numbers_from_flags_may_be_words() -> None:
    assert build(Sample, {"rate": "0.25", "count": "7", "flag": "true"}) == Sample(rate=0.25, count=7, flag=True)
    assert from_plain("maker", {"kind": "erdos-renyi", "density": "0.1"}) == ErdosRenyi(0.1)


def test_what_a_file_cannot_hold_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"cannot be written into settings; use a registered settings class"):
        to_plain(Sample(budget=lambda shapes, density: {}))
    with pytest.raises(SettingsError, match=r"Settings must be finite numbers. Got inf"):
        to_plain(Sample(rate=math.inf))
    with pytest.raises(SettingsError, match=r"`rate` of `Sample` cannot be written as None: files have no null"):
        to_plain(Sample(rate=None))  # type: ignore[arg-type]


def test_numbers_of_numpy_are_written_as_plain_ones() -> None:
    plain = to_plain(Sample(rate=np.float64(0.25), count=np.int64(4)))
    assert (type(plain["rate"]), type(plain["count"])) == (float, int)


def test_shares_are_resolved_through_all_levels() -> None:
    settled = resolved(Sample(freeze_at=0.2), 1000)
    assert settled.fraction == Cosine(0.3, over=750)
    assert settled.when == Every(100, until=750)
    assert settled.freeze_at == 200
    assert resolved(settled, None) is settled
    assert resolved(3, 10) == 3
    with pytest.raises(ValueError, match=r"attach\(..., steps=N\)"):
        resolved(Sample(), None)


# ---------------------------------------------------------------------- registering, plug-ins


@dataclass(frozen=True)
class Point:
    """An entry point, as importlib.metadata shows it."""

    name: str
    loader: Callable[[], type]
    value: str = "a_package:Thing"

    def load(self) -> type:
        return self.loader()


def test_a_plug_in_joins_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Mine:
        density: float = 0.5
        kind: Literal["mine"] = "mine"

    asked: list[str] = []

    def entry_points(group: str) -> list[Point]:
        asked.append(group)
        return [Point("my-maker", lambda: Mine)]

    monkeypatch.setattr(settings_module, "entry_points", entry_points)
    assert family("maker")["mine"] is Mine  # by its kind, though it forgot to register
    assert from_plain("maker", {"kind": "my-maker", "density": 0.25}) == Mine(0.25)
    assert through_toml("maker", Mine(0.125)) == Mine(0.125)
    family("maker")
    assert asked == ["wirings.makers"]  # once


def test_a_broken_plug_in_is_named_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> type:
        raise ImportError("no module named a_package")

    monkeypatch.setattr(settings_module, "entry_points", lambda group: [Point("bad", broken)])
    with pytest.warns(UserWarning, match=r"The plug-in `bad` \(a_package:Thing\) cannot be loaded: no module named"):
        assert "erdos-renyi" in family("maker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family("maker")


def test_families_without_entry_points_ask_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "entry_points", lambda group: pytest.fail("asked"))
    assert family("nothing") == {}
    assert "erk" in family("budget")


def test_two_classes_cannot_share_a_kind() -> None:
    @dataclass(frozen=True)
    class Impostor:
        kind: Literal["erk"] = "erk"

    with pytest.raises(ValueError, match=r"'erk' is already that of wirings.core.budgets.ERK"):
        register("budget")(Impostor)
    register("budget")(type(erk))  # the same class again is fine


def test_a_class_without_a_kind_cannot_be_registered() -> None:
    @dataclass(frozen=True)
    class Nameless:
        x: int = 1

    with pytest.raises(TypeError, match=r"`Nameless` needs a field `kind"):
        register("budget")(Nameless)


# ---------------------------------------------------------------------- checks


@dataclass(frozen=True)
class Holder:
    x: object


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1, True, "0.5", None])
def test_ranges_refuse_in_the_sentence_of_the_house(value: object) -> None:
    with pytest.raises(ValueError, match=r"^`x` of `Holder` must be in \[0, 1\]. Got .*\.$"):
        in_range("x", Holder(value), 0, 1)


def test_ranges_may_be_open() -> None:
    in_range("x", Holder(0), 0, 1)
    in_range("x", Holder(1.0), 0, 1)
    with pytest.raises(ValueError, match=r"must be in \(0, 1\). Got 0"):
        in_range("x", Holder(0), 0, 1, open_low=True, open_high=True)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\). Got 1"):
        in_range("x", Holder(1), 0, 1, open_high=True)


@pytest.mark.parametrize("value", [0, -3, 1.0, math.nan, True, "2", None])
def test_counts_are_positive_integers(value: object) -> None:
    with pytest.raises(ValueError, match=r"^`x` of `Holder` must be an integer of at least 1. Got .*\.$"):
        positive_int("x", Holder(value))


def test_durations_may_be_open_where_said() -> None:
    check_duration("x", Holder(None), optional=True)
    with pytest.raises(ValueError, match=r"Got None"):
        check_duration("x", Holder(None))
