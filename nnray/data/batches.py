"""Batches cut by indexing from tensors that lie on the training device: for small images much faster than a DataLoader.

Both classes stand where Lightning, or a plain loop, expects a DataLoader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nnray.data.random_state import derive_seed, isolated_random_state
from nnray.data.splits import LabelledImages
from nnray.errors import DataError

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W), float32, normalized; labels (B,), int64."""


class Normalization(NamedTuple):
    """The affine map ``(images - offset) * scale`` of each channel.

    Attributes:
        offset: (C, 1, 1) or (1, 1, 1), float32.
        scale: Like ``offset``.
    """

    offset: Tensor
    scale: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Return new normalized images, float32; the ones given, (B, C, H, W) of any real dtype, stay as they are."""
        return images.to(torch.float32).sub(self.offset).mul_(self.scale)


@dataclass(frozen=True)
class Share:
    """The part of the images that one of several workers takes: they are told in parts that follow one another.

    Attributes:
        worker: Which worker, from 0.
        workers: How many there are.
    """

    worker: int = 0
    workers: int = 1

    def of(self, images: int) -> slice:
        """Return the worker's part of so many images; the parts differ by one image at most."""
        return slice(self.worker * images // self.workers, (self.worker + 1) * images // self.workers)


EVERYTHING = Share()


class OrderedBatches:
    """The batches of an evaluation: all images in their order, never augmented; the last batch may be smaller.

    Args:
        data: Images and labels, on the device on which the batches are wanted.
        batch_size: Images in a batch.
        normalize: What is done to the images of each batch; on the device of ``data``.
        share: The part of the data that this process evaluates.
    """

    def __init__(
        self, data: LabelledImages, batch_size: int, normalize: Normalization, share: Share = EVERYTHING
    ) -> None:
        part = share.of(len(data.labels))
        self.data = LabelledImages(data.images[part], data.labels[part])
        self.batch_size = batch_size
        self.normalize = normalize

    def __len__(self) -> int:
        return math.ceil(len(self.data.labels) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in zip(*(tensor.split(self.batch_size) for tensor in self.data), strict=True):
            yield self.normalize(images), labels.clone()  # a batch is the receiver's; a view would be everybody's


class ShuffledBatches:
    """The batches of a training epoch: every image once, in an order and with augmentations drawn anew each epoch.

    The order is a function of ``(seed, epoch)``, and the augmentation of a batch one of ``(seed, epoch, index of the
    batch)``. Neither depends on the state of the global random generators, nor changes it, and the order does not
    depend on the device. The epoch is read when the first batch is asked for.

    An epoch can be continued in its middle: `state_dict` says where the iteration that ran last stands, and after
    `load_state_dict` the next iteration begins there if it is one of the same epoch. Lightning does both with its own
    checkpoints.

    Args:
        data: Images and labels, on the device on which the batches are wanted.
        batch_size: Images in a batch.
        normalize: What is done to the images of each batch, behind the augmentations; on the device of ``data``.
        seed: Rules order and augmentations.
        augment: Modules that are applied in this order to the images of each batch, in the dtype of ``data``. They may
            draw from the global generators of Python, NumPy and torch.
        drop_last: Whether a last batch that is smaller than the others is left out.
        share: The part of each batch that this process trains on. Batches are drawn and augmented as a whole, so that
            all workers together see what one would.

    Raises:
        DataError: If a batch is too small for each worker to have a part of it.
    """

    def __init__(
        self,
        data: LabelledImages,
        batch_size: int,
        normalize: Normalization,
        seed: int,
        augment: Sequence[nn.Module] = (),
        drop_last: bool = False,
        share: Share = EVERYTHING,
    ) -> None:
        self.data = data
        self.share = share
        self.batch_size = batch_size
        self.normalize = normalize
        self.seed = seed
        self.augment = tuple(augment)
        self.drop_last = drop_last
        self.epoch = 0
        self._position = (0, 0)  # epoch and index of the batch that comes next
        self._continue_at: tuple[int, int] | None = None
        smallest = min((self.images_in(index) for index in (0, len(self) - 1) if len(self)), default=share.workers)
        if smallest < share.workers:
            raise DataError(
                f"a training batch of {smallest} images cannot be divided among {share.workers} workers: choose "
                "another batch_size, or drop_last"
            )

    def images_in(self, index: int) -> int:
        """Return how many images the batch at ``index`` has, those of all workers together."""
        return min(self.batch_size, len(self.data.labels) - index * self.batch_size)

    @property
    def sampler(self) -> ShuffledBatches:
        """Itself: Lightning announces each epoch by ``loader.sampler.set_epoch(epoch)``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the iterations that begin from now on."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch that was iterated last and the index of its next batch (`len(self)` at its end)."""
        epoch, batch = self._continue_at or self._position
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next iteration continue at that batch, unless `set_epoch` chooses another epoch before it begins."""
        self.epoch = state_dict["epoch"]
        self._continue_at = (state_dict["epoch"], state_dict["batch"])

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, also while one is continued in its middle."""
        batches = len(self.data.labels) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def order(self, epoch: int) -> Tensor:
        """Return the order of the images in ``epoch``: a permutation, (N,), int64, on the device of the data."""
        # Drawn on the CPU: a GPU's generator would make another permutation of the same seed.
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed, epoch))
        permutation = torch.randperm(len(self.data.labels), generator=generator, device="cpu")
        return permutation.to(self.data.labels.device)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: nothing below runs before the first batch is asked for. Lightning creates the iterator first and
        # sets the epoch and the state afterwards.
        epoch, start = self.epoch, 0
        if self._continue_at is not None:
            start = self._continue_at[1] if self._continue_at[0] == epoch else 0
            self._continue_at = None
        images, labels = self.data
        chosen = self.order(epoch).split(self.batch_size)
        for index in range(start, len(self)):
            own = self.share.of(len(chosen[index]))
            if self.augment:
                batch = images.index_select(0, chosen[index])
                with isolated_random_state(derive_seed("augmentation", self.seed, epoch, index), images.device):
                    for module in self.augment:
                        batch = module(batch)
                batch = batch[own]
            else:
                batch = images.index_select(0, chosen[index][own])
            self._position = (epoch, index + 1)
            yield self.normalize(batch), labels.index_select(0, chosen[index][own])
