"""Every form joins the common suite by one row."""

from __future__ import annotations

import pytest

from common.every_form import ROWS
from wirings.core.settings import family
from wirings.testing import check_form


@pytest.mark.parametrize("row", ROWS)
def test_a_form_keeps_what_every_form_must(row: str) -> None:
    form, grows = ROWS[row]
    check_form(form, grows=grows)


def test_every_registered_form_has_a_row() -> None:
    assert {type(form) for form, _ in ROWS.values()} >= set(family("form").values())
