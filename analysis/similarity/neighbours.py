"""Do two sets of activations agree on who is near whom?

Source: Huh et al. 2024, "The Platonic Representation Hypothesis", arXiv:2405.07987, section 2.1 and appendix A.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from sklearn.neighbors import NearestNeighbors

from analysis.arrays import Array, features, in_sample_space, same_samples

Metric = Literal["cosine", "euclidean"]


def mutual_knn(x: Array, y: Array, k: int = 10, metric: Metric = "cosine") -> float:
    """Return which share of its k nearest neighbours a sample keeps from one set of activations to the other.

    ``mean_i |N_k(x_i) & N_k(y_i)| / k``, with a sample not its own neighbour.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        k: How many neighbours, fewer than there are samples.
        metric: What near means.

    Returns:
        From 0 to 1; about ``k / (n - 1)`` for unrelated activations.

    Raises:
        ValueError: If the numbers of samples differ or are no more than ``k``, a value is not finite, or there is no
            such metric.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric is {metric!r}, where one of {', '.join(get_args(Metric))} is expected")
    if k < 1:
        raise ValueError(f"k is {k}, where a positive number of neighbours is expected")
    first, second = features(x), features(y)
    same_samples(first, second, k + 1, f"{k} nearest neighbours")
    near = [
        NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute")
        .fit(in_sample_space(matrix).cpu().numpy())
        .kneighbors(return_distance=False)
        for matrix in (first, second)
    ]
    shared = [len(np.intersect1d(one, other, assume_unique=True)) for one, other in zip(*near, strict=True)]
    return float(np.mean(shared)) / k
