"""How alike are two sets of activations? Functions of arrays: samples first, other axes flattened."""

from analysis.similarity.cka import linear_cka

__all__ = ["linear_cka"]
