"""Centred kernel alignment (CKA).

Notation: X (n x p) and Y (n x q) are the activations of two layers for the same n samples, K and L the Gram matrices
(n x n) of a kernel: X X^T and Y Y^T of centred activations for linear CKA, Gaussians of distances for RBF CKA.

Sources: Kornblith et al. 2019, arXiv:1905.00414 (CKA, equation 4 and section 3); Song et al. 2012, "Feature selection
via dependence maximization", equation 5 (unbiased HSIC); Székely & Rizzo 2014, arXiv:1310.2926, definition 2
(U-centring, which makes that estimator an inner product).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from analysis.arrays import Array, centred, in_sample_space, same_samples
from analysis.similarity.measure import PairMeasure, Tensors


@dataclass(frozen=True)
class LinearCKA(PairMeasure):
    """See :func:`linear_cka`."""

    unbiased: bool = False

    @property
    def title(self) -> str:  # type: ignore[override]
        """How errors call it."""
        return "unbiased CKA" if self.unbiased else "CKA"

    @property
    def fewest(self) -> int:
        """The fewest samples it can do with."""
        return 4 if self.unbiased else 2

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``gram``, the centred Gram matrix (``n x n``) with a norm of 1; NaN for constant activations."""
        gram = self.gram(kept["x"])
        return {"gram": gram / gram.norm()}

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        """Return the centred Gram matrix (``n x n``) of ``samples x features``."""
        return u_centred_gram(self._gram(x)) if self.unbiased else centred_gram(self._gram(x))

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the inner product of the Gram matrices."""
        return float((a["gram"] * b["gram"]).sum())

    def _gram(self, x: torch.Tensor) -> torch.Tensor:
        matrix = centred(x)
        return matrix @ matrix.T


@dataclass(frozen=True)
class RBFCKA(LinearCKA):
    """See :func:`rbf_cka`."""

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise ValueError(f"bandwidth is {self.bandwidth}, where a positive number is expected")

    def _gram(self, x: torch.Tensor) -> torch.Tensor:
        return gaussian_gram(x, self.bandwidth)


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
    measure = LinearCKA(unbiased)
    first, second = centred(x), centred(y)
    same_samples(first, second, measure.fewest, measure.title)
    if not unbiased and len(first) >= max(first.shape[1], second.shape[1]):
        # The same through the feature matrices, cheaper for many samples: tr(K L) = |X^T Y|^2.
        cross, own, other = ((a.T @ b).square().sum() for a, b in ((first, second), (first, first), (second, second)))
        return float(cross / (own * other).sqrt())
    return measure(first, second)


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
    return RBFCKA(unbiased, bandwidth)(x, y)


def gaussian_gram(x: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Return the ``n x n`` Gram matrix of a Gaussian kernel: see :func:`rbf_cka`."""
    return gaussians_of(squared_distances(x), bandwidth)


def squared_distances(x: torch.Tensor) -> torch.Tensor:
    """Return the squared distances (``n x n``) between ``samples x features``."""
    reduced = in_sample_space(x - x.mean(dim=0))
    return torch.cdist(reduced, reduced, compute_mode="donot_use_mm_for_euclid_dist").square()


def gaussians_of(squared: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Return a Gaussian kernel's Gram matrix from squared distances (both ``n x n``): see :func:`rbf_cka`."""
    median = float(np.median(squared.cpu().numpy()))  # torch.median takes the lower of the two in the middle
    return torch.exp(-squared / (2 * bandwidth**2 * median))


def centred_gram(gram: torch.Tensor) -> torch.Tensor:
    """Return ``H K H`` of Gram matrices K, ``... x n x n``, with H = I - 1/n."""
    rows = gram.mean(dim=-1)
    return _without(gram, rows - rows.mean(dim=-1, keepdim=True) / 2)


def u_centred_gram(gram: torch.Tensor) -> torch.Tensor:
    """Return the U-centred form of Gram matrices, ``... x n x n``: their diagonal is zero and counts for nothing."""
    n = gram.shape[-1]
    gram = gram.clone()
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    rows = gram.sum(dim=-1)
    gram = _without(gram, (rows - rows.sum(dim=-1, keepdim=True) / (2 * (n - 1))) / (n - 2))
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    return gram


def _without(gram: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return ``gram_ij - rows_i - rows_j``, which is as symmetric as the matrix is."""
    return gram - (rows[..., :, None] + rows[..., None, :])
