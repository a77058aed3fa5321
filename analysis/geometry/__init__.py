"""The geometry of one set of activations. Functions of arrays: samples first, other axes flattened.

All take NumPy arrays or PyTorch tensors (on any device), compute in float64, and raise ValueError in one line.
"""

from analysis.geometry.intrinsic_dimension import two_nn
from analysis.geometry.separation import class_separation
from analysis.geometry.sparsity import dead_units, sparsity
from analysis.geometry.spectrum import effective_rank, participation_ratio, pca_spectrum
from analysis.geometry.streaming import SpectrumStream

__all__ = [
    "SpectrumStream",
    "class_separation",
    "dead_units",
    "effective_rank",
    "participation_ratio",
    "pca_spectrum",
    "sparsity",
    "two_nn",
]
