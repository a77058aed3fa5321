"""Wide residual networks for small images."""

from __future__ import annotations

import operator
from typing import Any, final

from torch import nn

from nnray.errors import ConfigurationError
from nnray.graph import GraphModule
from nnray.models.arguments import check_at_least, check_probability

_BASE_WIDTH = 16


@final
class WideResNet(GraphModule):
    """The wide residual network of Zagoruyko & Komodakis 2016, WRN-`depth`-`widen_factor`.

    A 3x3 convolution with 16 channels, three stages of n pre-activation blocks (batch normalisation, ReLU, convolution,
    twice) with 16k, 32k and 64k channels, k being `widen_factor`, the second and third stage at half the resolution of
    the one before; batch normalisation, ReLU, global average pooling and a linear layer: depth 6n + 4. Where a block
    changes the shape, its shortcut is a 1x1 convolution of the block's first ReLU, as in the authors' code.

    Layers: `conv`, `stage{1,2,3}.block{0,..,n-1}.{bn1,relu1,conv1,bn2,relu2,[dropout],conv2,[shortcut],add}`
    (`dropout` only if there is some, `shortcut` only where the shape changes), `bn`, `relu`, `pool`, `flatten`,
    `linear`.

    Args:
        depth: Number of convolutions, shortcuts included, 6n + 4: 10, 16, 22, 28, 40, ...
        widen_factor: How many times wider than a plain residual network it is.
        dropout: Probability with which values between the convolutions of a block are set to zero in training.
        in_channels: Number of channels of the images, which may have any size.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is out of its range, or the depth is not 6n + 4.

    References:
        Zagoruyko, Komodakis: Wide Residual Networks, 2016. https://arxiv.org/abs/1605.07146
        https://github.com/szagoruyko/wide-residual-networks
    """

    def __init__(
        self,
        depth: int = 16,
        widen_factor: int = 4,
        dropout: float = 0.0,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        check_at_least(1, depth=depth, widen_factor=widen_factor, in_channels=in_channels, num_classes=num_classes)
        check_probability(dropout=dropout)
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            nearest = "10" if depth < 10 else f"{6 * blocks + 4} and {6 * blocks + 10}"
            raise ConfigurationError(f"depth must be 6n + 4, not {depth}; nearest: {nearest}")
        width = _BASE_WIDTH * widen_factor
        super().__init__(
            {
                "conv": nn.Conv2d(in_channels, _BASE_WIDTH, 3, padding=1, bias=False),
                "stage1": _stage(blocks, _BASE_WIDTH, width, 1, dropout, before="conv"),
                "stage2": _stage(blocks, width, 2 * width, 2, dropout, before=f"stage1.block{blocks - 1}.add"),
                "stage3": _stage(blocks, 2 * width, 4 * width, 2, dropout, before=f"stage2.block{blocks - 1}.add"),
                "bn": nn.BatchNorm2d(4 * width),
                "relu": nn.ReLU(inplace=True),
                "pool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "linear": nn.Linear(4 * width, num_classes),
            }
        )
        self.example_shape = (in_channels, 32, 32)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)


def _stage(blocks: int, in_channels: int, channels: int, stride: int, dropout: float, before: str) -> dict[str, Any]:
    stage = {"block0": _block(in_channels, channels, stride, dropout, before)}
    for index in range(1, blocks):
        stage[f"block{index}"] = _block(channels, channels, 1, dropout, f"block{index - 1}.add")
    return stage


def _block(in_channels: int, channels: int, stride: int, dropout: float, before: str) -> dict[str, Any]:
    block: dict[str, Any] = {
        "bn1": (nn.BatchNorm2d(in_channels), before),
        "relu1": nn.ReLU(inplace=True),
        "conv1": nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
        "bn2": nn.BatchNorm2d(channels),
        "relu2": nn.ReLU(inplace=True),
    }
    if dropout:
        block["dropout"] = nn.Dropout(dropout)
    block["conv2"] = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    has_same_shape = stride == 1 and in_channels == channels
    if not has_same_shape:
        block["shortcut"] = (nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), "relu1")
    block["add"] = (operator.add, ["conv2", before if has_same_shape else "shortcut"])
    return block
