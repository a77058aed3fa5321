"""Canonical correlation analysis (CCA) and what is built on it.

Notation: X (n x p) and Y (n x q) are centred activations of the same n samples, Q_X and Q_Y orthonormal bases of their
column spaces; the canonical correlations rho_i are the singular values of Q_X^T Q_Y, in falling order.

Sources: Hotelling 1936; Raghu et al. 2017, arXiv:1706.05806 (SVCCA); Morcos et al. 2018, arXiv:1806.05759, equation 3
(projection weighting); Kornblith et al. 2019, arXiv:1905.00414, table 1 (all of them in one notation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from analysis.arrays import Array, centred, orthonormal_basis, same_samples
from analysis.similarity.measure import PairMeasure, Tensors


@dataclass(frozen=True)
class MeanCCA(PairMeasure):
    """See :func:`mean_cca`."""

    title = "CCA"

    @property
    def fewest(self) -> int:
        """The fewest samples it can do with."""
        return 3

    @property
    def variance_kept(self) -> float:
        """The share of the variance that is looked at."""
        return 1.0

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``basis``, orthonormal columns (``n x r``)."""
        matrix = centred(kept["x"])
        basis = orthonormal_basis(matrix, self.variance_kept)[0]
        check_directions(basis.shape[1], len(matrix), name, self.title)
        return {"basis": basis}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the mean of the canonical correlations."""
        return float(torch.linalg.svdvals(a["basis"].T @ b["basis"]).clamp(max=1.0).mean())


@dataclass(frozen=True)
class SVCCA(MeanCCA):
    """See :func:`svcca`."""

    variance: float = 0.99

    title = "SVCCA"

    def __post_init__(self) -> None:
        if not 0 < self.variance <= 1:
            raise ValueError(f"variance is {self.variance}, where a fraction of the variance from 0 to 1 is expected")

    @property
    def variance_kept(self) -> float:
        """The share of the variance that is looked at."""
        return self.variance


@dataclass(frozen=True)
class PWCCA(MeanCCA):
    """See :func:`pwcca`."""

    title = "PWCCA"
    symmetric = False

    def kept(self, x: Array) -> Tensors:
        """Return the features themselves: each weighs."""
        return {"x": centred(x)}

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``basis`` (``n x r``), and in it the ``features`` (``r x p``)."""
        basis = super().summary(kept, name)["basis"]
        return {"basis": basis, "features": basis.T @ centred(kept["x"])}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the mean canonical correlation, weighted by what each direction accounts for in ``a``."""
        u, correlations, _ = torch.linalg.svd(a["basis"].T @ b["basis"], full_matrices=False)
        weights = (u.T @ a["features"]).abs().sum(dim=1)
        return float((weights * correlations.clamp(max=1.0)).sum() / weights.sum())


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
    measure = MeanCCA()
    first, second = measure.kept(x), measure.kept(y)
    same_samples(first["x"], second["x"], measure.fewest, measure.title)
    bases = [measure.summary(kept, name)["basis"] for kept, name in ((first, "x"), (second, "y"))]
    return torch.linalg.svdvals(bases[0].T @ bases[1]).clamp(max=1.0)


def mean_cca(x: Array, y: Array) -> float:
    """Return the mean of the canonical correlations: 1 for equal up to any invertible linear map.

    See :func:`canonical_correlations`.
    """
    return MeanCCA()(x, y)


def svcca(x: Array, y: Array, variance: float = 0.99) -> float:
    """Return the mean canonical correlation of the leading principal components.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        variance: Each set keeps the fewest principal components that hold this fraction of its variance.

    Raises:
        ValueError: As :func:`canonical_correlations`, and if ``variance`` is not a fraction.
    """
    return SVCCA(variance)(x, y)


def pwcca(x: Array, y: Array) -> float:
    """Return the mean canonical correlation, each direction weighted by how much of ``x`` it accounts for.

    ``sum_i a_i rho_i / sum_i a_i`` with ``a_i = sum_j |<h_i, x_j>|``, where ``h_i`` is the i-th canonical variate of X
    and ``x_j`` its j-th feature. Not symmetric, and not the same after a rotation of ``x``: the weights are those of
    its single features.

    See :func:`canonical_correlations`.
    """
    return PWCCA()(x, y)


def check_directions(rank: int, samples: int, name: str, measure: str) -> None:
    """Raise ValueError unless activations have a direction, and fewer than make every correlation 1."""
    if rank == 0:
        raise ValueError(f"{name} is constant: {measure} is not defined")
    if rank >= samples - 1:
        raise ValueError(
            f"{name} has {rank} directions in {samples} samples, which makes every canonical correlation 1: "
            f"{measure} needs at least {rank + 2} samples, and many more to mean something"
        )
