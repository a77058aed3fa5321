"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017): 70,000 grey images of 28x28 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnray.data.torchvision_files import TorchvisionDataModule


class MNIST(TorchvisionDataModule):
    """MNIST: handwritten digits, 60,000 training and 10,000 test images. No augmentation by default."""

    in_channels = 1
    num_classes = 10
    image_size = 28
    mean = (0.1307,)
    std = (0.3081,)
    folder = "MNIST/raw"

    def read_part(self, root: Path, train: bool, download: bool) -> Any:
        """Return `torchvision.datasets.MNIST`."""
        from torchvision import datasets

        return datasets.MNIST(root, train=train, download=download)


class FashionMNIST(TorchvisionDataModule):
    """Fashion-MNIST: articles of clothing, 60,000 training and 10,000 test images. No augmentation by default."""

    in_channels = 1
    num_classes = 10
    image_size = 28
    mean = (0.2860,)
    std = (0.3530,)
    folder = "FashionMNIST/raw"

    def read_part(self, root: Path, train: bool, download: bool) -> Any:
        """Return `torchvision.datasets.FashionMNIST`."""
        from torchvision import datasets

        return datasets.FashionMNIST(root, train=train, download=download)
