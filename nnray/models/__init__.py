"""The zoo: architectures for small images, each written as a graph with a name for every layer."""

from nnray.models.mlp import MLP
from nnray.models.resnet import ResNet
from nnray.models.resnet9 import ResNet9
from nnray.models.simple_cnn import SimpleCNN

__all__ = ["MLP", "ResNet", "ResNet9", "SimpleCNN"]
