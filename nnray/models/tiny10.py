"""The ten-layer network of Dr. Frankenstein."""

from __future__ import annotations

import functools
from typing import Any, final

import torch
from torch import nn

from nnray.graph import GraphModule
from nnray.models.arguments import check_at_least

# Channels in units of the width, kernel size and stride of each convolution.
_CONVOLUTIONS = [(1, 3, 1), (1, 3, 1), (2, 3, 2), (2, 3, 1), (2, 3, 1), (4, 3, 2), (4, 3, 1), (4, 1, 1)]


@final
class Tiny10(GraphModule):
    """The plain ten-layer network, Tiny-10, that Csiszárik et al. 2021 match and stitch.

    Eight convolutions without padding (the last one 1x1), each followed by batch normalisation and a ReLU, with `width`
    channels twice, 2 `width` thrice and 4 `width` thrice, the first of each of the latter groups with stride 2; global
    average pooling and a linear layer. Entries of the state dict are those of the authors' code.

    Layers: `conv1`, `bn1`, `relu1`, ..., `conv8`, `bn8`, `relu8`, `pool`, `fc`.

    Args:
        width: Number of channels of the first convolution; 16 in the original.
        in_channels: Number of channels of the images, which have at least 27x27 pixels.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive.

    References:
        Csiszárik, Kőrösi-Szabó, Matszangosz, Papp, Varga: Similarity and Matching of Neural Network Representations,
        2021. https://arxiv.org/abs/2110.14633
        https://github.com/renyi-ai/drfrankenstein (`src/models/classifiers/tiny10.py`)
    """

    def __init__(self, width: int = 16, in_channels: int = 3, num_classes: int = 10) -> None:
        check_at_least(1, width=width, in_channels=in_channels, num_classes=num_classes)
        architecture: dict[str, Any] = {}
        channels = in_channels
        for index, (factor, kernel_size, stride) in enumerate(_CONVOLUTIONS, start=1):
            before, channels = channels, factor * width
            architecture[f"conv{index}"] = nn.Conv2d(before, channels, kernel_size, stride)
            architecture[f"bn{index}"] = nn.BatchNorm2d(channels)
            architecture[f"relu{index}"] = nn.ReLU(inplace=True)
        architecture["pool"] = functools.partial(torch.mean, dim=(-2, -1))
        architecture["fc"] = nn.Linear(channels, num_classes)
        super().__init__(architecture)
        self.example_shape = (in_channels, 32, 32)
