"""Sparse neural networks: find a wiring, train it truly sparse, take its structure apart."""

__version__ = "0.1.0"
