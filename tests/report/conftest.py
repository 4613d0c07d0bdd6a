"""Finished runs to report on: the quickstart at its smallest, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirings.studies.execute import execute
from wirings.studies.registry import study_of
from wirings.studies.study import Findings


@pytest.fixture(scope="session")
def quick_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


@pytest.fixture(scope="session")
def quick(quick_root: Path) -> Findings:
    """The quickstart's smoke runs, two seeds."""
    return execute(study_of("quickstart"), "smoke", quick_root / "runs", jobs=2)
