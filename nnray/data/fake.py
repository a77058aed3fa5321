"""Random images: for tests, and to time training without a data set."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from nnray.data.in_memory import InMemoryDataModule
from nnray.data.splits import LabelledImages, Splits
from nnray.errors import DataError


class FakeData(InMemoryDataModule):
    """torchvision's FakeData: noise with random labels, the same in every process, so there is nothing to learn.

    Validation and test have a fifth of the training size each. No augmentation by default.

    Args:
        size: Number of training images.
        image_size: Side of the square images in pixels.
        num_classes: Number of classes.
        in_channels: Channels of the images, 1 to 4.
        batch_size: Images in a training batch.
        seed: Rules the order and the augmentations of the training images, nothing else.
        augment: Modules applied in turn to the images of each training batch; see `InMemoryDataModule`.
        drop_last: Whether the last batch of a training epoch is left out if it is smaller than the others.
    """

    mean = (0.5,)
    std = (0.29,)

    def __init__(
        self,
        size: int = 1000,
        image_size: int = 32,
        num_classes: int = 10,
        in_channels: int = 3,
        batch_size: int = 128,
        seed: int = 0,
        augment: list[torch.nn.Module] | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, augment, drop_last)
        if min(size, image_size, num_classes) < 1 or in_channels not in range(1, 5):
            raise DataError(
                "FakeData needs size, image_size and num_classes of at least 1 and in_channels from 1 to 4, got "
                f"size={size}, image_size={image_size}, num_classes={num_classes}, in_channels={in_channels}"
            )
        self.size = size
        self._image_size = image_size
        self._num_classes = num_classes
        self._in_channels = in_channels

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return self._image_size

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._num_classes

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return self._in_channels

    def splits_key(self) -> tuple[Hashable, ...]:
        """Return what the images depend on."""
        return (self.size, self.image_size, self.num_classes, self.in_channels)

    def load_splits(self) -> Splits:
        """Draw the images."""
        evaluation_size = max(self.size // 5, 1)
        return Splits(
            train=self._draw(self.size, offset=0),
            val=self._draw(evaluation_size, offset=self.size),
            test=self._draw(evaluation_size, offset=self.size + evaluation_size),
            classes=tuple(str(label) for label in range(self.num_classes)),
        )

    def _draw(self, size: int, offset: int) -> LabelledImages:
        from torchvision.datasets import FakeData as TorchvisionFakeData
        from torchvision.transforms.v2.functional import pil_to_tensor

        shape = (self.in_channels, self.image_size, self.image_size)
        data = TorchvisionFakeData(size, shape, self.num_classes, transform=pil_to_tensor, random_offset=offset)
        images, labels = zip(*(data[index] for index in range(size)), strict=True)
        return LabelledImages(torch.stack(images), torch.tensor(labels))
