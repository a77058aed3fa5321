"""Permutations: each output is an input of its own, found by linear assignment.

The matching of neurons in Li, Yosinski, Clune, Lipson, Hopcroft: Convergent Learning, 2015
(https://arxiv.org/abs/1511.07543), section 3.1, with the squared error in place of the correlation as what is
optimised, as befits a layer that passes values on unscaled.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from nnray.graph import pure
from nnray.layers.regression.geometry import Conv2dGeometry, Geometry, LinearGeometry
from nnray.layers.regression.moments import NormalEquations
from nnray.layers.regression.regressable import check_size


class _Permutation(Geometry):
    index: Tensor

    def matrix(self) -> Tensor:
        """Return W (outputs x inputs) of zeros and ones, in the default dtype."""
        return torch.eye(self._shape[1], device=self.index.device)[self.index]

    def forward(self, x: Tensor) -> Tensor:
        """Return the chosen inputs in their new order, plus b."""
        return self._shift(x.index_select(self.axis, self.index))

    def _declare(self) -> None:
        self.register_buffer("index", torch.arange(self._shape[0]))

    def _set_matrix(self, equations: NormalEquations) -> None:
        from scipy.optimize import linear_sum_assignment  # takes a while to import, and only this form needs it

        # Output j taken from input i: Σ (y_j − x_i)² without the part that does not depend on i.
        cost = equations.gram.diagonal() - 2 * equations.cross
        _, index = linear_sum_assignment(cost.cpu().numpy())  # rows come sorted
        self.index.copy_(torch.from_numpy(index))


@final
@pure
class PermutationLinear(_Permutation, LinearGeometry):
    """A layer that reorders features: output j is input `index[j]`, each used at most once, plus a bias.

    It is fit by linear assignment to least squares. With fewer outputs than inputs, it selects. Before it is fit, it
    takes the first inputs in their order. Training changes the bias alone; `index` is a buffer.

    Shapes: (..., `in_features`) to (..., `out_features`).

    Args:
        in_features: Number of features of the inputs.
        out_features: Number of features of the outputs, at most `in_features`.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: A number is not positive, or there are more outputs than inputs.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        check_size(maximum=in_features, out_features=out_features)
        super().__init__(in_features, out_features, bias)
        self._declare()


@final
@pure
class PermutationConv2d(_Permutation, Conv2dGeometry):
    """A layer that reorders the channels of images, as `PermutationLinear` does with features.

    Shapes: batch x `in_channels` x height x width to batch x `out_channels` x height x width.

    Args:
        in_channels: Number of channels of the inputs.
        out_channels: Number of channels of the outputs, at most `in_channels`.
        bias: Whether there is a bias.

    Raises:
        ConfigurationError: A number is not positive, or there are more outputs than inputs.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        check_size(maximum=in_channels, out_channels=out_channels)
        super().__init__(in_channels, out_channels, 1, 1, 0, bias)
        self._declare()
