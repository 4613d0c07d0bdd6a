"""Floor 8: the command line, a file a verb; the only place that prints."""

from wirings.cli.app import main

__all__ = ["main"]
