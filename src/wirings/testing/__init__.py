"""The common suites, public, so that plug-ins can join them: ``check_method``, ``check_maker``, ``check_form``."""
