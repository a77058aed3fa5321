"""Resizing of feature maps."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nnray.errors import ConfigurationError
from nnray.graph import pure


@pure
class Interpolate(nn.Module):
    """Resize feature maps to a given size; those that have it already are returned as they are.

    What `nn.Upsample` does, without its work where there is nothing to do, and for shrinking too.

    Args:
        size: Height and width of the outputs in pixels; one number for both.
        mode: "bilinear" (corners are not aligned: a pixel is a square, not a point) or "nearest".

    Raises:
        ConfigurationError: The size is not positive, or there is no such mode.
    """

    def __init__(self, size: int | tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear") -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.mode = mode
        if min(self.size) < 1:
            raise ConfigurationError(f"size must be at least 1, got {size}")
        if mode not in ("bilinear", "nearest"):
            raise ConfigurationError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")

    def forward(self, x: Tensor) -> Tensor:
        """Return the resized maps.

        Args:
            x: Batch x channels x height x width.

        Returns:
            Batch x channels x `size[0]` x `size[1]`, of the same dtype.
        """
        return x if tuple(x.shape[-2:]) == self.size else F.interpolate(x, self.size, mode=self.mode)

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return f"size={self.size}, mode={self.mode!r}"
