"""Residual networks for small images."""

from __future__ import annotations

import operator
from typing import Any, final

from torch import nn

from nnray.errors import ConfigurationError
from nnray.graph import GraphModule
from nnray.layers import PaddedShortcut
from nnray.models.arguments import check_at_least


@final
class ResNet(GraphModule):
    """The residual network for CIFAR of He et al. 2015, section 4.2.

    A 3x3 convolution, three stages of n basic blocks with `width`, 2 `width` and 4 `width` channels, the second and
    third stage at half the resolution of the one before, global average pooling and a linear layer: depth 6n + 2. As in
    the paper, convolutions have no bias, each is followed by batch normalisation, and shortcuts have no parameters:
    where a block changes the shape, its shortcut subsamples and appends zero channels (option A). Convolutions start as
    in He et al. 2015b.

    Layers: `stem.{conv,bn,relu}`, `stage{1,2,3}.block{0,..,n-1}.{conv1,bn1,relu1,conv2,bn2,shortcut,add,relu}`
    (`shortcut` only where the shape changes), `pool`, `flatten`, `linear`.

    Args:
        depth: Number of layers with weights, 6n + 2: 8, 14, 20, 26, 32, 44, 56, 110, ...
        width: Number of channels of the first stage; 16 in the paper.
        in_channels: Number of channels of the images, which may have any size.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive, or the depth is not 6n + 2.

    References:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015. https://arxiv.org/abs/1512.03385
        He, Zhang, Ren, Sun: Delving Deep into Rectifiers, 2015b. https://arxiv.org/abs/1502.01852
    """

    def __init__(self, depth: int = 20, width: int = 16, in_channels: int = 3, num_classes: int = 10) -> None:
        check_at_least(1, depth=depth, width=width, in_channels=in_channels, num_classes=num_classes)
        blocks, rest = divmod(depth - 2, 6)
        if rest or not blocks:
            nearest = "8" if depth < 8 else f"{6 * blocks + 2} and {6 * blocks + 8}"
            raise ConfigurationError(f"depth must be 6n + 2, not {depth}; nearest: {nearest}")
        super().__init__(
            {
                "stem": {
                    "conv": nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                    "bn": nn.BatchNorm2d(width),
                    "relu": nn.ReLU(inplace=True),
                },
                "stage1": _stage(blocks, width, width, before="stem.relu"),
                "stage2": _stage(blocks, width, 2 * width, before=f"stage1.block{blocks - 1}.relu"),
                "stage3": _stage(blocks, 2 * width, 4 * width, before=f"stage2.block{blocks - 1}.relu"),
                "pool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "linear": nn.Linear(4 * width, num_classes),
            }
        )
        self.example_shape = (in_channels, 32, 32)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stage(blocks: int, in_channels: int, channels: int, before: str) -> dict[str, Any]:
    stage = {"block0": _block(in_channels, channels, before)}
    for index in range(1, blocks):
        stage[f"block{index}"] = _block(channels, channels, f"block{index - 1}.relu")
    return stage


def _block(in_channels: int, channels: int, before: str) -> dict[str, Any]:
    stride = channels // in_channels
    block: dict[str, Any] = {
        "conv1": nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(channels),
        "relu1": nn.ReLU(inplace=True),
        "conv2": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        "bn2": nn.BatchNorm2d(channels),
    }
    if stride != 1:
        block["shortcut"] = (PaddedShortcut(channels - in_channels, stride), before)
    block["add"] = (operator.add, ["bn2", "shortcut" if stride != 1 else before])
    block["relu"] = nn.ReLU(inplace=True)
    return block
