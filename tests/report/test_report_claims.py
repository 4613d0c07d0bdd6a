"""The file of all claims: a row a claim, scale, network and data set."""

from __future__ import annotations

import csv
from pathlib import Path

from wirings.analysis.claims import COLUMNS, Claim, Verdict, judge
from wirings.report.tables import markdown
from wirings.report.write import claims_table, merge_claims


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


def test_the_table_of_claims_tells_sentence_statistic_verdict_interval_and_what_was_published() -> None:
    shares = Claim(id="S1.2", sentence="It holds.", statistic="share | of w*g", threshold=0.25, direction="within",
                   n=10, target=2.75, published=2.75)  # fmt: skip
    paths = Claim(id="S1.3", sentence="Paths.", statistic="paths", threshold=0.0, direction="within", n=1,
                  target=265200.0, published=265200.0, exact=True)  # fmt: skip
    lines = markdown(
        claims_table(
            [
                verdict("S1.1", [1.0, 1.1], net="none"),
                judge(shares, None, scale="reduced"),
                judge(paths, [265200.0], scale="paper"),
                verdict("S1.4", [-1.0, -1.1]),
            ]
        )
    ).splitlines()
    first, second, third, fourth = lines[4:8]
    assert first.startswith("| S1.1 | s *x; above 0* | mnist | holds at reduced scale | 1.05 | 0.415 to 1.69 | 2 | ")
    assert second.startswith(r"| S1.2 | It holds. *share \| of w·g; within 0.25 of 2.75* | – | unjudged: there are no")
    assert second.endswith("| – | – | 0 | – | 2.75 |")
    assert third == (
        "| S1.3 | Paths. *paths; equal to 265,200* | – | reproduced | 265,200 | 265,200 to 265,200 | 1 | 0 | 265,200 |"
    )
    assert "does not hold at reduced scale: no point of the interval is as claimed | −1.05 | −1.69 to −0.415" in fourth
