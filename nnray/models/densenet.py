"""Densely connected networks for small images."""

from __future__ import annotations

from typing import Any, final

from torch import nn

from nnray.errors import ConfigurationError
from nnray.graph import GraphModule
from nnray.layers import Concatenate
from nnray.models.arguments import check_at_least

_BOTTLENECK = 4  # channels of the 1x1 convolutions, in units of the growth rate


@final
class DenseNet(GraphModule):
    """The densely connected network for CIFAR of Huang et al. 2017, with bottlenecks and compression: DenseNet-BC.

    A 3x3 convolution with twice `growth_rate` channels; three dense blocks of n layers, each of which computes
    `growth_rate` channels (batch normalisation, ReLU, 1x1 convolution, the same with a 3x3 convolution) from all
    channels that the block has so far, and appends them; between blocks a transition (batch normalisation, ReLU, 1x1
    convolution to half as many channels, 2x2 average pooling); batch normalisation, ReLU, global average pooling and a
    linear layer: depth 6n + 4.

    Layers: `conv`, `block{1,2,3}.layer{1,..,n}.{norm1,relu1,conv1,norm2,relu2,conv2,concat}`,
    `transition{1,2}.{norm,relu,conv,pool}`, `norm`, `relu`, `pool`, `flatten`, `linear`.

    Args:
        depth: Number of layers with weights, 6n + 4: 10, 16, 22, 40, 100, ...
        growth_rate: Number of channels that each layer appends; 12, 24 or 40 in the paper.
        in_channels: Number of channels of the images, which have at least 4x4 pixels.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive, or the depth is not 6n + 4.

    References:
        Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2017.
        https://arxiv.org/abs/1608.06993
    """

    def __init__(self, depth: int = 40, growth_rate: int = 12, in_channels: int = 3, num_classes: int = 10) -> None:
        check_at_least(1, depth=depth, growth_rate=growth_rate, in_channels=in_channels, num_classes=num_classes)
        layers, rest = divmod(depth - 4, 6)
        if rest or layers < 1:
            nearest = "10" if depth < 10 else f"{6 * layers + 4} and {6 * layers + 10}"
            raise ConfigurationError(f"depth must be 6n + 4, not {depth}; nearest: {nearest}")
        channels = 2 * growth_rate
        architecture: dict[str, Any] = {"conv": nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)}
        before = "conv"
        for block in (1, 2, 3):
            architecture[f"block{block}"] = _dense_block(layers, channels, growth_rate, before)
            before = f"block{block}.layer{layers}.concat"
            channels += layers * growth_rate
            if block < 3:
                architecture[f"transition{block}"] = _transition(channels)
                before = f"transition{block}.pool"
                channels //= 2
        architecture |= {
            "norm": nn.BatchNorm2d(channels),
            "relu": nn.ReLU(inplace=True),
            "pool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "linear": nn.Linear(channels, num_classes),
        }
        super().__init__(architecture)
        self.example_shape = (in_channels, 32, 32)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def _dense_block(layers: int, channels: int, growth_rate: int, before: str) -> dict[str, Any]:
    block = {}
    for index in range(1, layers + 1):
        block[f"layer{index}"] = {
            "norm1": nn.BatchNorm2d(channels),
            "relu1": nn.ReLU(inplace=True),
            "conv1": nn.Conv2d(channels, _BOTTLENECK * growth_rate, 1, bias=False),
            "norm2": nn.BatchNorm2d(_BOTTLENECK * growth_rate),
            "relu2": nn.ReLU(inplace=True),
            "conv2": nn.Conv2d(_BOTTLENECK * growth_rate, growth_rate, 3, padding=1, bias=False),
            "concat": (Concatenate(), [before, "conv2"]),
        }
        before = f"layer{index}.concat"
        channels += growth_rate
    return block


def _transition(channels: int) -> dict[str, Any]:
    return {
        "norm": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(inplace=True),
        "conv": nn.Conv2d(channels, channels // 2, 1, bias=False),
        "pool": nn.AvgPool2d(2),
    }
