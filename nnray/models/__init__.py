"""The zoo: architectures for images, each written as a graph with a name for every layer."""

from nnray.models.densenet import DenseNet
from nnray.models.imagenet_resnet import ImageNetResNet
from nnray.models.mlp import MLP
from nnray.models.mlp_mixer import MLPMixer
from nnray.models.resnet import ResNet
from nnray.models.resnet9 import ResNet9
from nnray.models.simple_cnn import SimpleCNN
from nnray.models.tiny10 import Tiny10
from nnray.models.vgg import VGG
from nnray.models.vit import ViT
from nnray.models.wide_resnet import WideResNet

__all__ = [
    "MLP",
    "VGG",
    "DenseNet",
    "ImageNetResNet",
    "MLPMixer",
    "ResNet",
    "ResNet9",
    "SimpleCNN",
    "Tiny10",
    "ViT",
    "WideResNet",
]
