"""How alike are two sets of activations? Functions of arrays: samples first, other axes flattened.

All take NumPy arrays or PyTorch tensors (on any device), compute in float64, and raise ValueError in one line.
``streaming(name)`` gives the same over minibatches.
"""

from analysis.similarity.cca import canonical_correlations, mean_cca, pwcca, svcca
from analysis.similarity.cka import linear_cka, rbf_cka
from analysis.similarity.neighbours import mutual_knn
from analysis.similarity.procrustes import procrustes
from analysis.similarity.registry import MEASURES, measure_of
from analysis.similarity.regression import regression_r2
from analysis.similarity.rsa import rsa
from analysis.similarity.streaming import MinibatchCKA, Stream, streaming

__all__ = [
    "MEASURES",
    "MinibatchCKA",
    "Stream",
    "canonical_correlations",
    "linear_cka",
    "mean_cca",
    "measure_of",
    "mutual_knn",
    "procrustes",
    "pwcca",
    "rbf_cka",
    "regression_r2",
    "rsa",
    "streaming",
    "svcca",
]
