"""Sparse matrices: only chosen entries may differ from zero."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from nnray.errors import ConfigurationError
from nnray.graph import pure
from nnray.layers.regression.geometry import Conv2dGeometry, Geometry, LinearGeometry
from nnray.layers.regression.moments import NormalEquations


class _Masked(Geometry):
    weight: nn.Parameter
    mask: Tensor

    def matrix(self) -> Tensor:
        """Return W (outputs x inputs), zero outside the mask, differentiable in the parameters."""
        return torch.where(self.mask, self.weight, 0).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + b."""
        return self._apply_matrix(x, self.matrix(), self.bias)

    def _declare(self, mask: Tensor) -> None:
        weight = torch.empty(mask.shape).uniform_(-1, 1)
        mask = mask.to(weight.device, copy=True)
        inputs_of_each = mask.sum(tuple(range(1, mask.ndim)), keepdim=True).clamp(min=1)
        self.weight = nn.Parameter(weight * inputs_of_each.rsqrt() * mask)
        self.register_buffer("mask", mask)

    def _set_matrix(self, equations: NormalEquations) -> None:
        gram, cross, cutoff = equations
        supports, group_of = self.mask.flatten(1).to(gram.device).unique(dim=0, return_inverse=True)
        best = torch.zeros_like(cross)
        for group, support in enumerate(supports):  # outputs with the same inputs share one decomposition
            inputs = support.nonzero().squeeze(1)
            outputs = (group_of == group).nonzero()
            if len(inputs):
                part = NormalEquations(gram[inputs][:, inputs], cross[outputs, inputs], cutoff)
                best[outputs, inputs] = part.solution()
        self.weight.copy_(best.view_as(self.weight))


@final
@pure
class MaskedLinear(_Masked, LinearGeometry):
    """A linear layer whose matrix is zero outside a fixed mask; fit by least squares on each output's own inputs.

    Training keeps it so: entries of `weight` outside the mask are not used and have no gradient. The mask is a buffer.

    Shapes: (..., inputs) to (..., outputs).

    Args:
        mask: What may differ from zero, outputs x inputs, bool.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: The mask is not a bool matrix.
    """

    def __init__(self, mask: Tensor, bias: bool = True) -> None:
        _check(mask, 2)
        super().__init__(mask.shape[1], mask.shape[0], bias)
        self._declare(mask)


@final
@pure
class MaskedConv2d(_Masked, Conv2dGeometry):
    """A convolution whose weight is zero outside a fixed mask; all else is as in `MaskedLinear`.

    Shapes: batch x in_channels x height x width to batch x out_channels x height' x width', as `nn.Conv2d`.

    Args:
        mask: What may differ from zero, out_channels x in_channels x kernel height x kernel width, bool.
        stride: Distance of the kernel's positions.
        padding: Rows and columns of zeros that are added on all sides.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: The mask is not a bool tensor with four axes, the stride not positive, or the padding
            negative.
    """

    def __init__(
        self,
        mask: Tensor,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ) -> None:
        _check(mask, 4)
        out_channels, in_channels, *kernel_size = mask.shape
        super().__init__(in_channels, out_channels, (kernel_size[0], kernel_size[1]), stride, padding, bias)
        self._declare(mask)


def _check(mask: Tensor, axes: int) -> None:
    if mask.dtype != torch.bool or mask.ndim != axes:
        dtype = str(mask.dtype).removeprefix("torch.")
        raise ConfigurationError(f"mask must be a bool tensor with {axes} axes, not {dtype} {tuple(mask.shape)}")
