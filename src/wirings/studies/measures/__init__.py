"""Measurements of single studies, one file a study: what is computed once from finished runs, and kept."""
