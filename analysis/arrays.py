"""Activations as matrices: what every measure does first."""

from __future__ import annotations

import numpy as np
import torch

Array = np.ndarray | torch.Tensor
"""Activations: ``samples x ...``, of any floating or integer type; further axes are flattened."""

RANK_CUTOFF = 1e-6
"""Directions whose singular value is below this fraction of the largest are taken for rounding errors of float32."""


def features(values: Array) -> torch.Tensor:
    """Return activations as a ``samples x features`` matrix in float64, on the device where they are.

    Raises:
        ValueError: If there are no samples and features, or a value is not finite.
    """
    matrix = torch.as_tensor(values).detach().to(torch.float64)
    if matrix.ndim == 0 or matrix.numel() == 0:
        raise ValueError(f"activations of shape {tuple(matrix.shape)} have no samples or no features")
    matrix = matrix.reshape(len(matrix), -1)
    if not bool(torch.isfinite(matrix).all()):
        bad = int((~torch.isfinite(matrix)).any(dim=1).sum())
        raise ValueError(f"activations of {bad} of {len(matrix)} samples are not finite")
    return matrix


def centred(values: Array) -> torch.Tensor:
    """Return activations as :func:`features` does, each feature with mean zero over the samples."""
    matrix = features(values)
    matrix = matrix - matrix[:1]  # a constant feature becomes zero, and not the rounding of its mean
    return matrix - matrix.mean(dim=0)


def same_samples(x: torch.Tensor, y: torch.Tensor, at_least: int, measure: str) -> None:
    """Raise ValueError unless both have the same number of samples, and no fewer than the measure needs."""
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples and y has {len(y)}: {measure} compares the same samples")
    enough_samples(x, at_least, measure)


def enough_samples(x: torch.Tensor, at_least: int, measure: str) -> None:
    """Raise ValueError if there are fewer samples than the measure needs."""
    if len(x) < at_least:
        raise ValueError(f"{len(x)} samples are too few for {measure}: it needs {at_least}")


def in_sample_space(x: torch.Tensor) -> torch.Tensor:
    """Return features turned into at most as many dimensions as there are samples, which keeps every inner product.

    A wide layer (n samples, p > n features) becomes n x n: with the QR decomposition X^T = Q R, it is R^T.
    """
    return x if x.shape[1] <= len(x) else torch.linalg.qr(x.T, mode="r").R.T


def orthonormal_basis(x: torch.Tensor, variance: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the left singular vectors (``n x r``) and singular values (``r``) that matter, the largest first.

    Args:
        x: A matrix, ``n x p``.
        variance: Keep the fewest directions that hold this fraction of the sum of squares. Those below
            :data:`RANK_CUTOFF` of the largest are left out in any case.
    """
    u, s, _ = torch.linalg.svd(in_sample_space(x), full_matrices=False)
    rank = int((s > RANK_CUTOFF * s[0]).sum()) if s[0] > 0 else 0
    if variance < 1.0 and rank:
        share = s.square().cumsum(0) / s.square().sum()
        rank = min(rank, int((share < variance).sum()) + 1)
    return u[:, :rank], s[:rank]
