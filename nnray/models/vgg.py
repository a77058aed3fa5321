"""VGG networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

from nnray.errors import ConfigurationError
from nnray.graph import GraphModule
from nnray.models.arguments import check_at_least, check_probability

# Convolutions per block: configurations A, B, D and E of the paper.
_BLOCKS = {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}
_CHANNELS = [1, 2, 4, 8, 8]  # of a block, in units of the width


@final
class VGG(GraphModule):
    """The network of Simonyan & Zisserman 2014, by default with a head for small images.

    Five blocks of 3x3 convolutions, each with a ReLU, with `width`, 2, 4, 8 and 8 `width` channels; 2x2 max pooling
    after each block; average pooling to `grid` x `grid` cells, two hidden layers with `hidden` units, each with a ReLU
    and dropout, and a linear layer. Poolings round up, so that images may have any size.

    `VGG(depth, grid=7, hidden=4096, num_classes=1000)` is torchvision's network of that depth for images whose size is
    a multiple of 32: with its weights (`torchvision_state_dict`) the outputs are the same, bit for bit. A grid of more
    than one cell has no deterministic backward pass on GPUs.

    Layers: `block{1,..,5}.{conv1,[bn1],relu1,conv2,[bn2],relu2,..,pool}` (`bn` only with `batch_norm`), `pool`,
    `flatten`, `head.{linear1,relu1,dropout1,linear2,relu2,dropout2,linear3}`.

    Args:
        depth: Number of layers with weights: 11, 13, 16 or 19.
        width: Number of channels of the first block; 64 in the paper.
        batch_norm: Whether each convolution is followed by batch normalisation.
        grid: Number of cells in each direction that the last block's values are pooled to.
        hidden: Number of units of each hidden layer of the head.
        dropout: Probability with which hidden units of the head are set to zero in training.
        in_channels: Number of channels of the images.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is out of its range, or there is no such depth.

    References:
        Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014.
        https://arxiv.org/abs/1409.1556
        https://github.com/pytorch/vision/blob/main/torchvision/models/vgg.py
    """

    def __init__(
        self,
        depth: int = 16,
        width: int = 64,
        batch_norm: bool = False,
        grid: int = 1,
        hidden: int = 512,
        dropout: float = 0.5,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        check_at_least(1, width=width, grid=grid, hidden=hidden, in_channels=in_channels, num_classes=num_classes)
        check_probability(dropout=dropout)
        if depth not in _BLOCKS:
            raise ConfigurationError(f"depth must be one of {', '.join(map(str, _BLOCKS))}, not {depth!r}")
        architecture: dict[str, Any] = {}
        channels = in_channels
        for index, (convolutions, factor) in enumerate(zip(_BLOCKS[depth], _CHANNELS, strict=True), start=1):
            architecture[f"block{index}"] = _block(convolutions, channels, factor * width, batch_norm)
            channels = factor * width
        architecture |= {
            "pool": nn.AdaptiveAvgPool2d(grid),
            "flatten": nn.Flatten(),
            "head": {
                "linear1": nn.Linear(channels * grid**2, hidden),
                "relu1": nn.ReLU(inplace=True),
                "dropout1": nn.Dropout(dropout),
                "linear2": nn.Linear(hidden, hidden),
                "relu2": nn.ReLU(inplace=True),
                "dropout2": nn.Dropout(dropout),
                "linear3": nn.Linear(hidden, num_classes),
            },
        }
        super().__init__(architecture)
        self.example_shape = (in_channels, 32, 32)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def torchvision_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the entries of a state dict of torchvision's VGG of the same form, so that this model can load it.

        Torchvision numbers the layers in two sequences, `features` and `classifier`, where this model has names.
        """
        features = [name for name in self.names if name.startswith("block")]
        head = [name for name in self.names if name.startswith("head")]
        names = {f"features.{index}": name for index, name in enumerate(features)}
        names |= {f"classifier.{index}": name for index, name in enumerate(head)}
        split = {key: key.rpartition(".") for key in state_dict}
        return {f"{names.get(layer, layer)}.{entry}": state_dict[key] for key, (layer, _, entry) in split.items()}


def _block(convolutions: int, in_channels: int, channels: int, batch_norm: bool) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for index in range(1, convolutions + 1):
        block[f"conv{index}"] = nn.Conv2d(in_channels if index == 1 else channels, channels, 3, padding=1)
        if batch_norm:
            block[f"bn{index}"] = nn.BatchNorm2d(channels)
        block[f"relu{index}"] = nn.ReLU(inplace=True)
    return {**block, "pool": nn.MaxPool2d(2, ceil_mode=True)}
