"""How alike two networks represent the same data: SVCCA and its family, CKA, Procrustes, on any two layers by name.

Every measure takes activations of shape (points, units), works in float64, and returns a `Similarity`: never NaN, with
the value that chance alone would give.
"""

from wirings.analysis.similarity.activations import activations
from wirings.analysis.similarity.cca import cca, pwcca, svcca
from wirings.analysis.similarity.cka import debiased_cka, linear_cka, rbf_cka
from wirings.analysis.similarity.compare import MEASURES, Comparison, compare
from wirings.analysis.similarity.procrustes import procrustes
from wirings.analysis.similarity.result import Similarity
from wirings.analysis.similarity.streaming import StreamingCCA, StreamingCKA

__all__ = [
    "MEASURES",
    "Comparison",
    "Similarity",
    "StreamingCCA",
    "StreamingCKA",
    "activations",
    "cca",
    "compare",
    "debiased_cka",
    "linear_cka",
    "procrustes",
    "pwcca",
    "rbf_cka",
    "svcca",
]
