"""What least squares needs to know of the data: sums of squares and products about the means, gathered in batches.

Notation: `n` examples of inputs x (`n` x `p`) and targets y (`n` x `q`), with means mx and my;

    Sxx = Σ (x − mx)(x − mx)ᵀ   (`p` x `p`)        Syx = Σ (y − my)(x − mx)ᵀ   (`q` x `p`)

Two parts of the data are joined by the update of Chan, Golub and LeVeque, which subtracts no large numbers from each
other: the result does not depend on how far the means are from zero, and on the batches only to the rounding of
float64.

References:
    Chan, Golub, LeVeque: Algorithms for Computing the Sample Variance: Analysis and Recommendations. The American
    Statistician 37(3), 1983. https://doi.org/10.1080/00031305.1983.10483115
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CUTOFF = 1e-6
"""Default relative cut-off of singular values. Those of float32 activations are rounding below about 1e-7 of the
largest; the eigenvalues of a float64 Gram matrix, their squares, can be told from zero down to about 1e-14."""


class NormalEquations(NamedTuple):
    """The quadratic function tr(W `gram` Wᵀ) − 2 tr(W `cross`ᵀ) of a matrix W (`q` x `p`), to be minimised.

    It is Σ‖y − W x − b‖² + ridge ‖W‖² at the best b, up to a constant.

    Args:
        gram: Sxx + ridge · 1, `p` x `p`, float64.
        cross: Syx, `q` x `p`, float64.
        cutoff: Directions of the inputs are ignored whose singular value is smaller than this times the largest.
    """

    gram: Tensor
    cross: Tensor
    cutoff: float = CUTOFF

    def solution(self) -> Tensor:
        """Return the minimiser W, and where there are many that of least norm."""
        values, vectors = torch.linalg.eigh(self.gram)
        largest = values[-1:].clamp(min=0)
        kept = values > self.cutoff**2 * largest
        inverse = torch.where(kept, values, 1).reciprocal() * kept
        return (self.cross @ vectors) * inverse @ vectors.T


class Moments(NamedTuple):
    """Sums over a part of the data; all tensors are float64 and lie on the device of the data.

    Args:
        examples: Their number, `n`.
        mean_x: Means of the inputs, `p`.
        mean_y: Means of the targets, `q`.
        xx: Sxx, `p` x `p`.
        yx: Syx, `q` x `p`.
    """

    examples: int
    mean_x: Tensor
    mean_y: Tensor
    xx: Tensor
    yx: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """Return the moments of one batch of at least one example, without waiting for the device.

        Args:
            x: Inputs, `n` x `p`, float64.
            y: Targets, `n` x `q`, float64.
        """
        mean_x, mean_y = x.mean(0), y.mean(0)
        x = x - mean_x
        return cls(len(x), mean_x, mean_y, x.T @ x, (y - mean_y).T @ x)

    def joined(self, other: Moments) -> Moments:
        """Return the moments of both parts together."""
        examples = self.examples + other.examples
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        share = other.examples / examples
        weight = self.examples * share
        return Moments(
            examples,
            self.mean_x + share * dx,
            self.mean_y + share * dy,
            torch.addr(self.xx + other.xx, dx, dx, alpha=weight),
            torch.addr(self.yx + other.yx, dy, dx, alpha=weight),
        )

    def normal_equations(self, bias: bool, ridge: float, cutoff: float) -> NormalEquations:
        """Return what the best weights minimise.

        Args:
            bias: Whether there is a bias, so that the sums are about the means instead of zero.
            ridge: Weight of the penalty ‖W‖².
            cutoff: See `NormalEquations`.
        """
        gram, cross = self.xx, self.yx
        if not bias:
            gram = torch.addr(gram, self.mean_x, self.mean_x, alpha=self.examples)
            cross = torch.addr(cross, self.mean_y, self.mean_x, alpha=self.examples)
        if ridge:
            gram = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        return NormalEquations(gram, cross, cutoff)
