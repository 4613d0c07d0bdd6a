"""What all methods share: names, settings, rules, and errors before training."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import pkgutil
import tomllib
from typing import Any

import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wirings.makers.supermask
import wirings.methods
import wirings.testing
from wirings.core.errors import SettingsError, WiringError
from wirings.core.schedules import Constant
from wirings.core.settings import family, from_plain, resolved, to_plain
from wirings.core.support import Support
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.makers.random import ErdosRenyi
from wirings.methods import RigL, SRigL, Static, Straight, Supermask, forms_of, names
from wirings.methods.method import planned
from wirings.testing import FakeSite

MODULES = [
    "wirings.makers.supermask",
    *(
        info.name
        for package in (wirings.methods, wirings.testing)
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs=_shown()).failed == 0


def _shown() -> dict[str, Any]:
    """The public names that examples use without importing them."""
    from wirings.core import forms, schedules
    from wirings.makers import random

    shown: dict[str, Any] = {}
    for module in (forms, schedules, random, wirings.methods, wirings.testing):
        shown |= {name: v for name, v in vars(module).items() if getattr(v, "__module__", "").startswith("wirings.")}
    return shown


def test_names_are_the_registered_kinds() -> None:
    assert {"static", "gradual", "set", "rigl", "snfs", "dnw", "top-kast", "edge-popup", "gem-miner"} <= set(names())
    assert {"granet", "mest", "srigl", "supermask"} <= set(names())
    assert list(names()) == sorted(names())


def test_forms_are_told_by_kind() -> None:
    assert forms_of("srigl") == ("constant-fan-in",)
    assert set(forms_of("dnw")) >= {"n:m", "unstructured"}
    with pytest.raises(SettingsError, match="Did you mean 'rigl'"):
        forms_of("rigel")


@pytest.mark.parametrize("kind", sorted(set(names()) - {"static"}))
def test_defaults_survive_toml(kind: str) -> None:
    method = from_plain("method", kind)
    assert from_plain("method", tomllib.loads(tomli_w.dumps(to_plain(method)))) == method
    assert from_plain("method", to_plain(method, defaults=False)) == method


@given(density=st.floats(0.001, 1), share=st.floats(0, 1), gamma=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_settings_survive_toml(density: float, share: float, gamma: float) -> None:
    for method in (
        SRigL(density=density, fraction=Constant(share), gamma=gamma),
        RigL(begin=ErdosRenyi(density), fraction=Constant(share)),
    ):
        assert from_plain("method", tomllib.loads(tomli_w.dumps(to_plain(method)))) == method


def test_a_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"has no setting `fractoin`. Did you mean 'fraction'"):
        from_plain("method", {"kind": "rigl", "fractoin": {"kind": "constant", "value": 0.3}})


def test_every_method_says_what_it_does_and_where_it_is_from() -> None:
    for kind, cls in family("method").items():
        if cls.__module__.startswith("wirings.methods."):
            text = cls.__doc__ or ""
            assert "Example:" in text, kind
            assert "Args:" in text, kind
            assert cls.__name__ == "Static" or "Differs from" in text, kind


def test_straight_is_the_straight_through_estimator() -> None:
    support = Support(Topology.at((1, 4), [0, 2]), Topology.at((1, 4), [0, 1, 2]))
    ones = torch.ones(1, 4)
    assert Straight().effective(ones, ones, support).tolist() == [[1, 0, 1, 0]]
    assert Straight().pullback(ones, ones, ones, support).tolist() == [[1, 1, 1, 0]]
    assert Straight().project(ones) is ones
    began = Straight().begin(ones, torch.Generator())
    assert torch.equal(began, ones)
    assert began.data_ptr() != ones.data_ptr()


def test_rules_do_not_care_for_the_memory_format() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    support = Support.both(Topology.of(weight > 0))
    last = weight.to(memory_format=torch.channels_last)
    assert torch.equal(Straight().effective(last, last, support), Straight().effective(weight, weight, support))
    assert torch.equal(
        Straight().pullback(last, last, last, support), Straight().pullback(weight, weight, weight, support)
    )


def test_a_wiring_for_another_network_is_refused() -> None:
    sites = {"fc.weight": FakeSite(torch.zeros(2, 3)), "out.weight": FakeSite(torch.zeros(1, 2))}
    rng, form = torch.Generator(), Static(begin=ErdosRenyi(0.5)).form
    with pytest.raises(WiringError, match=r"names `conv.weight`, which the network does not have"):
        planned(Wiring({"conv.weight": Topology.full((2, 3))}), sites, rng, form)
    with pytest.raises(WiringError, match=r"shape \(3, 3\), but that of the network has \(2, 3\)"):
        planned(Wiring({"fc.weight": Topology.full((3, 3))}), sites, rng, form)
    with pytest.raises(WiringError, match=r"`out.weight` is missing; leave it out with `where`"):
        planned(Wiring({"fc.weight": Topology.full((2, 3))}), sites, rng, form)


def test_static_keeps_its_wiring() -> None:
    method = Static(begin=ErdosRenyi(0.5))
    site = FakeSite(torch.zeros(4, 5))
    site.install(method.start({"w": site}, torch.Generator())["w"])
    assert site.support.forward.nnz == 10
    assert not any(method.due(step) for step in range(1, 100))
    assert method.update({"w": site}, 5, torch.Generator())["w"] is site.support


OWN: dict[str, Any] = {
    kind: cls for kind, cls in family("method").items() if cls.__module__.startswith("wirings.methods.")
}
"""The library's methods, without those of plug-ins."""


@pytest.mark.parametrize("kind", sorted(OWN.keys() - {"supermask", "static"}))
def test_a_method_at_a_density_ends_there(kind: str) -> None:
    """Unstructured ones, on a network of one weight, where the last update is asked."""
    method = resolved(OWN[kind].at(0.05), 1000)
    rng = torch.Generator().manual_seed(0)
    site = FakeSite(torch.rand(50, 40, generator=rng), gradient=torch.rand(50, 40, generator=rng))
    site.install(method.start({"w": site}, rng)["w"])
    for step in (960, 1000):
        if method.due(step):
            site.install(method.update({"w": site}, step, rng)["w"])
    assert site.support.forward.nnz == 100


def test_what_has_no_density_cannot_be_put_at_one() -> None:
    with pytest.raises(ValueError, match=r"`Supermask` has no density that could be set. Got 0.05"):
        Supermask.at(0.05)


def test_methods_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RigL().when = None  # type: ignore[misc,assignment]
