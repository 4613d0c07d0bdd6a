from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest
import torch

from wirings.core.topology import Topology
from wirings.kernels import ConvIndex, available, conv, describe, isa, native, to_planes
from wirings.sparse import SparseLinear

SOURCES = Path(native.__file__).parent / "cpu"


@pytest.fixture
def bare_folder(tmp_path, monkeypatch):
    """A folder without kernels, where they are looked for."""
    monkeypatch.delenv("WIRINGS_ISA", raising=False)
    monkeypatch.setattr(native, "_path", lambda name: tmp_path / f"wirings_{name}.so")
    monkeypatch.setattr(native, "_forced", [])
    for name in ("_load", "_chosen"):
        monkeypatch.setattr(native, name, cache(getattr(native, name).__wrapped__))
    return tmp_path


def test_every_signature_is_that_of_the_source():
    kinds = {"int64_t": "i", "double": "d"}
    found = {}
    for source in SOURCES.glob("*.cpp"):
        for name, arguments in re.findall(r"^API \w+ wirings_(\w+)\(([^)]*)\)", source.read_text(), re.MULTILINE):
            if arguments:
                found[name] = "".join("p" if "*" in a else kinds[a.split()[0]] for a in arguments.split(","))
    assert found == native._SIGNATURES


def test_the_geometry_of_a_convolution_has_every_field_the_source_reads():
    struct = re.search(r"struct Geometry \{(.*?)\n\n    int64_t taps", (SOURCES / "geometry.h").read_text(), re.DOTALL)
    fields = re.findall(r"int64_t ([^;]*);", re.sub(r"//.*", "", struct[1]))
    index = ConvIndex((1, 1, 1, 1), torch.tensor([0]))
    planes = to_planes(torch.ones(1, 1, 1, 1))
    assert len(conv._geometry(index, planes, planes)) == sum(len(f.split(",")) for f in fields)


def test_a_build_can_be_asked_for(build):
    assert available()
    assert isa() == build
    assert f"compiled kernels for {build}" in describe()


def test_plain_torch_can_be_asked_for():
    with native.using("torch"):
        assert not available()
        assert isa() == "torch"
        assert describe().startswith("pure-torch kernels")


@pytest.mark.skipif(not native.installed(), reason="no compiler: no kernels were built")
def test_the_best_build_is_taken_unless_told_otherwise():
    program = "from wirings.kernels import isa; print(isa())"
    for wish, wanted in (("", native.installed()[-1]), ("generic", "generic")):
        environment = {**os.environ, "WIRINGS_ISA": wish, "PYTHONPATH": str(Path(native.__file__).parents[2])}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == wanted


def test_without_kernels_the_reason_and_the_way_out_are_told(bare_folder):
    assert describe() == (
        "pure-torch kernels, correct but slow (no C++ compiler was found when wirings was installed; "
        "with GCC 12, Clang or newer, install it again: pip install --force-reinstall --no-deps)"
    )
    assert (available(), isa(), native.installed()) == (False, "torch", ())
    layer = SparseLinear.from_topology(Topology.at((2, 3), [0, 5]))
    layer(torch.ones(1, 3)).sum().backward()
    assert layer.values.grad.tolist() == [1.0, 1.0]


def test_kernels_of_another_system_are_left_alone_and_named(bare_folder):
    (bare_folder / "wirings_generic.so").write_bytes(b"not a library")
    assert not available()
    assert re.fullmatch(
        r"pure-torch kernels, correct but slow \(the compiled ones do not load here: .*wirings_generic.so: .*\)",
        describe(),
    )
    with pytest.raises(ValueError, match="the kernels for 'generic' are not here: the compiled ones do not load"):
        native._required("generic")


def test_a_build_that_is_not_here_is_refused():
    sentence = r"`WIRINGS_ISA` must be one of generic, avx2, avx512, avx512bf16, torch\. Got 'sse9'"
    with pytest.raises(ValueError, match=sentence), native.using("sse9"):
        pass


def test_one_pool_of_threads(build):
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc on this system")
    # in a process of its own: what other tests import may bring a pool of its own
    code = """
        import re, torch
        from pathlib import Path
        from wirings.kernels import native

        torch.ones(2)
        assert native.library() is not None
        lines = Path("/proc/self/maps").read_text().splitlines()
        print(len({line.split()[-1] for line in lines if re.search(r"lib(g|i|)omp", line)}))
    """
    env = {**os.environ, "WIRINGS_ISA": build}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    assert int(done.stdout) <= 1


def test_small_work_stays_on_one_thread():
    assert native.threads(1000) == 1
    assert native.threads(10**9) == torch.get_num_threads()
