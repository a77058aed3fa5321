"""Shortcuts of residual networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nnray.graph import pure


@pure
class PaddedShortcut(nn.Module):
    """Make a residual block's input fit its output without parameters: option A of He et al. 2015.

    Takes every `stride`-th pixel and appends channels of zeros.

    Args:
        extra_channels: Number of channels to append.
        stride: Distance of the pixels that are kept, in both directions.

    References:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, section 3.3.
        https://arxiv.org/abs/1512.03385
    """

    def __init__(self, extra_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.extra_channels = extra_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut.

        Args:
            x: Images x channels x height x width.

        Returns:
            Images x (channels + `extra_channels`) x ceil(height / `stride`) x ceil(width / `stride`).
        """
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return f"extra_channels={self.extra_channels}, stride={self.stride}"
