"""The common suites, public, so that plug-ins can join them: ``check_method``, ``check_maker``, ``check_form``."""

from wirings.testing.forms import check_form
from wirings.testing.makers import check_maker
from wirings.testing.methods import check_method
from wirings.testing.site import FakeSite

__all__ = ["FakeSite", "check_form", "check_maker", "check_method"]
