"""The base of data modules whose data set is held in memory, on the training device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from nnray.data.batches import Normalization, OrderedBatches, Share, ShuffledBatches
from nnray.data.cache import cached_splits
from nnray.data.random_state import isolated_random_state
from nnray.data.splits import LabelledImages, Splits
from nnray.errors import DataError

# Without gradients a network needs a fraction of the memory, and larger batches are faster.
_EVALUATION_FACTOR = 4


class InMemoryDataModule(LightningDataModule, ABC):
    """A data set in memory, from which batches are cut on the device that the trainer trains on (else on the CPU).

    A batch is a pair: images (B, C, H, W), float32, normalized by `mean` and `std`; and labels (B,), int64. Training
    batches come in an order, and with augmentations, that are functions of ``seed`` and the epoch. Validation and test
    images come in their fixed order, never augmented, in batches four times as large.

    A process loads a data set once: modules of the same class and `splits_key` share its tensors, which nobody may
    modify. It is loaded when it is first needed; calling `setup` before is allowed, not required.

    A subclass says what it holds (`in_channels`, `num_classes`, `image_size`, `mean`, `std`, `max_value`), how it is
    loaded (`load_splits`) and what that depends on (`splits_key`).

    Args:
        batch_size: Images in a training batch.
        seed: Rules the order and the augmentations of the training images, nothing else.
        augment: Modules applied in turn to the images of each training batch, before they are normalized. None means
            the class's own `default_augmentation` (none, unless the class says otherwise), an empty list means none.
            Mind that torchvision's own v2 transforms draw once per batch, not for each image; `RandomCrop` and
            `RandomHorizontalFlip` of `nnray.data` draw for each image.
        drop_last: Whether the last batch of a training epoch is left out if it is smaller than the others.
    """

    #: Arguments of the constructor that cannot change the result of a training, such as where the files lie.
    unsigned_arguments: ClassVar[frozenset[str]] = frozenset()
    #: Mean and standard deviation of each channel (or one for all), with pixels scaled to the range 0 to 1.
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    #: The pixel value that counts as 1.
    max_value: ClassVar[float] = 255.0

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        augment: list[torch.nn.Module] | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self.augment = self.default_augmentation() if augment is None else list(augment)
        self.drop_last = drop_last
        self._splits: Splits | None = None

    @property
    @abstractmethod
    def in_channels(self) -> int:
        """Channels of the images."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes; labels are 0 to ``num_classes - 1``."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square images in pixels."""

    @abstractmethod
    def load_splits(self) -> Splits:
        """Read the whole data set into memory, on the CPU.

        The result may depend on nothing but the class and `splits_key`.

        Raises:
            DataError: If the data set is not there or not in the form that the class expects.
        """

    @abstractmethod
    def splits_key(self) -> tuple[Hashable, ...]:
        """Return the arguments that the result of `load_splits` depends on: modules with equal ones share it."""

    @classmethod
    def default_augmentation(cls) -> list[torch.nn.Module]:
        """Return the augmentations that are used where none are given."""
        return []

    @property
    def splits(self) -> Splits:
        """The loaded data set before augmentation and normalization; its tensors are shared, so don't modify them."""
        if self._splits is None:
            self.setup()
        assert self._splits is not None
        return self._splits

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the data set's content, the same in every process; loads the data set."""
        return self.splits.fingerprint

    def setup(self, stage: str | None = None) -> None:
        """Hold the data set on the trainer's device, or on the CPU without a trainer, whatever the stage.

        Raises:
            DataError: As `load_splits` does, or if what it gave does not fit the class.
        """
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if self._splits is not None and self._splits.train.images.device == device:
            return
        self._splits = cached_splits((type(self), self.splits_key()), device, self._load_checked)

    def train_dataloader(self) -> ShuffledBatches:
        """Return the training batches; where several workers train one network, this one's part of each."""
        train = self.splits.train
        augment = [module.to(train.images.device) for module in self.augment]
        return ShuffledBatches(
            train, self.batch_size, self._normalization(), self.seed, augment, self.drop_last, self._share()
        )

    def val_dataloader(self) -> OrderedBatches:
        """Return the validation batches."""
        return self._evaluation_batches(self.splits.val)

    def test_dataloader(self) -> OrderedBatches:
        """Return the test batches.

        Raises:
            DataError: If the data set has no test images.
        """
        if self.splits.test is None:
            raise DataError(f"{type(self).__name__} has no test images here")
        return self._evaluation_batches(self.splits.test)

    def evaluation_dataloader(self, split: Literal["train", "val", "test"]) -> OrderedBatches:
        """Return all images of a split in their fixed order, the training images too, never augmented.

        Raises:
            DataError: If the data set has no test images and they are asked for.
        """
        if split == "train":
            return self._evaluation_batches(self.splits.train)
        return self.val_dataloader() if split == "val" else self.test_dataloader()

    def _evaluation_batches(self, data: LabelledImages) -> OrderedBatches:
        return OrderedBatches(data, _EVALUATION_FACTOR * self.batch_size, self._normalization(), self._share())

    def _share(self) -> Share:
        return Share() if self.trainer is None else Share(self.trainer.global_rank, self.trainer.world_size)

    def _normalization(self) -> Normalization:
        def per_channel(values: list[float]) -> Tensor:
            device = self.splits.train.images.device
            return torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1)

        return Normalization(
            offset=per_channel([mean * self.max_value for mean in self.mean]),
            scale=per_channel([1 / (std * self.max_value) for std in self.std]),
        )

    def _load_checked(self) -> Splits:
        # Data sets may draw random numbers when they are read; a trial that finds the data loaded would go on with
        # others than the trial that loads it.
        with isolated_random_state(0, torch.device("cuda" if torch.cuda.is_initialized() else "cpu")):
            splits = self.load_splits()
        shape = (self.in_channels, self.image_size, self.image_size)
        for name, part in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
            if part is None:
                continue
            if part.images.shape != (len(part.labels), *shape) or part.labels.dtype != torch.int64:
                raise DataError(
                    f"{type(self).__name__} should have {name} images of shape (N, {', '.join(map(str, shape))}) and N "
                    f"int64 labels, but has {tuple(part.images.shape)} and {len(part.labels)} {part.labels.dtype}"
                )
            if len(part.labels) == 0:
                raise DataError(f"{type(self).__name__} has no {name} images")
            if not 0 <= int(part.labels.min()) <= int(part.labels.max()) < self.num_classes:
                raise DataError(
                    f"{type(self).__name__} should have {name} labels from 0 to {self.num_classes - 1}, but has "
                    f"{int(part.labels.min())} to {int(part.labels.max())}"
                )
        return splits
