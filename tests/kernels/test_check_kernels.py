"""The check of the kernels that needs no Python (`check_kernels.cpp`), here on this machine's own processor."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wirings.kernels import native

SOURCES = sorted((Path(native.__file__).parent / "cpu").glob("*.cpp"))
CHECK = Path(__file__).with_name("check_kernels.cpp")
COMPILERS = [
    found for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (found := shutil.which(name))
]


@pytest.mark.skipif(not COMPILERS or not native.installed(), reason="no compiler that could build the kernels")
def test_the_plain_source_needs_neither_openmp_nor_python_and_computes_the_same_as_loops(tmp_path):
    program = tmp_path / "check"
    flags = ["-std=c++17", "-O0", "-ffp-contract=fast"]
    subprocess.run([COMPILERS[0], *flags, str(CHECK), *map(str, SOURCES), "-o", str(program)], check=True)
    run = subprocess.run([str(program)], capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert (run.returncode, lines[0].endswith("without OpenMP"), lines[-1].endswith(" 0 wrong")) == (0, True, True), run
    assert int(lines[-1].split()[0]) > 2000
