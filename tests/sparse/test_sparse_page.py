"""The page on sparse storage runs as it is written."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import nn

from wirings import sparse
from wirings.core.topology import Topology
from wirings.core.wiring import Wiring
from wirings.sparse import SparseConv2d, SparseLinear, stays_dense, to_sparse
from wirings.sparse.move import Move

PAGE = Path(__file__).parents[2] / "docs" / "sparse.md"


def test_the_examples_of_the_page_run() -> None:
    here: dict[str, Any] = {}
    before = torch._dynamo.config.force_parameter_static_shapes
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
            exec(code, here)
        assert torch._dynamo.config.force_parameter_static_shapes is False
    finally:
        torch._dynamo.config.force_parameter_static_shapes = before
    assert sum(p.numel() for n, p in here["model"].named_parameters() if n.endswith("values")) == 13_310
    assert here["layer"].values.shape == (10_000,)
    x = torch.randn(8, 784)
    here["model"](x).sum().backward()
    here["optimizer"].step()
    assert here["sparse"].step == 1


@pytest.mark.parametrize(
    "thing", [Move, SparseLinear, SparseConv2d, to_sparse, stays_dense], ids=lambda thing: thing.__name__
)
def test_checkable_examples_are_true(thing: Any) -> None:
    names = {**vars(sparse), "Topology": Topology, "Wiring": Wiring, "Move": Move, "torch": torch, "nn": nn}
    runner = doctest.DocTestRunner()
    found = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs=names)
    assert sum(len(test.examples) for test in found) > 0
    for test in found:
        assert runner.run(test).failed == 0
