"""The folder of all tests is importable, so that suites can read the rows in ``common``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
