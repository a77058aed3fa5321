"""Centred kernel alignment (CKA).

Notation: X (n x p) and Y (n x q) are the activations of two layers for the same n samples, centred feature by feature;
K = X X^T and L = Y Y^T are their linear Gram matrices (n x n).

Sources: Kornblith et al. 2019, arXiv:1905.00414 (CKA, equation 4 and section 3); Song et al. 2012, "Feature selection
via dependence maximization", equation 5 (unbiased HSIC); Székely & Rizzo 2014, arXiv:1310.2926, definition 2
(U-centring, which makes that estimator an inner product).
"""

from __future__ import annotations

import numpy as np
import torch

Array = np.ndarray | torch.Tensor


def linear_cka(x: Array, y: Array, unbiased: bool = False) -> float:
    """Return the linear CKA of two sets of activations: 1 for equal up to rotation, shift and scale.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        unbiased: Whether HSIC is estimated without bias: then the value of unrelated activations is 0 on average, also
            where there are more features than samples, and can be negative. Needs four samples.

    Returns:
        ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))``, computed in float64; NaN if a set of activations is constant.

    Raises:
        ValueError: If the numbers of samples differ or are too small.
    """
    first, second = _features(x), _features(y)
    if len(first) != len(second):
        raise ValueError(f"x has {len(first)} samples and y has {len(second)}: CKA compares the same samples")
    if len(first) < (4 if unbiased else 2):
        raise ValueError(f"{len(first)} samples are too few for CKA")
    if unbiased:
        k, l = _u_centred_gram(first), _u_centred_gram(second)  # noqa: E741 - the letters of the formula
        cross, own, other = (k * l).sum(), (k * k).sum(), (l * l).sum()
    elif len(first) < max(first.shape[1], second.shape[1]):
        k, l = first @ first.T, second @ second.T  # noqa: E741
        cross, own, other = (k * l).sum(), (k * k).sum(), (l * l).sum()
    else:  # the same through the feature matrices, cheaper for many samples: tr(K L) = |X^T Y|^2
        cross, own, other = ((a.T @ b).square().sum() for a, b in ((first, second), (first, first), (second, second)))
    return float(cross / (own * other).sqrt())


def _features(values: Array) -> torch.Tensor:
    """Return activations as a centred ``samples x features`` matrix in float64."""
    matrix = torch.as_tensor(values).detach().to(torch.float64).flatten(start_dim=1)
    return matrix - matrix.mean(dim=0)


def _u_centred_gram(features: torch.Tensor) -> torch.Tensor:
    n = len(features)
    gram = features @ features.T
    gram.fill_diagonal_(0)
    rows = gram.sum(dim=0)
    gram = gram - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return gram.fill_diagonal_(0)
