"""Centred kernel alignment (CKA).

Notation: X (n x p) and Y (n x q) are the activations of two layers for the same n samples, K and L the Gram matrices
(n x n) of a kernel: X X^T and Y Y^T of centred activations for linear CKA, Gaussians of distances for RBF CKA.

Sources: Kornblith et al. 2019, arXiv:1905.00414 (CKA, equation 4 and section 3); Song et al. 2012, "Feature selection
via dependence maximization", equation 5 (unbiased HSIC); Székely & Rizzo 2014, arXiv:1310.2926, definition 2
(U-centring, which makes that estimator an inner product).
"""

from __future__ import annotations

import numpy as np
import torch

from analysis.arrays import Array, centred, features, in_sample_space, same_samples


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
        ValueError: If the numbers of samples differ or are too small, or a value is not finite.
    """
    first, second = centred(x), centred(y)
    same_samples(first, second, 4 if unbiased else 2, "unbiased CKA" if unbiased else "CKA")
    if not unbiased and len(first) >= max(first.shape[1], second.shape[1]):
        # The same through the feature matrices, cheaper for many samples: tr(K L) = |X^T Y|^2.
        cross, own, other = ((a.T @ b).square().sum() for a, b in ((first, second), (first, first), (second, second)))
        return float(cross / (own * other).sqrt())
    return _alignment(first @ first.T, second @ second.T, unbiased)


def rbf_cka(x: Array, y: Array, bandwidth: float = 1.0, unbiased: bool = False) -> float:
    """Return the CKA of two sets of activations under Gaussian kernels, which looks at near neighbours above all.

    ``K_ij = exp(-|x_i - x_j|^2 / (2 bandwidth^2 median))``, with the median of all n x n squared distances, as in the
    code published with Kornblith et al. 2019 (section 3 there takes bandwidths of 0.2, 0.4 and 0.8).

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        bandwidth: The kernel's standard deviation, in units of the root of the median squared distance.
        unbiased: Whether HSIC is estimated without bias: see :func:`linear_cka`.

    Returns:
        CKA in float64: 1 for equal up to rotation, shift and scale; NaN if most samples of a set are equal.

    Raises:
        ValueError: If the numbers of samples differ or are too small, a value is not finite, or the bandwidth is not
            positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth is {bandwidth}, where a positive number is expected")
    first, second = features(x), features(y)
    same_samples(first, second, 4 if unbiased else 2, "unbiased CKA" if unbiased else "CKA")
    return _alignment(gaussian_gram(first, bandwidth), gaussian_gram(second, bandwidth), unbiased)


def gaussian_gram(x: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Return the ``n x n`` Gram matrix of a Gaussian kernel: see :func:`rbf_cka`."""
    reduced = in_sample_space(x - x.mean(dim=0))
    squared = torch.cdist(reduced, reduced, compute_mode="donot_use_mm_for_euclid_dist").square()
    median = float(np.median(squared.cpu().numpy()))  # torch.median takes the lower of the two in the middle
    return torch.exp(-squared / (2 * bandwidth**2 * median))


def _alignment(k: torch.Tensor, l: torch.Tensor, unbiased: bool) -> float:  # noqa: E741 - the letters of the formula
    centre = u_centred_gram if unbiased else centred_gram
    k, l = centre(k), centre(l)  # noqa: E741
    cross, own, other = (k * l).sum(), (k * k).sum(), (l * l).sum()
    return float(cross / (own * other).sqrt())


def centred_gram(gram: torch.Tensor) -> torch.Tensor:
    """Return ``H K H`` of an ``n x n`` Gram matrix K, with H = I - 1/n."""
    rows = gram.mean(dim=0)
    return gram - rows[:, None] - rows[None, :] + rows.mean()


def u_centred_gram(gram: torch.Tensor) -> torch.Tensor:
    """Return the U-centred form of an ``n x n`` Gram matrix: its diagonal is zero and counts for nothing."""
    n = len(gram)
    gram = gram.clone().fill_diagonal_(0)
    rows = gram.sum(dim=0)
    gram = gram - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return gram.fill_diagonal_(0)
