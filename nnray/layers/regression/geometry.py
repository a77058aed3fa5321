"""Where a matrix is applied: to the features of rows and tokens, or to the channels (patches) of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from nnray.errors import DataError
from nnray.layers.regression.regressable import Regressable, check_size

_MOST_NUMBERS = 2**24  # of the inputs that are held in float64 at a time: 128 MiB


class Geometry(Regressable):
    """A `Regressable` that knows how its matrix is applied, so that a form can be written once for all geometries."""

    #: The axis of the inputs and outputs that the matrix mixes.
    axis: int

    @abstractmethod
    def _apply_matrix(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        """Return W x + b of a matrix (any number of outputs x inputs)."""

    @abstractmethod
    def _mix_outputs(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        """Return W x + b of a matrix (outputs x any number) for an x that `_apply_matrix` has returned."""

    @abstractmethod
    def _weight_shape(self) -> tuple[int, ...]:
        """Return the shape in which torch's own layer of this geometry holds its weight."""

    def _shift(self, x: Tensor) -> Tensor:
        """Return x + b, or x itself if there is no bias."""
        if self.bias is None:
            return x
        return x + self.bias.reshape(-1, *[1] * (-1 - self.axis))


class LinearGeometry(Geometry):
    """A matrix applied to the last axis: of rows (batch x features), tokens (batch x tokens x features), or more."""

    axis = -1

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        check_size(in_features=in_features, out_features=out_features)
        super().__init__(in_features, out_features, bias)
        self.in_features = in_features
        self.out_features = out_features

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _apply_matrix(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, matrix, bias)

    def _mix_outputs(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, matrix, bias)

    def _weight_shape(self) -> tuple[int, ...]:
        return self._shape

    def _rows(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        expected = (*x.shape[:-1], self.out_features)
        if x.ndim < 2 or x.shape[-1] != self.in_features:
            raise DataError(f"{_name(self)} takes inputs of shape (..., {self.in_features}), not {tuple(x.shape)}")
        if y.shape != expected:
            raise DataError(f"{_name(self)} returns {expected} for {tuple(x.shape)}, not {tuple(y.shape)}")
        x, y = x.reshape(-1, self.in_features), y.reshape(-1, self.out_features)
        length = max(1, _MOST_NUMBERS // self.in_features)
        for rows_x, rows_y in zip(x.split(length), y.split(length), strict=True):
            yield rows_x.double(), rows_y.double()


class Conv2dGeometry(Geometry):
    """A matrix applied to the patches of images (batch x channels x height x width), as `nn.Conv2d` does.

    Examples are the positions of the output; the inputs of one are the channels times `kernel_size` pixels around it,
    with zeros beyond the border.
    """

    axis = -3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int | tuple[int, int],
        bias: bool,
    ) -> None:
        kernel_size, stride, padding = _pair(kernel_size), _pair(stride), _pair(padding)
        check_size(in_channels=in_channels, out_channels=out_channels)
        check_size(kernel_size=min(kernel_size), stride=min(stride))
        check_size(0, padding=min(padding))
        super().__init__(in_channels * kernel_size[0] * kernel_size[1], out_channels, bias)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding

    def extra_repr(self) -> str:
        """Return the constructor's arguments, for `repr`."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )

    def _apply_matrix(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        weight = matrix.reshape(-1, self.in_channels, *self.kernel_size)
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def _mix_outputs(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, matrix[:, :, None, None], bias)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels, *self.kernel_size)

    def _rows(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            wanted = f"(batch, {self.in_channels}, height, width)"
            raise DataError(f"{_name(self)} takes inputs of shape {wanted}, not {tuple(x.shape)}")
        size = [
            (length + 2 * padding - kernel) // stride + 1
            for length, kernel, stride, padding in zip(
                x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True
            )
        ]
        if min(size) < 1:
            raise DataError(f"{_name(self)} has a kernel larger than inputs of shape {tuple(x.shape)}")
        expected = (len(x), self.out_channels, *size)
        if y.shape != expected:
            raise DataError(f"{_name(self)} returns {expected} for {tuple(x.shape)}, not {tuple(y.shape)}")
        images = max(1, _MOST_NUMBERS // (self._shape[1] * size[0] * size[1]))
        for part_x, part_y in zip(x.split(images), y.split(images), strict=True):
            if self.kernel_size == (1, 1):
                patches = F.pad(part_x, (*2 * self.padding[1:], *2 * self.padding[:1]))
                patches = patches[:, :, :: self.stride[0], :: self.stride[1]].flatten(2)
            else:
                patches = F.unfold(part_x.double(), self.kernel_size, padding=self.padding, stride=self.stride)
            yield (
                patches.transpose(1, 2).reshape(-1, self._shape[1]).double(),
                part_y.flatten(2).transpose(1, 2).reshape(-1, self.out_channels).double(),
            )


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _name(layer: Regressable) -> str:
    return type(layer).__name__
