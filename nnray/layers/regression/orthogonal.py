"""Rotations and reflections, with or without a common scale: the Procrustes problem.

W = s Q, where Q has orthonormal columns (as many outputs as inputs, or more), or orthonormal rows (fewer).

References:
    Schönemann: A generalized solution of the orthogonal Procrustes problem. Psychometrika 31(1), 1966.
    https://doi.org/10.1007/BF02289451
    Kiers: Majorization as a tool for optimizing a class of matrix functions. Psychometrika 55(3), 1990.
    https://doi.org/10.1007/BF02294758 (for fewer outputs than inputs)
    O'Donoghue, Candès: Adaptive Restart for Accelerated Gradient Schemes. Foundations of Computational Mathematics 15,
    2015. https://arxiv.org/abs/1204.3982 (for the same, faster)
    Lezcano-Casado, Martínez-Rubio: Cheap Orthogonal Constraints in Neural Networks, 2019.
    https://arxiv.org/abs/1901.08428 (the exponential map, for training)
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from nnray.graph import pure
from nnray.layers.regression.geometry import Conv2dGeometry, Geometry, LinearGeometry
from nnray.layers.regression.moments import NormalEquations

_MOST_STEPS = 1000
_ENOUGH = 1e-8  # a step that lowers the squared error by less than this share of what W explains is the last


class _Orthogonal(Geometry):
    generator: nn.Parameter
    base: Tensor
    scale: nn.Parameter | None

    def matrix(self) -> Tensor:
        """Return W = s Q (outputs x inputs), differentiable in the parameters."""
        outputs, inputs = self._shape
        rotation = torch.linalg.matrix_exp(self.generator.triu(1) - self.generator.triu(1).T)
        basis = rotation @ self.base if outputs >= inputs else self.base @ rotation
        return basis if self.scale is None else self.scale * basis

    def forward(self, x: Tensor) -> Tensor:
        """Return s Q x + b."""
        return self._apply_matrix(x, self.matrix(), self.bias)

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return f"{super().extra_repr()}, scaled={self.scale is not None}"

    def _declare(self, scaled: bool) -> None:
        # PyTorch's own `parametrizations.orthogonal` makes modules that cannot be pickled.
        self.generator = nn.Parameter(torch.zeros(max(self._shape), max(self._shape)))
        self.register_buffer("base", nn.init.orthogonal_(torch.empty(self._shape)))
        self.scale = nn.Parameter(torch.ones(())) if scaled else None

    def _set_matrix(self, equations: NormalEquations) -> None:
        basis, scale = procrustes(equations.gram, equations.cross, scaled=self.scale is not None)
        self.generator.zero_()
        self.base.copy_(basis)
        if self.scale is not None:
            self.scale.copy_(scale)


def procrustes(gram: Tensor, cross: Tensor, scaled: bool) -> tuple[Tensor, Tensor]:
    """Return the semi-orthogonal Q and the scale s >= 0 that minimise tr(s² Q G Qᵀ) − 2 s tr(Q Cᵀ).

    With at least as many outputs as inputs, QᵀQ = 1 makes the first term constant, and Q is the orthogonal polar factor
    of C (Schönemann 1966). With fewer, there is no closed form: starting from the polar factor, each step minimises an
    upper bound (Kiers 1990), with momentum that is dropped whenever it would raise the error (O'Donoghue and Candès
    2015). So the error falls to a minimum, which need not be the least of all. A step takes a singular value
    decomposition of C, and there are some hundreds.

    Args:
        gram: G, inputs x inputs.
        cross: C, outputs x inputs.
        scaled: Whether s is free; else it is 1.

    Returns:
        Q (outputs x inputs) and s (a scalar tensor).
    """
    outputs, inputs = cross.shape
    basis = _polar_factor(cross)
    scale, loss = _best_scale(basis, gram, cross, scaled)
    if outputs >= inputs:
        return basis, scale
    bound = torch.linalg.eigvalsh(gram)[-1]
    ahead, steps = basis, 0  # where momentum leads, and the number of steps that it has gathered
    for _ in range(_MOST_STEPS):
        candidate = _polar_factor(cross + scale * (bound * ahead - ahead @ gram))
        candidate_scale, candidate_loss = _best_scale(candidate, gram, cross, scaled)
        if steps and candidate_loss > loss:
            ahead, steps = basis, 0
            continue
        steps += 1
        gain = loss - candidate_loss
        ahead = candidate + steps / (steps + 3) * (candidate - basis)
        basis, scale, loss = candidate, candidate_scale, candidate_loss
        if gain <= _ENOUGH * loss.abs():
            break
    return basis, scale


def _polar_factor(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _best_scale(basis: Tensor, gram: Tensor, cross: Tensor, scaled: bool) -> tuple[Tensor, Tensor]:
    """Return the best scale for Q, and the loss."""
    spread, agreement = (basis @ gram * basis).sum(), (basis * cross).sum()
    scale = torch.ones_like(spread)
    if scaled:
        scale = agreement.clamp(min=0) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    return scale, scale**2 * spread - 2 * scale * agreement


@final
@pure
class OrthogonalLinear(_Orthogonal, LinearGeometry):
    """A linear layer whose matrix is semi-orthogonal, or that times a scale; fit by Procrustes analysis.

    For equal numbers of features it is a rotation, with or without a reflection; for more outputs than inputs it keeps
    lengths and angles too (WᵀW = s² 1), and for fewer it is a projection in an orthonormal basis (WWᵀ = s² 1). For
    fewer outputs the fit is iterative, finds a local minimum and takes its time (about a minute from 1,024 to 512
    features on one core); otherwise it is exact, in a fraction of a second.

    Training keeps it so: W = s exp(A) `base`, where the antisymmetric A comes from the parameter `generator` (its upper
    triangle; `base` exp(A) for fewer outputs) and `base` is a buffer, which fitting sets. A square matrix keeps the
    sign of its determinant in training. exp(A) is computed in each forward pass, of the larger number of features cubed
    operations.

    Shapes: (..., `in_features`) to (..., `out_features`).

    Args:
        in_features: Number of features of the inputs.
        out_features: Number of features of the outputs.
        bias: Whether there is a bias.
        scaled: Whether there is a common scale s, a trained parameter; else it is 1.

    Raises:
        ConfigurationError: A number is not positive.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, scaled: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self._declare(scaled)


@final
@pure
class OrthogonalConv2d(_Orthogonal, Conv2dGeometry):
    """A 1x1 convolution whose matrix (`out_channels` x `in_channels`) is that of an `OrthogonalLinear`.

    Shapes: batch x `in_channels` x height x width to batch x `out_channels` x height x width.

    Args:
        in_channels: Number of channels of the inputs.
        out_channels: Number of channels of the outputs.
        bias: Whether there is a bias.
        scaled: Whether there is a common scale.

    Raises:
        ConfigurationError: A number is not positive.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, scaled: bool = False) -> None:
        super().__init__(in_channels, out_channels, 1, 1, 0, bias)
        self._declare(scaled)
