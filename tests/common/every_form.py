"""One row a form: its name -> the form, and whether methods that drop and grow may use it."""

from __future__ import annotations

from wirings.core.forms import NM, Block, ConstantFanIn, Form, Unstructured

ROWS: dict[str, tuple[Form, bool]] = {
    "unstructured": (Unstructured(), True),
    "2:4": (NM(2, 4), False),
    "1:2": (NM(1, 2), False),
    "block 2x4": (Block(2, 4), True),
    "block 4x1": (Block(4, 1), True),
    "constant fan-in": (ConstantFanIn(), True),
}
