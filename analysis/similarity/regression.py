"""How much of one set of activations is a linear function of the other.

Source: Kornblith et al. 2019, arXiv:1905.00414, equation 2; cross-validation and ridge as usual for encoding models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

from analysis.arrays import Array, centred, orthonormal_basis
from analysis.similarity.measure import SAMPLE, PairMeasure, Tensors


@dataclass(frozen=True)
class RegressionR2(PairMeasure):
    """See :func:`regression_r2`."""

    ridge: float = 0.0
    folds: int | None = None
    seed: int = 0

    title = "regression"
    symmetric = False

    def __post_init__(self) -> None:
        if not self.ridge >= 0:
            raise ValueError(f"ridge is {self.ridge}, where a number that is not negative is expected")
        if self.folds is not None and self.folds < 2:
            raise ValueError(f"folds is {self.folds}, where at least 2 are expected")

    @property
    def fewest(self) -> int:
        """The fewest samples it can do with."""
        return self.folds or 3

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``x``, centred, and without folds its ``basis`` (``n x r``) with ``singular_values`` (``r``)."""
        matrix = centred(kept["x"])  # neither fit nor penalty changes when features are turned
        if self.folds is not None:
            return {"x": matrix} | {key: values for key, values in kept.items() if key == SAMPLE}
        basis, singular_values = orthonormal_basis(matrix)
        return {"x": matrix, "basis": basis, "singular_values": singular_values}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return which share of the variance of ``b`` a linear function of ``a`` explains."""
        target = b["x"]
        total = target.square().sum()
        if total == 0:
            raise ValueError("y is constant: there is no variance to explain")
        if self.folds is not None:
            return self._cross_validated(a["x"], target, a.get(SAMPLE))
        singular_values = a["singular_values"]
        if not self.ridge:
            check_not_anything(len(singular_values), len(target))
        # Along direction i the fit keeps s^2 / (s^2 + ridge) of Y; what is left over is orthogonal to all directions.
        kept = singular_values.square() / (singular_values.square() + self.ridge)
        explained = ((1 - (1 - kept).square())[:, None] * (a["basis"].T @ target).square()).sum()
        return float(explained / total)

    def _cross_validated(self, x: torch.Tensor, y: torch.Tensor, sample: torch.Tensor | None) -> float:
        splits, groups = KFold(self.folds, shuffle=True, random_state=self.seed), None
        if sample is not None:  # copies of a sample must not be both fit and left out
            splits, groups = GroupKFold(self.folds, shuffle=True, random_state=self.seed), sample.cpu().numpy()
        target = y.cpu().numpy()
        # A penalty as small as rounding errors in place of none: the least-squares solution of smallest norm.
        model = Ridge(alpha=self.ridge or 1e-10 * float(x.square().sum()) / len(x), solver="svd")
        predicted = cross_val_predict(model, x.cpu().numpy(), target, cv=splits, groups=groups)
        residual = target - predicted.reshape(target.shape)
        return 1 - float((residual**2).sum() / (target**2).sum())


def regression_r2(x: Array, y: Array, ridge: float = 0.0, folds: int | None = None, seed: int = 0) -> float:
    """Return which share of the variance of ``y`` a linear function of ``x`` explains; not symmetric.

    ``1 - min_B |Y - X B|^2 / |Y|^2`` over all features of ``y`` together, with centred X and Y.

    Args:
        x: What is predicted from, ``samples x ...``; further axes are flattened.
        y: What is predicted, for the same samples.
        ridge: The penalty: ``ridge * |B|^2`` is added to the squared error.
        folds: The number of folds in which predictions are made for samples that were left out of the fit; None for
            the fit itself, which is perfect by construction where ``x`` has as many directions as there are samples.
        seed: Of the shuffle that makes the folds.

    Returns:
        At most 1; not below 0 without folds.

    Raises:
        ValueError: If the numbers of samples differ or are too small, a value is not finite, ``y`` is constant, or
            ``x`` fits anything: without ridge and folds, it needs more samples than directions.
    """
    return RegressionR2(ridge, folds, seed)(x, y)


def check_not_anything(rank: int, samples: int) -> None:
    """Raise ValueError if a fit is perfect by construction."""
    if rank >= samples - 1:
        raise ValueError(
            f"x has {rank} directions in {samples} samples, which explains anything: regression "
            f"needs at least {rank + 2} samples, or ridge, or folds"
        )
