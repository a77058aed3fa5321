"""Multiplication by a constant."""

from __future__ import annotations

from torch import Tensor, nn

from nnray.graph import pure


@pure
class Scale(nn.Module):
    """Multiply the input by a constant.

    Args:
        factor: The constant; it is not trained.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return `factor * x`, a tensor of the same shape."""
        return x * self.factor

    def extra_repr(self) -> str:
        """Return the constant, for `repr`."""
        return f"factor={self.factor}"
