"""The identity, with or without a shift: the baseline of all regressions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from nnray.graph import pure
from nnray.layers.regression.geometry import Conv2dGeometry, Geometry, LinearGeometry
from nnray.layers.regression.moments import NormalEquations


class _Identity(Geometry):
    def matrix(self) -> Tensor:
        """Return the identity matrix, in the default dtype."""
        return torch.eye(self._shape[0], device=None if self.bias is None else self.bias.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + b, or x itself if there is no bias."""
        return self._shift(x)

    def _set_matrix(self, equations: NormalEquations) -> None:
        """There is nothing to choose."""


@final
@pure
class IdentityLinear(_Identity, LinearGeometry):
    """A layer that returns its input, or with a bias its input plus a shift, which is fit and trained.

    Unlike `nn.Identity` it takes part wherever layers are fit.

    Shapes: (..., `features`) to the same.

    Args:
        features: Number of features of inputs and outputs.
        bias: Whether there is a shift.

    Raises:
        ConfigurationError: The number is not positive.
    """

    def __init__(self, features: int, bias: bool = False) -> None:
        super().__init__(features, features, bias)


@final
@pure
class IdentityConv2d(_Identity, Conv2dGeometry):
    """A layer that returns its input, or with a bias its input plus a shift of each channel; see `IdentityLinear`.

    Shapes: batch x `channels` x height x width to the same.

    Args:
        channels: Number of channels of inputs and outputs.
        bias: Whether there is a shift.

    Raises:
        ConfigurationError: The number is not positive.
    """

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__(channels, channels, 1, 1, 0, bias)
