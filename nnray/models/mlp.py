"""The multilayer perceptron."""

from __future__ import annotations

from typing import Any, final

from torch import nn

from nnray.graph import GraphModule
from nnray.models.arguments import check_at_least


@final
class MLP(GraphModule):
    """A multilayer perceptron on flattened images: `depth` hidden layers of `width` ReLU units, then a linear layer.

    Layers: `flatten`, `hidden{1,..,depth}.{linear,relu}`, `linear`.

    Args:
        width: Number of units of each hidden layer.
        depth: Number of hidden layers; 0 makes a linear classifier.
        in_channels: Number of channels of the images.
        image_size: Height and width of the images in pixels.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: A number is not positive, or the depth is negative.
    """

    def __init__(
        self, width: int = 128, depth: int = 2, in_channels: int = 3, image_size: int = 32, num_classes: int = 10
    ) -> None:
        check_at_least(1, width=width, in_channels=in_channels, image_size=image_size, num_classes=num_classes)
        check_at_least(0, depth=depth)
        architecture: dict[str, Any] = {"flatten": nn.Flatten()}
        features = in_channels * image_size**2
        for index in range(depth):
            architecture[f"hidden{index + 1}"] = {"linear": nn.Linear(features, width), "relu": nn.ReLU(inplace=True)}
            features = width
        architecture["linear"] = nn.Linear(features, num_classes)
        super().__init__(architecture)
        self.example_shape = (in_channels, image_size, image_size)
