"""How many units are silent.

Source: Hoyer 2004, "Non-negative matrix factorization with sparseness constraints", section 3.1 (a graded measure); the
share of zeros and dead units as usual for ReLU networks.
"""

from __future__ import annotations

from analysis.arrays import Array, features


def sparsity(x: Array, threshold: float = 0.0) -> float:
    """Return the share of activations whose size is at most ``threshold``: of zeros, by default.

    Args:
        x: Activations, ``samples x ...``.
        threshold: What counts as silent, in units of the activations.

    Raises:
        ValueError: If a value is not finite.
    """
    return float((features(x).abs() <= threshold).double().mean())


def dead_units(x: Array, threshold: float = 0.0) -> float:
    """Return the share of units (features of the flattened activations) that are silent for every sample.

    See :func:`sparsity`.
    """
    return float((features(x).abs() <= threshold).all(dim=0).double().mean())
