"""Every maker of structure and of scores has a card that names its kind and all of its settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wirings.makers import (
    baselines,
    biregular,
    butterfly,
    expander,
    grasp,
    lattice,
    ntk_sap,
    obd,
    radix_fit,
    snip,
    synflow,
)

DOCS = Path(__file__).parents[2] / "docs" / "makers"
MAKERS = [
    baselines.MagnitudeAtInit,
    baselines.RandomAtInit,
    biregular.BiRegular,
    butterfly.FlatButterfly,
    expander.AffineExpander,
    expander.XNet,
    grasp.GraSP,
    lattice.Band,
    lattice.SmallWorld,
    ntk_sap.NTKSAP,
    obd.OBD,
    radix_fit.RadixNet,
    snip.SNIP,
    synflow.SynFlow,
]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_card_names_the_kind_and_every_setting(maker: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(maker)}
    kind = fields.pop("kind").default
    card = (DOCS / f"{kind}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {maker.__name__}\n") or maker is radix_fit.RadixNet
    assert f'kind = "{kind}"' in card
    for name in fields:
        assert f"| `{name}` |" in card, name
    assert f"[{kind}]({kind}.md)" in (DOCS / "index.md").read_text(encoding="utf-8")
