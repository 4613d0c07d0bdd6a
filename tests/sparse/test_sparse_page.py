"""The page on sparse storage runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import torch._dynamo

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
