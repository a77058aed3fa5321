"""From images to sequences of tokens and back."""

from __future__ import annotations

import math

from torch import Tensor, nn

from nnray.errors import ConfigurationError, DataError
from nnray.graph import pure


@pure
class ImageToTokens(nn.Module):
    """Make a token of each position of an image, row by row: batch x channels x height x width to tokens x channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens.

        Args:
            x: Batch x channels x height x width.

        Returns:
            Batch x (height · width) x channels, a view.
        """
        return x.flatten(2).transpose(1, 2)


@pure
class TokensToImage(nn.Module):
    """Lay tokens out as an image, row by row: the inverse of `ImageToTokens`.

    Args:
        size: Height and width of the image; None means that it is a square.
        prefix: Number of leading tokens that belong to no position, such as a class token, and are left out.

    Raises:
        ConfigurationError: The size is not positive, or the prefix is negative.
    """

    def __init__(self, size: tuple[int, int] | None = None, prefix: int = 0) -> None:
        super().__init__()
        if size is not None and min(size) < 1:
            raise ConfigurationError(f"size must be at least 1, got {size}")
        if prefix < 0:
            raise ConfigurationError(f"prefix must not be negative, got {prefix}")
        self.size = size
        self.prefix = prefix

    def forward(self, x: Tensor) -> Tensor:
        """Return the image.

        Args:
            x: Batch x (`prefix` + height · width) x features.

        Returns:
            Batch x features x height x width, a view where the memory allows it.

        Raises:
            DataError: The number of tokens does not fit the size, or is no square.
        """
        count = x.shape[1] - self.prefix
        height, width = self.size or (math.isqrt(max(count, 0)),) * 2
        if height * width != count:
            size = f"{height} x {width}" if self.size else "square"
            raise DataError(f"{x.shape[1]} tokens, {self.prefix} of them prefix, don't make a {size} image")
        return x[:, self.prefix :].transpose(1, 2).reshape(x.shape[0], x.shape[2], height, width)

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return f"size={self.size}, prefix={self.prefix}"
