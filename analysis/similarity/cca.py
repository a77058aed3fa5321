"""Canonical correlation analysis (CCA) and what is built on it.

Notation: X (n x p) and Y (n x q) are centred activations of the same n samples, Q_X and Q_Y orthonormal bases of their
column spaces; the canonical correlations rho_i are the singular values of Q_X^T Q_Y, in falling order.

Sources: Hotelling 1936; Raghu et al. 2017, arXiv:1706.05806 (SVCCA); Morcos et al. 2018, arXiv:1806.05759, equation 3
(projection weighting); Kornblith et al. 2019, arXiv:1905.00414, table 1 (all of them in one notation).
"""

from __future__ import annotations

import torch

from analysis.arrays import Array, centred, orthonormal_basis, same_samples


def canonical_correlations(x: Array, y: Array) -> torch.Tensor:
    """Return the canonical correlations of two sets of activations.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.

    Returns:
        Falling values from 0 to 1, as many as the smaller of the two ranks (float64).

    Raises:
        ValueError: If the numbers of samples differ, a value is not finite, a set of activations is constant, or has
            so many directions that every correlation is 1 by construction.
    """
    return _correlate(x, y, 1.0, "CCA")[0]


def mean_cca(x: Array, y: Array) -> float:
    """Return the mean of the canonical correlations: 1 for equal up to any invertible linear map.

    See :func:`canonical_correlations`.
    """
    return float(canonical_correlations(x, y).mean())


def svcca(x: Array, y: Array, variance: float = 0.99) -> float:
    """Return the mean canonical correlation of the leading principal components.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        variance: Each set keeps the fewest principal components that hold this fraction of its variance.

    Raises:
        ValueError: As :func:`canonical_correlations`, and if ``variance`` is not a fraction.
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance is {variance}, where a fraction of the variance from 0 to 1 is expected")
    return float(_correlate(x, y, variance, "SVCCA")[0].mean())


def pwcca(x: Array, y: Array) -> float:
    """Return the mean canonical correlation, each direction weighted by how much of ``x`` it accounts for.

    ``sum_i a_i rho_i / sum_i a_i`` with ``a_i = sum_j |<h_i, x_j>|``, where ``h_i`` is the i-th canonical variate of X
    and ``x_j`` its j-th feature. Not symmetric, and
    not the same after a rotation of ``x``: the weights are those of its single features.

    See :func:`canonical_correlations`.
    """
    correlations, variates = _correlate(x, y, 1.0, "PWCCA")
    weights = (variates.T @ centred(x)).abs().sum(dim=1)
    return float((weights * correlations).sum() / weights.sum())


def _correlate(x: Array, y: Array, variance: float, measure: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return canonical correlations, and the canonical variates of X as orthonormal columns."""
    first, second = centred(x), centred(y)
    same_samples(first, second, 3, measure)
    bases = [orthonormal_basis(matrix, variance)[0] for matrix in (first, second)]
    for name, basis in zip("xy", bases, strict=True):
        rank = basis.shape[1]
        if rank == 0:
            raise ValueError(f"{name} is constant: {measure} is not defined")
        if rank >= len(first) - 1:
            raise ValueError(
                f"{name} has {rank} directions in {len(first)} samples, which makes every canonical correlation 1: "
                f"{measure} needs at least {rank + 2} samples, and many more to mean something"
            )
    u, s, _ = torch.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    return s.clamp(max=1.0), bases[0] @ u
