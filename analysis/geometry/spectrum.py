"""How the variance of activations is spread over directions.

Sources: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement", equation 3
(participation ratio); Roy & Vetterli 2007, "The effective rank" (entropy of the spectrum).
"""

from __future__ import annotations

import torch

from analysis.arrays import Array, centred, enough_samples, in_sample_space


def pca_spectrum(x: Array) -> torch.Tensor:
    """Return the variances along the principal components, the largest first.

    Args:
        x: Activations, ``samples x ...``; further axes are flattened.

    Returns:
        The eigenvalues of the covariance matrix (divisor n - 1) in float64, ``min(samples, features)`` of them.

    Raises:
        ValueError: If there are fewer than two samples or a value is not finite.
    """
    matrix = centred(x)
    enough_samples(matrix, 2, "a spectrum")
    return torch.linalg.svdvals(in_sample_space(matrix)).square() / (len(matrix) - 1)


def participation_ratio(x: Array) -> float:
    """Return the number of directions that share the variance: ``(sum_i l_i)^2 / sum_i l_i^2`` of the spectrum.

    1 if all variance lies along one direction, the number of features if it is equal along all. NaN if the activations
    are constant. See :func:`pca_spectrum`.
    """
    spectrum = pca_spectrum(x)
    return float(spectrum.sum().square() / spectrum.square().sum())


def effective_rank(x: Array) -> float:
    """Return the exponential of the entropy of the singular values, as shares of their sum.

    NaN if the activations are constant. See :func:`pca_spectrum`.
    """
    singular_values = pca_spectrum(x).sqrt()
    shares = singular_values / singular_values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))
