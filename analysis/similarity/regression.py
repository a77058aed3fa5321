"""How much of one set of activations is a linear function of the other.

Source: Kornblith et al. 2019, arXiv:1905.00414, equation 2; cross-validation and ridge as usual for encoding models.
"""

from __future__ import annotations

import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from analysis.arrays import Array, centred, features, in_sample_space, orthonormal_basis, same_samples


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
    if not ridge >= 0:
        raise ValueError(f"ridge is {ridge}, where a number that is not negative is expected")
    if folds is not None and folds < 2:
        raise ValueError(f"folds is {folds}, where at least 2 are expected")
    first, second = features(x), centred(y)
    same_samples(first, second, folds or 3, "regression")
    total = second.square().sum()
    if total == 0:
        raise ValueError("y is constant: there is no variance to explain")
    first = in_sample_space(first - first.mean(dim=0))  # neither fit nor penalty changes when features are turned
    if folds is not None:
        return _cross_validated(first, second, ridge, folds, seed)
    basis, singular_values = orthonormal_basis(first)
    if not ridge and len(singular_values) >= len(first) - 1:
        raise ValueError(
            f"x has {len(singular_values)} directions in {len(first)} samples, which explains anything: regression "
            f"needs at least {len(singular_values) + 2} samples, or ridge, or folds"
        )
    # Along direction i the fit keeps s^2 / (s^2 + ridge) of Y; what is left over is orthogonal to all directions.
    kept = singular_values.square() / (singular_values.square() + ridge)
    explained = ((1 - (1 - kept).square())[:, None] * (basis.T @ second).square()).sum()
    return float(explained / total)


def _cross_validated(x: torch.Tensor, y: torch.Tensor, ridge: float, folds: int, seed: int) -> float:
    splits = KFold(folds, shuffle=True, random_state=seed)
    target = y.cpu().numpy()
    # A penalty as small as rounding errors in place of none: the least-squares solution of smallest norm.
    model = Ridge(alpha=ridge or 1e-10 * float(x.square().sum()) / len(x), solver="svd")
    residual = target - cross_val_predict(model, x.cpu().numpy(), target, cv=splits).reshape(target.shape)
    return 1 - float((residual**2).sum() / (target**2).sum())
