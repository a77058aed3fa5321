"""Representational similarity analysis: are the same pairs of samples far apart in both sets of activations?

Source: Kriegeskorte et al. 2008, "Representational similarity analysis - connecting the branches of systems
neuroscience".
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy import stats
from scipy.spatial.distance import cosine, pdist

from analysis.arrays import Array, features, in_sample_space, same_samples

Dissimilarity = Literal["correlation", "cosine", "euclidean", "sqeuclidean", "cityblock"]
Comparison = Literal["spearman", "pearson", "kendall", "cosine"]


def rsa(
    x: Array,
    y: Array,
    dissimilarity: Dissimilarity = "correlation",
    comparison: Comparison = "spearman",
) -> float:
    """Return how alike the dissimilarity matrices of two sets of activations are.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        dissimilarity: Of two samples: 1 - Pearson's correlation over features, 1 - cosine, or a distance; SciPy's
            ``pdist``.
        comparison: Of the n (n - 1) / 2 dissimilarities of the one and the other: Spearman's or Pearson's
            correlation, Kendall's tau-b, or the cosine.

    Returns:
        From -1 to 1, 1 for dissimilarities in the same order (``spearman``, ``kendall``), in the same proportions
        (``cosine``) or equal up to shift and scale (``pearson``); NaN if all dissimilarities of one set are equal.

    Raises:
        ValueError: If the numbers of samples differ or are too small, a value is not finite, a sample has no
            dissimilarity (all of its features are equal), or an option does not exist.
    """
    for name, value, choices in (
        ("dissimilarity", dissimilarity, get_args(Dissimilarity)),
        ("comparison", comparison, get_args(Comparison)),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}, where one of {', '.join(choices)} is expected")
    first, second = features(x), features(y)
    same_samples(first, second, 3, "RSA")
    one, other = (_dissimilarities(name, values, dissimilarity) for name, values in (("x", first), ("y", second)))
    if comparison != "cosine" and (np.ptp(one) == 0 or np.ptp(other) == 0):
        return float("nan")
    compare = {
        "spearman": lambda: stats.spearmanr(one, other).statistic,
        "pearson": lambda: stats.pearsonr(one, other).statistic,
        "kendall": lambda: stats.kendalltau(one, other).statistic,
        "cosine": lambda: 1 - cosine(one, other),
    }
    return float(compare[comparison]())


def _dissimilarities(name: str, values: object, dissimilarity: str) -> np.ndarray:
    matrix = values.cpu()  # type: ignore[attr-defined]
    if dissimilarity in ("euclidean", "sqeuclidean", "cosine"):
        matrix = in_sample_space(matrix)  # inner products are all that these need
    condensed = pdist(matrix.numpy(), dissimilarity)
    if np.isnan(condensed).any():
        raise ValueError(f"{name}: a sample's features are all equal, so that its {dissimilarity} is not defined")
    return condensed
