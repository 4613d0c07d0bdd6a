"""Every compiled build that this processor can run, one after the other."""

from __future__ import annotations

import pytest

from wirings.kernels import native

BUILDS = native.installed()


@pytest.fixture(params=BUILDS or ["none"], scope="module")
def build(request):
    """Runs the test on one build of the compiled kernels."""
    if not BUILDS:
        pytest.skip("no compiler: no kernels were built")
    with native.using(request.param):
        yield request.param


@pytest.fixture(params=[*BUILDS, "torch"], scope="module")
def any_build(request):
    """Like ``build``, and the pure-torch kernels too."""
    with native.using(request.param):
        yield request.param
