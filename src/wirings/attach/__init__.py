"""Floor 4: the only place that writes to live parameters."""

from wirings.attach.attach import attach
from wirings.attach.follow import follow
from wirings.attach.groups import param_groups
from wirings.attach.sparsifier import Sparsifier
from wirings.attach.summary import summary

__all__ = ["Sparsifier", "attach", "follow", "param_groups", "summary"]
