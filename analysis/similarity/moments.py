"""Sums over minibatches from which linear measures follow exactly.

Notation: x and y are the activations of one sample (rows of X, ``n x p``, and Y, ``n x q``), seen from the first
sample, which keeps numbers small and constant features zero. For the unbiased HSIC of linear kernels, whose Gram
matrices K and L have the entries k_ij = <x_i, x_j> and a diagonal that does not count, the three terms of Song et al.
2012, equation 5, are

    sum_ij k_ij l_ij = |sum x y^T|^2 - sum |x|^2 |y|^2
    sum_ij k_ij      = |sum x|^2 - sum |x|^2
    sum_j  k_.j l_.j = sx^T (sum x y^T) sy - sx . (sum x |y|^2) - sy . (sum y |x|^2) + sum |x|^2 |y|^2

with sx = sum x and sy = sum y.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from analysis.arrays import RANK_CUTOFF, Array, features


class Sums(NamedTuple):
    """Sums over samples; ``x2`` stands for ``|x|^2``.

    Attributes:
        x: ``p``.
        y: ``q``.
        xx: Of ``x x^T``, ``p x p``.
        xy: ``p x q``.
        yy: ``q x q``.
        x2_y2: A number, as the next two.
        x2_x2: Of ``|x|^4``.
        y2_y2: Of ``|y|^4``.
        x_y2: Of ``x |y|^2``, ``p``.
        y_x2: ``q``.
        x_x2: ``p``.
        y_y2: ``q``.
    """

    x: torch.Tensor
    y: torch.Tensor
    xx: torch.Tensor
    xy: torch.Tensor
    yy: torch.Tensor
    x2_y2: torch.Tensor
    x2_x2: torch.Tensor
    y2_y2: torch.Tensor
    x_y2: torch.Tensor
    y_x2: torch.Tensor
    x_x2: torch.Tensor
    y_y2: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor, y: torch.Tensor) -> Sums:
        """Return the sums of one minibatch, ``m x p`` and ``m x q``."""
        x2, y2 = x.square().sum(dim=1), y.square().sum(dim=1)
        return cls(
            x.sum(dim=0),
            y.sum(dim=0),
            x.T @ x,
            x.T @ y,
            y.T @ y,
            x2 @ y2,
            x2 @ x2,
            y2 @ y2,
            x.T @ y2,
            y.T @ x2,
            x.T @ x2,
            y.T @ y2,
        )

    def plus(self, other: Sums) -> Sums:
        """Return the sums of both."""
        return Sums(*(one + another for one, another in zip(self, other, strict=True)))


class PairMoments:
    """Sums over minibatches of two sets of activations, in float64, on the device of the activations.

    Attributes:
        n: How many samples there were.
        sums: Seen from the first sample; None before there is one.
    """

    def __init__(self) -> None:
        self.n = 0
        self.sums: Sums | None = None
        self._origins: tuple[torch.Tensor, ...] = ()

    def update(self, x: Array, y: Array) -> None:
        """Add a minibatch: ``samples x ...`` of both.

        Raises:
            ValueError: If the numbers of samples or features don't fit, or a value is not finite.
        """
        both = features(x), features(y)
        if len(both[0]) != len(both[1]):
            raise ValueError(f"x has {len(x)} samples and y has {len(y)}: minibatches are of the same samples")
        self._origins = self._origins or tuple(matrix[:1].clone() for matrix in both)
        for name, matrix, origin in zip("xy", both, self._origins, strict=True):
            if matrix.shape[1] != origin.shape[1]:
                raise ValueError(f"{name} has {matrix.shape[1]} features, and had {origin.shape[1]} before")
        added = Sums.of(*(matrix - origin for matrix, origin in zip(both, self._origins, strict=True)))
        self.sums = added if self.sums is None else self.sums.plus(added)
        self.n += len(both[0])

    def products(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ``X^T X``, ``X^T Y`` and ``Y^T Y`` of centred activations."""
        sums = self._some()
        return (
            torch.addr(sums.xx, sums.x, sums.x, alpha=-1 / self.n),
            torch.addr(sums.xy, sums.x, sums.y, alpha=-1 / self.n),
            torch.addr(sums.yy, sums.y, sums.y, alpha=-1 / self.n),
        )

    def unbiased_hsics(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ``n (n - 3)`` times the unbiased HSIC of X with Y, of X with itself, and of Y with itself."""
        s = self._some()
        x2, y2 = s.xx.trace(), s.yy.trace()
        return (
            self._hsic((s.x, x2), (s.y, y2), s.xy, s.x2_y2, s.x @ s.x_y2 + s.y @ s.y_x2),
            self._hsic((s.x, x2), (s.x, x2), s.xx, s.x2_x2, 2 * s.x @ s.x_x2),
            self._hsic((s.y, y2), (s.y, y2), s.yy, s.y2_y2, 2 * s.y @ s.y_y2),
        )

    def _hsic(
        self,
        one: tuple[torch.Tensor, torch.Tensor],
        other: tuple[torch.Tensor, torch.Tensor],
        product: torch.Tensor,
        diagonals: torch.Tensor,
        mixed: torch.Tensor,
    ) -> torch.Tensor:
        n, (x, x2), (y, y2) = self.n, one, other
        entries = product.square().sum() - diagonals
        totals = (x @ x - x2) * (y @ y - y2)
        rows = x @ product @ y - mixed + diagonals
        return entries + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows

    def _some(self) -> Sums:
        if self.sums is None:
            raise ValueError("there is no minibatch yet: update(x, y) adds one")
        return self.sums


def directions(gram: torch.Tensor, variance: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return principal directions (``p x r``) and singular values (``r``) that matter, by ``X^T X`` (``p x p``).

    The same are chosen as by :func:`analysis.arrays.orthonormal_basis` of X itself.
    """
    values, vectors = torch.linalg.eigh(gram)
    squares, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    rank = int((squares > RANK_CUTOFF**2 * squares[0]).sum()) if squares[0] > 0 else 0
    if variance < 1.0 and rank:
        rank = min(rank, int((squares.cumsum(0) / squares.sum() < variance).sum()) + 1)
    return vectors[:, :rank], squares[:rank].sqrt()
