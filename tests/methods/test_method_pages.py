"""The pages about methods say what the code says, and the plug-in of the tutorial is a method like any other."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from common.every_method import KINDS
from wirings.core.budgets import erk
from wirings.core.schedules import Constant, Every
from wirings.core.settings import default_of, family, from_plain
from wirings.makers.random import ErdosRenyi
from wirings.methods import forms_of
from wirings.testing import FakeSite, check_method

DOCS = Path(__file__).parents[2] / "docs"
SHORT = {"ERK(power=1.0, dense=(), rounding='exact')": "erk", "Uniform(dense=(), rounding='exact')": "uniform"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_card_lists_the_settings_and_defaults_of_its_method(kind: str) -> None:
    card, cls = (DOCS / "methods" / f"{kind}.md").read_text(encoding="utf-8"), family("method")[kind]
    listed = {name: default.strip("`") for name, default in re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", card, re.M)}
    wanted = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        text = repr(default) if (default := default_of(field)) is not dataclasses.MISSING else "—"
        for long, short in SHORT.items():
            text = text.replace(long, short)
        wanted[field.name] = text
    del wanted["kind"]
    assert listed == wanted
    assert card.startswith(f"# {cls.__name__}\n")
    assert f'`kind = "{kind}"`' in card
    assert f"Forms: {', '.join(forms_of(kind))}." in card
    for part in ("**When to use it.**", "**Cost.**", "**What differs.**", "**Reference.**"):
        assert part in card


def test_the_table_of_methods_and_forms_is_the_codes() -> None:
    page = (DOCS / "methods" / "index.md").read_text(encoding="utf-8")
    head = re.search(r"^\| method \| (.+) \|$", page, re.M)
    assert head is not None
    forms = head[1].split(" | ")
    rows = re.findall(r"^\| \[(.+)\]\(.+\.md\) \| (.+) \|$", page, re.M)
    table = {
        kind: {f for f, mark in zip(forms, marks.split(" | "), strict=True) if mark.strip()} for kind, marks in rows
    }
    assert set(forms) == set(family("form"))
    assert table == {kind: set(forms_of(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def plug_in() -> Iterator[ModuleType]:
    """The tutorial's module, registered for as long as this file needs it."""
    held = dict(family("method"))
    spec = importlib.util.spec_from_file_location("dsr_plugin", DOCS / "examples" / "dsr_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dsr_plugin"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["dsr_plugin"]
    family("method").clear()
    family("method").update(held)


def test_the_plug_in_of_the_tutorial_passes_the_suite(plug_in: ModuleType) -> None:
    total = lambda step, shapes: sum(erk(shapes, 0.3).values())
    check_method(plug_in.DSR(begin=ErdosRenyi(0.3), when=Every(3)), counts=total)


def test_the_plug_in_moves_connections_to_where_more_survived(plug_in: ModuleType) -> None:
    strong = FakeSite([[9.0, 8.0, 7.0, 6.0, 0.0, 0.0, 0.0, 0.0]], mask=[[1, 1, 1, 1, 0, 0, 0, 0]])
    weak = FakeSite([[0.1, 0.2, 0.3, 5.0, 0.0, 0.0, 0.0, 0.0]], mask=[[1, 1, 1, 1, 0, 0, 0, 0]])
    after = plug_in.DSR(share=Constant(0.5)).update({"strong": strong, "weak": weak}, 100, torch.Generator())
    assert {name: support.forward.nnz for name, support in after.items()} == {"strong": 8, "weak": 0}


def test_the_plug_in_is_named_in_settings(plug_in: ModuleType) -> None:
    assert from_plain("method", {"kind": "dsr"}) == plug_in.DSR()


def test_the_plug_in_is_short() -> None:
    assert len((DOCS / "examples" / "dsr_plugin.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_pictures_of_the_tutorial_hold(plug_in: ModuleType) -> None:
    page = (DOCS / "write-a-method.md").read_text(encoding="utf-8")
    blocks = [b for b in re.findall(r"```python\n(.*?)```", page, re.S) if b.strip()]
    shown = {"torch": torch, "DSR": plug_in.DSR, "ErdosRenyi": ErdosRenyi, "Every": Every}
    for block in blocks:
        exec(compile(block, "write-a-method.md", "exec"), shown)
    shown["test_dsr"]()  # type: ignore[operator]
