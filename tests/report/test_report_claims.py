"""The file of all claims: a row a claim, scale, network and data set."""

from __future__ import annotations

import csv
from pathlib import Path

from wirings.analysis.claims import COLUMNS, Claim, Verdict, judge
from wirings.report.write import merge_claims


def verdict(name: str, values: list[float] | None, net: str = "lenet") -> Verdict:
    claim = Claim(id=name, sentence="s", statistic="x", threshold=0.0, direction="above", n=2)
    return judge(claim, values, scale="reduced", net=net, data="mnist", run_ids=("a", "b"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_claims_of_other_studies_stay_and_the_same_claim_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    merge_claims(path, [verdict("S2.10", [1.0, 1.1]), verdict("S2.9", [1.0, 1.1])])
    merge_claims(path, [verdict("S2.9", [-1.0, -1.1]), verdict("S2.9", [2.0, 2.1], net="vgg")])
    found = rows(path)
    assert tuple(found[0]) == COLUMNS
    assert [(r["id"], r["net"]) for r in found] == [("S2.9", "lenet"), ("S2.9", "vgg"), ("S2.10", "lenet")]
    assert found[0]["verdict"] == "does not hold at reduced scale"
    assert found[0]["run_ids"] == "a b"


def test_an_unjudged_claim_does_not_wipe_out_a_verdict(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    merge_claims(path, [verdict("S1.1", [1.0, 1.1])])
    before = path.read_bytes()
    merge_claims(path, [verdict("S1.1", None)])
    assert path.read_bytes() == before
