"""The dimension of the surface that activations lie on, which may be curved.

Source: Facco et al. 2017, "Estimating the intrinsic dimension of datasets by a minimal neighborhood information",
Scientific Reports 7:12140 (TwoNN).
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from analysis.arrays import Array, enough_samples, features, in_sample_space


def two_nn(x: Array, discard: float = 0.1) -> float:
    """Return the intrinsic dimension by the distances to the two nearest neighbours.

    The ratio mu of the second distance to the first has the distribution ``F(mu) = 1 - mu^-d``. The estimate is the
    slope of a straight line through the origin, fit to ``-log(1 - F)`` over ``log(mu)`` with the empirical F (i / n for
    the i-th smallest ratio).

    Args:
        x: Activations, ``samples x ...``; further axes are flattened. Samples that are equal to another count once.
        discard: The share of the largest ratios that is left out of the fit, as they are the noisiest.

    Raises:
        ValueError: If there are fewer than ten different samples, a value is not finite, or ``discard`` is no fraction.
    """
    if not 0 <= discard < 1:
        raise ValueError(f"discard is {discard}, where a fraction from 0 to 1 is expected")
    matrix = features(x)
    matrix = matrix.unique(dim=0)
    enough_samples(matrix, 10, "TwoNN (equal samples count once)")
    points = in_sample_space(matrix - matrix.mean(dim=0)).cpu().numpy()
    distances, _ = NearestNeighbors(n_neighbors=2).fit(points).kneighbors()
    ratios = np.sort(distances[:, 1] / distances[:, 0])
    n = len(ratios)
    used = min(max(2, int(n * (1 - discard))), n - 1)  # at i = n the empirical F is 1, and the logarithm infinite
    log_ratios = np.log(ratios[:used])
    log_share = -np.log1p(-np.arange(1, used + 1) / n)
    return float(log_ratios @ log_share / (log_ratios @ log_ratios))
