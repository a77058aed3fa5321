"""CIFAR-10 and CIFAR-100: 60,000 colour photographs of 32x32 pixels.

Krizhevsky, 2009, "Learning Multiple Layers of Features from Tiny Images".
"""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import Any

import torch

from nnray.data.augmentation import RandomCrop, RandomHorizontalFlip
from nnray.data.torchvision_files import TorchvisionDataModule


class _CIFAR(TorchvisionDataModule, ABC):
    """What the two have in common."""

    in_channels = 3
    image_size = 32

    @classmethod
    def default_augmentation(cls) -> list[torch.nn.Module]:
        """Return random crops after padding by 4 pixels, and random mirroring."""
        return [RandomCrop(padding=4), RandomHorizontalFlip()]


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test images in ten classes.

    The files are pickles; torchvision checks their MD5 sums before it reads them. Where ``augment`` is None, training
    images are padded by 4 pixels, cropped at random and mirrored at random, each on its own.
    """

    num_classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    folder = "cifar-10-batches-py"

    def read_part(self, root: Path, train: bool, download: bool) -> Any:
        """Return `torchvision.datasets.CIFAR10`."""
        from torchvision import datasets

        return datasets.CIFAR10(root, train=train, download=download)


class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test images in a hundred classes.

    The files are pickles; torchvision checks their MD5 sums before it reads them. Where ``augment`` is None, training
    images are padded by 4 pixels, cropped at random and mirrored at random, each on its own.
    """

    num_classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    folder = "cifar-100-python"

    def read_part(self, root: Path, train: bool, download: bool) -> Any:
        """Return `torchvision.datasets.CIFAR100`."""
        from torchvision import datasets

        return datasets.CIFAR100(root, train=train, download=download)
