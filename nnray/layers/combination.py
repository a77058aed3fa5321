"""Several values into one. For the sum of just two, `operator.add` does in a graph; torch has no other of this form."""

from __future__ import annotations

import functools
import operator

import torch
from torch import Tensor, nn

from nnray.graph import pure


@pure
class Add(nn.Module):
    """Add any number of tensors."""

    def forward(self, *values: Tensor) -> Tensor:
        """Return the sum of at least one tensor; shapes are broadcast."""
        return functools.reduce(operator.add, values)


@pure
class Concatenate(nn.Module):
    """Concatenate any number of tensors: `torch.cat`, which takes a list, for graphs, which call with arguments.

    Args:
        dim: The axis; 1 is that of channels or features.
    """

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *values: Tensor) -> Tensor:
        """Return the concatenation of at least one tensor; all other axes must agree."""
        return torch.cat(values, self.dim)

    def extra_repr(self) -> str:
        """Return the constructor's argument, for `repr`."""
        return f"dim={self.dim}"
