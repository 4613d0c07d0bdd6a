"""Every maker joins the common suite by one row."""

from __future__ import annotations

import pytest

from common.every_maker import ROWS
from wirings.testing import check_maker


@pytest.mark.parametrize("row", ROWS)
def test_a_maker_keeps_what_every_maker_must(row: str) -> None:
    maker, counts = ROWS[row]
    check_maker(maker, counts=counts)


def test_counts_that_differ_are_told() -> None:
    maker, _ = ROWS["ErdosRenyi uniform"]
    with pytest.raises(AssertionError, match=r"`ErdosRenyi` must give \{'0.weight': 1\}"):
        check_maker(maker, counts={"0.weight": 1})
