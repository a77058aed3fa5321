"""Any matrix: ordinary least squares and ridge regression."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from nnray.graph import pure
from nnray.layers.regression.geometry import Conv2dGeometry, Geometry, LinearGeometry
from nnray.layers.regression.moments import NormalEquations


class _Full(Geometry):
    weight: nn.Parameter

    def matrix(self) -> Tensor:
        """Return W (outputs x inputs), differentiable in the parameters."""
        return self.weight.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b."""
        return self._apply_matrix(x, self.weight, self.bias)

    def _declare(self) -> None:
        bound = self._shape[1] ** -0.5
        self.weight = nn.Parameter(torch.empty(self._weight_shape()).uniform_(-bound, bound))
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def _set_matrix(self, equations: NormalEquations) -> None:
        self.weight.copy_(equations.solution().view_as(self.weight))


@final
@pure
class RegressableLinear(_Full, LinearGeometry):
    """`nn.Linear` that can be fit by least squares: the same parameters, initialisation and keys in `state_dict()`.

    Shapes: (..., `in_features`) to (..., `out_features`); the last axis of rows, tokens or anything else.

    Args:
        in_features: Number of features of the inputs.
        out_features: Number of features of the outputs.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: A number is not positive.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self._declare()


@final
@pure
class RegressableConv2d(_Full, Conv2dGeometry):
    """`nn.Conv2d` that can be fit by least squares: the same parameters, initialisation and keys in `state_dict()`.

    Shapes: batch x `in_channels` x height x width to batch x `out_channels` x height' x width', as `nn.Conv2d`. An
    example of the fit is a position of the output, so that a few images make many. With k x k kernels the inputs of one
    are `in_channels` k² numbers, and the fit takes the square of that in memory.

    Args:
        in_channels: Number of channels of the inputs.
        out_channels: Number of channels of the outputs.
        kernel_size: Height and width of the kernel in pixels.
        stride: Distance of the kernel's positions.
        padding: Rows and columns of zeros that are added on all sides.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: A number is not positive, or the padding is negative.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 1,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias)
        self._declare()
