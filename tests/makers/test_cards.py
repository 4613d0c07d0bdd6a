"""Every maker of structure and of scores has a card that names its kind and all of its settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wirings.makers.baselines import MagnitudeAtInit, RandomAtInit
from wirings.makers.biregular import BiRegular
from wirings.makers.butterfly import FlatButterfly
from wirings.makers.expander import AffineExpander, XNet
from wirings.makers.grasp import GraSP
from wirings.makers.lattice import Band, SmallWorld
from wirings.makers.ntk_sap import NTKSAP
from wirings.makers.obd import OBD
from wirings.makers.radix_fit import RadixNet
from wirings.makers.snip import SNIP
from wirings.makers.synflow import SynFlow

DOCS = Path(__file__).parents[2] / "docs" / "makers"
MAKERS = [
    MagnitudeAtInit,
    RandomAtInit,
    BiRegular,
    FlatButterfly,
    AffineExpander,
    XNet,
    GraSP,
    Band,
    SmallWorld,
    NTKSAP,
    OBD,
    RadixNet,
    SNIP,
    SynFlow,
]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_card_names_the_kind_and_every_setting(maker: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(maker)}
    kind = fields.pop("kind").default
    card = (DOCS / f"{kind}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {maker.__name__}\n") or maker is RadixNet
    assert f'kind = "{kind}"' in card
    for name in fields:
        assert f"| `{name}` |" in card, name
    assert f"[{kind}]({kind}.md)" in (DOCS / "index.md").read_text(encoding="utf-8")
