"""Every method joins the common suite by one row; what is no row is refused when the method is made."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest
import torch
from torch import Generator

from common.every_method import FORMS, KINDS, ROWS, STEPS
from wirings.core.forms import Block
from wirings.core.schedules import Every
from wirings.core.settings import family, register
from wirings.makers.random import ErdosRenyi
from wirings.methods import SET, Sites, Supports, forms_of, names
from wirings.methods.drop_grow import at_random, exchange
from wirings.testing import check_method

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("row", ROWS)
def test_a_method_keeps_what_every_method_must(row: str, device: str) -> None:
    method, counts = ROWS[row]
    check_method(method, steps=STEPS, counts=counts, device=device)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_method_and_a_form_run_or_are_refused_at_construction(kind: str, form: str) -> None:
    if form in forms_of(kind):
        assert f"{kind} x {form}" in ROWS
        return
    cls: Any = family("method")[kind]
    needed = {"begin": ErdosRenyi(0.3)} if kind == "static" else {}
    with pytest.raises(ValueError, match=rf"`form` of `{cls.__name__}` must be one of .* Got "):
        cls(form=FORMS[form], **needed)


def test_every_method_of_the_library_has_a_row() -> None:
    assert set(names()) >= KINDS
    own = {kind for kind, cls in family("method").items() if cls.__module__.startswith("wirings.methods.")}
    assert own == KINDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Broken(SET):
    """What a plug-in may get wrong, one thing at a time."""

    fault: str = "none"
    kind: Literal["broken-for-tests"] = dataclasses.field(default="broken-for-tests", repr=False)  # type: ignore[assignment]

    def update(self, sites: Sites, step: int, rng: Generator) -> Supports:
        if self.fault == "global randomness":
            rng = torch.default_generator
        grow = at_random(self.form, rng)
        supports = {name: exchange(site, 0.3, self.form, grow) for name, site in sites.items()}
        if self.fault == "wrong count":
            first = next(iter(supports))
            now = supports[first].forward
            supports[first] = type(supports[first]).both(now.sample(now.nnz - 1, rng))
        return supports


def broken(fault: str) -> _Broken:
    """Registered for as long as the test needs it."""
    return _Broken(begin=ErdosRenyi(0.3), when=Every(3), fault=fault)


@pytest.fixture
def _registered() -> Any:
    held = dict(family("method"))
    register("method")(_Broken)
    yield
    family("method").clear()
    family("method").update(held)


@pytest.mark.usefixtures("_registered")
def test_the_suite_passes_what_is_not_broken() -> None:
    check_method(broken("none"), counts=ROWS["set x unstructured"][1])


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("global randomness", "the global random state must be left alone"),
        ("wrong count", "there must be .* at step 3"),
    ],
)
def test_the_suite_finds_what_a_plug_in_gets_wrong(fault: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"`_Broken` with SGD with momentum: .*{sentence}"):
        check_method(broken(fault), counts=ROWS["set x unstructured"][1])


def test_the_suite_asks_for_settings_that_change_something() -> None:
    with pytest.raises(AssertionError, match="is never due in 12 steps; give the check shorter intervals"):
        check_method(SET())


def test_the_suite_finds_settings_that_do_not_survive() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unregistered(SET):
        extra: int = 3

    with pytest.raises(AssertionError, match="Settings must survive TOML"):
        check_method(Unregistered(when=Every(3)))


def test_a_beginning_without_the_form_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"`begin` must have the form Block.* give the maker the form too"):
        check_method(SET(form=Block(2, 2), begin=ErdosRenyi(0.3), when=Every(3)))
