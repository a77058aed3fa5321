"""The fast nine-layer residual network of cifar10-fast."""

from __future__ import annotations

import operator
from typing import Any, final

from torch import nn

from nnray.graph import GraphModule
from nnray.layers import GridMaxPool, Scale
from nnray.models.arguments import check_at_least


@final
class ResNet9(GraphModule):
    """The nine-layer residual network of cifar10-fast, the fastest to 94 % on CIFAR-10 in its day.

    Four groups of a 3x3 convolution, batch normalisation and ReLU with `width`, 2, 4 and 8 `width` channels, all but
    the first with 2x2 max pooling; the second and the fourth group also have a residual branch of two more convolutions
    (and, unlike He et al., no ReLU after the addition). Global max pooling, a linear layer without bias, outputs times
    0.125.

    The last pooling is global instead of over 4x4 pixels: the same for images of 32x32 pixels, and it works for all
    sizes from 8x8 on (three poolings of 2x2 come before it).

    Layers: `prep.{conv,bn,relu}`, `layer{1,2,3}.{conv,bn,relu,pool}`, `layer{1,3}.{res1,res2}.{conv,bn,relu}`,
    `layer{1,3}.add`, `pool`, `flatten`, `linear`, `logits`.

    Args:
        width: Number of channels of the first group; 64 in the original.
        in_channels: Number of channels of the images, which have at least 8x8 pixels.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive.

    References:
        Page: How to Train Your ResNet, 2018. https://github.com/davidcpage/cifar10-fast (`dawn.py`)
    """

    def __init__(self, width: int = 64, in_channels: int = 3, num_classes: int = 10) -> None:
        check_at_least(1, width=width, in_channels=in_channels, num_classes=num_classes)
        super().__init__(
            {
                "prep": _conv_bn_relu(in_channels, width),
                "layer1": {
                    **_conv_bn_relu(width, 2 * width),
                    "pool": nn.MaxPool2d(2),
                    **_residual(2 * width),
                },
                "layer2": {
                    **_conv_bn_relu(2 * width, 4 * width),
                    "pool": nn.MaxPool2d(2),
                },
                "layer3": {
                    **_conv_bn_relu(4 * width, 8 * width),
                    "pool": nn.MaxPool2d(2),
                    **_residual(8 * width),
                },
                "pool": GridMaxPool(),
                "flatten": nn.Flatten(),
                "linear": nn.Linear(8 * width, num_classes, bias=False),
                "logits": Scale(0.125),
            }
        )
        self.example_shape = (in_channels, 32, 32)


def _conv_bn_relu(in_channels: int, channels: int) -> dict[str, Any]:
    return {
        "conv": nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        "bn": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(inplace=True),
    }


def _residual(channels: int) -> dict[str, Any]:
    return {
        "res1": _conv_bn_relu(channels, channels),
        "res2": _conv_bn_relu(channels, channels),
        "add": (operator.add, ["pool", "res2.relu"]),
    }
