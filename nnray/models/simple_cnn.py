"""The plain small convolutional network."""

from __future__ import annotations

from typing import Any, final

from torch import nn

from nnray.errors import ConfigurationError
from nnray.graph import GraphModule
from nnray.layers import GridMaxPool
from nnray.models.arguments import check_at_least

_GRID = 4  # cells in each direction that the last convolution's values are pooled to


@final
class SimpleCNN(GraphModule):
    """A small convolutional network without shortcuts: the first baseline for small images.

    `depth` convolutions, each with a ReLU, with `width`, 2 `width`, 4 `width`, ... channels; 2x2 max pooling between
    them; max pooling to 4x4 cells, whatever the image's size, and a linear layer. Convolutions keep the image's size,
    and poolings round up, so that any depth works for images of any size.

    Layers: `block{1,..,depth}.{conv,bn,relu,pool}` (`bn` only with `batch_norm`; no `pool` in the last block), `pool`,
    `flatten`, `linear`.

    Args:
        width: Number of channels of the first convolution; it doubles with each further one.
        depth: Number of convolutions.
        kernel_size: Height and width of the convolutions' kernels in pixels, an odd number.
        batch_norm: Whether each convolution is followed by batch normalisation, and then has no bias.
        in_channels: Number of channels of the images.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: A number is not positive, or the kernel size is even.
    """

    def __init__(
        self,
        width: int = 16,
        depth: int = 2,
        kernel_size: int = 3,
        batch_norm: bool = False,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        check_at_least(
            1, width=width, depth=depth, kernel_size=kernel_size, in_channels=in_channels, num_classes=num_classes
        )
        if kernel_size % 2 == 0:
            raise ConfigurationError(f"kernel_size must be odd, so that there is a centre, not {kernel_size}")
        architecture: dict[str, Any] = {}
        channels = in_channels
        for index in range(depth):
            before, channels = channels, width * 2**index
            block: dict[str, Any] = {
                "conv": nn.Conv2d(before, channels, kernel_size, padding=kernel_size // 2, bias=not batch_norm)
            }
            if batch_norm:
                block["bn"] = nn.BatchNorm2d(channels)
            block["relu"] = nn.ReLU(inplace=True)
            if index < depth - 1:
                block["pool"] = nn.MaxPool2d(2, ceil_mode=True)
            architecture[f"block{index + 1}"] = block
        architecture |= {
            "pool": GridMaxPool(_GRID),
            "flatten": nn.Flatten(),
            "linear": nn.Linear(channels * _GRID**2, num_classes),
        }
        super().__init__(architecture)
        self.example_shape = (in_channels, 32, 32)
