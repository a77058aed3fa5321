"""Pooling to a grid of fixed size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nnray.graph import pure


@pure
class GridMaxPool(nn.Module):
    """Take maxima over the cells of a `size` x `size` grid that covers the image; with one cell, global max pooling.

    Cells are equal and don't overlap, so that the backward pass is deterministic on GPUs, which that of
    `nn.AdaptiveMaxPool2d` is not. Where the image's height or width is no multiple of `size`, zeros are appended, which
    changes nothing for values after a ReLU.

    Args:
        size: Number of cells in each direction.
    """

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima.

        Args:
            x: Images x channels x height x width.

        Returns:
            Images x channels x `size` x `size`.
        """
        height, width = x.shape[-2:]
        cell = (-(-height // self.size), -(-width // self.size))
        below, right = cell[0] * self.size - height, cell[1] * self.size - width
        if below or right:
            x = F.pad(x, (0, right, 0, below))
        return x if cell == (1, 1) else F.max_pool2d(x, cell)

    def extra_repr(self) -> str:
        """Return the constructor's argument, for `repr`."""
        return f"size={self.size}"
