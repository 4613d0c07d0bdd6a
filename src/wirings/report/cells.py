"""Cells of tables, from the floor below: studies count in them too."""

from __future__ import annotations

from wirings.studies.cells import Cell, cells_of, dense_of, plus_minus, sd

__all__ = ["Cell", "cells_of", "dense_of", "plus_minus", "sd"]
