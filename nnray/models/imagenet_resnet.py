"""Residual networks for ImageNet."""

from __future__ import annotations

import operator
from typing import Any, final

from torch import nn

from nnray.errors import ConfigurationError
from nnray.graph import GraphModule
from nnray.models.arguments import check_at_least

# Blocks per stage, and whether they are bottlenecks.
_STAGES = {
    18: ([2, 2, 2, 2], False),
    34: ([3, 4, 6, 3], False),
    50: ([3, 4, 6, 3], True),
    101: ([3, 4, 23, 3], True),
    152: ([3, 8, 36, 3], True),
}
_EXPANSION = 4  # of the channels within a bottleneck to those of its output


@final
class ImageNetResNet(GraphModule):
    """The residual network for ImageNet of He et al. 2015, section 4.1, as torchvision has it.

    A 7x7 convolution and max pooling, both with stride 2, four stages of basic blocks (depth 18 and 34) or bottleneck
    blocks with `width`, 2, 4 and 8 `width` channels (4 times that at the end of a bottleneck), global average pooling
    and a linear layer. Where a block changes the shape, its shortcut is a 1x1 convolution with batch normalisation
    (option B). As in torchvision, and unlike the paper, the stride of a bottleneck is that of its 3x3 convolution.

    Entries of the state dict are those of torchvision's `resnet18`, ..., so that its weights can be loaded, and with
    them the outputs are the same, bit for bit.

    Layers: `conv1`, `bn1`, `relu`, `maxpool`,
    `layer{1,..,4}.{0,1,..}.{conv1,bn1,relu1,conv2,bn2,[relu2,conv3,bn3],[downsample.0,downsample.1],add,relu}`
    (`downsample` only where the shape changes), `avgpool`, `flatten`, `fc`.

    Args:
        depth: Number of layers with weights: 18, 34, 50, 101 or 152.
        width: Number of channels of the first stage; 64 in the paper.
        in_channels: Number of channels of the images, which may have any size.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive, or there is no such depth.

    References:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015. https://arxiv.org/abs/1512.03385
        https://github.com/pytorch/vision/blob/main/torchvision/models/resnet.py
    """

    def __init__(self, depth: int = 18, width: int = 64, in_channels: int = 3, num_classes: int = 1000) -> None:
        check_at_least(1, width=width, in_channels=in_channels, num_classes=num_classes)
        if depth not in _STAGES:
            raise ConfigurationError(f"depth must be one of {', '.join(map(str, _STAGES))}, not {depth!r}")
        blocks, is_bottleneck = _STAGES[depth]
        expansion = _EXPANSION if is_bottleneck else 1
        architecture: dict[str, Any] = {
            "conv1": nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
            "bn1": nn.BatchNorm2d(width),
            "relu": nn.ReLU(inplace=True),
            "maxpool": nn.MaxPool2d(3, stride=2, padding=1),
        }
        before, channels = "maxpool", width
        for stage, count in enumerate(blocks):
            inner = width * 2**stage
            architecture[f"layer{stage + 1}"] = layer = {}
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                convolutions = (
                    _bottleneck(channels, inner, stride) if is_bottleneck else _basic(channels, inner, stride)
                )
                layer[str(index)] = {
                    **convolutions,
                    **_shortcut(channels, inner * expansion, stride, before, convolutions),
                }
                before, channels = f"layer{stage + 1}.{index}.relu", inner * expansion
        architecture |= {
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(channels, num_classes),
        }
        super().__init__(architecture)
        self.example_shape = (in_channels, 224, 224)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _basic(in_channels: int, channels: int, stride: int) -> dict[str, Any]:
    return {
        "conv1": nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(channels),
        "relu1": nn.ReLU(inplace=True),
        "conv2": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        "bn2": nn.BatchNorm2d(channels),
    }


def _bottleneck(in_channels: int, channels: int, stride: int) -> dict[str, Any]:
    return {
        "conv1": nn.Conv2d(in_channels, channels, 1, bias=False),
        "bn1": nn.BatchNorm2d(channels),
        "relu1": nn.ReLU(inplace=True),
        "conv2": nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False),
        "bn2": nn.BatchNorm2d(channels),
        "relu2": nn.ReLU(inplace=True),
        "conv3": nn.Conv2d(channels, channels * _EXPANSION, 1, bias=False),
        "bn3": nn.BatchNorm2d(channels * _EXPANSION),
    }


def _shortcut(
    in_channels: int, channels: int, stride: int, before: str, convolutions: dict[str, Any]
) -> dict[str, Any]:
    last = list(convolutions)[-1]
    if stride == 1 and in_channels == channels:
        return {"add": (operator.add, [last, before]), "relu": nn.ReLU(inplace=True)}
    return {
        "downsample": {
            "0": (nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), before),
            "1": nn.BatchNorm2d(channels),
        },
        "add": (operator.add, [last, "downsample.1"]),
        "relu": nn.ReLU(inplace=True),
    }
