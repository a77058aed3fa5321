"""Matrices of limited rank: reduced-rank regression.

References:
    Izenman: Reduced-rank regression for the multivariate linear model. Journal of Multivariate Analysis 5(2), 1975.
    https://doi.org/10.1016/0047-259X(75)90042-1 (here with Γ = 1)
    Mukherjee, Zhu: Reduced rank ridge regression and its kernel extensions. Statistical Analysis and Data Mining 4(6),
    2011. https://doi.org/10.1002/sam.10138
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from nnray.graph import pure
from nnray.layers.regression.geometry import Conv2dGeometry, Geometry, LinearGeometry
from nnray.layers.regression.moments import NormalEquations
from nnray.layers.regression.regressable import check_size


class _LowRank(Geometry):
    down: nn.Parameter
    up: nn.Parameter
    rank: int

    def matrix(self) -> Tensor:
        """Return W = `up` `down` (outputs x inputs), differentiable in the parameters."""
        return self.up @ self.down

    def forward(self, x: Tensor) -> Tensor:
        """Return `up` (`down` x) + b, without ever forming W."""
        return self._mix_outputs(self._apply_matrix(x, self.down, None), self.up, self.bias)

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return f"{super().extra_repr()}, rank={self.rank}"

    def _declare(self, rank: int) -> None:
        outputs, inputs = self._shape
        check_size(1, min(outputs, inputs), rank=rank)
        self.rank = rank
        self.down = nn.Parameter(torch.empty(rank, inputs).uniform_(-(inputs**-0.5), inputs**-0.5))
        # The entries of W then have the variance that those of `nn.Linear` have.
        self.up = nn.Parameter(torch.empty(outputs, rank).normal_(std=rank**-0.5))

    def _set_matrix(self, equations: NormalEquations) -> None:
        # The unrestricted solution, projected onto the principal axes of its predictions, whose Gram matrix is W G Wᵀ.
        best = equations.solution()
        _, axes = torch.linalg.eigh(best @ equations.gram @ best.T)
        axes = axes[:, -self.rank :]
        # Shared evenly between the two factors, which gradient descent likes best.
        left, values, right = torch.linalg.svd(axes.T @ best, full_matrices=False)
        self.up.copy_(axes @ left * values.sqrt())
        self.down.copy_(values.sqrt()[:, None] * right)


@final
@pure
class LowRankLinear(_LowRank, LinearGeometry):
    """A linear layer whose matrix has at most the given rank: the product of `up` and `down`, which are trained.

    It is fit by reduced-rank regression (Izenman 1975), the best fit of all matrices of this rank; truncating the
    singular values of the least-squares solution is best only for white inputs.

    Shapes: (..., `in_features`) to (..., `out_features`).

    Args:
        in_features: Number of features of the inputs.
        out_features: Number of features of the outputs.
        rank: The rank, at most the smaller of the two.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: A number is not positive, or the rank is too large.
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self._declare(rank)


@final
@pure
class LowRankConv2d(_LowRank, Conv2dGeometry):
    """A convolution to `rank` channels, then a 1x1 convolution: one of limited rank, fit by reduced-rank regression.

    Its matrix is that of patches (`out_channels` x `in_channels` k²); all else is as in `LowRankLinear`.

    Shapes: batch x `in_channels` x height x width to batch x `out_channels` x height' x width', as `nn.Conv2d`.

    Args:
        in_channels: Number of channels of the inputs.
        out_channels: Number of channels of the outputs.
        rank: Number of channels in between, at most `out_channels` and `in_channels` k².
        kernel_size: Height and width of the (first) kernel in pixels.
        stride: Distance of the kernel's positions.
        padding: Rows and columns of zeros that are added on all sides.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: A number is not positive, the padding is negative, or the rank is too large.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rank: int,
        kernel_size: int | tuple[int, int] = 1,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias)
        self._declare(rank)
