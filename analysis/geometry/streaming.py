"""The spread of variance over directions, of activations that come in minibatches."""

from __future__ import annotations

import torch

from analysis.arrays import Array, features


class SpectrumStream:
    """A covariance matrix gathered in float64: ``update(x)`` for each minibatch, then its figures.

    They are those of :mod:`analysis.geometry.spectrum` for all samples at once, to the rounding of float64, in memory
    that grows with the squared number of features (``p``) and not with the number of samples.
    """

    def __init__(self) -> None:
        self._n = 0
        self._origin = self._sum = self._products = torch.zeros(())

    def update(self, x: Array) -> None:
        """Add a minibatch, ``samples x ...``.

        Raises:
            ValueError: If the number of features is another than before, or a value is not finite.
        """
        matrix = features(x)
        if not self._n:
            self._origin = matrix[:1].clone()  # seen from there, numbers are small and constant features zero
            self._sum, self._products = torch.zeros_like(matrix[0]), matrix.new_zeros(matrix.shape[1], matrix.shape[1])
        if matrix.shape[1] != self._origin.shape[1]:
            raise ValueError(f"x has {matrix.shape[1]} features, and had {self._origin.shape[1]} before")
        matrix = matrix - self._origin
        self._sum = self._sum + matrix.sum(dim=0)
        self._products = self._products + matrix.T @ matrix
        self._n += len(matrix)

    def covariance(self) -> torch.Tensor:
        """Return the covariance matrix, ``p x p`` (divisor n - 1).

        Raises:
            ValueError: If there are fewer than two samples.
        """
        if self._n < 2:
            raise ValueError(f"{self._n} samples are too few for a spectrum: it needs 2")
        return torch.addr(self._products, self._sum, self._sum, alpha=-1 / self._n) / (self._n - 1)

    def spectrum(self) -> torch.Tensor:
        """Return the variances along the principal components, the largest first; ``min(samples, features)``."""
        values = torch.linalg.eigvalsh(self.covariance()).flip(0).clamp(min=0)
        return values[: min(self._n, len(values))]

    def participation_ratio(self) -> float:
        """Return what :func:`analysis.geometry.participation_ratio` does; no eigenvalues are computed."""
        covariance = self.covariance()
        return float(covariance.trace().square() / covariance.square().sum())
