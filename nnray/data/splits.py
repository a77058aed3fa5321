"""A loaded data set: labelled images for training, validation and test, and what identifies them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from nnray.errors import DataError

# The seed of every fixed split. It is no argument: all trials of a study must be judged on the same images.
_SPLIT_SEED = 20_240_229


class LabelledImages(NamedTuple):
    """Images and their labels, in the same order.

    Attributes:
        images: (N, C, H, W), any real dtype, usually uint8.
        labels: (N,), int64.
    """

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> LabelledImages:
        """Return the same images and labels on ``device``, without a copy if they are there already."""
        return LabelledImages(self.images.to(device), self.labels.to(device))

    def select(self, indices: Tensor) -> LabelledImages:
        """Return a copy of the images and labels at ``indices`` (int64, one axis), in that order."""
        return LabelledImages(self.images.index_select(0, indices), self.labels.index_select(0, indices))


@dataclass(frozen=True)
class Splits:
    """The parts of one data set, all on one device. Nobody may modify the tensors: trials share them.

    Attributes:
        train: Images to train on.
        val: Images to choose by.
        test: Images to report on, or None where a data set has none.
        classes: Name of each class, by label.
    """

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages | None
    classes: tuple[str, ...]

    def to(self, device: torch.device) -> Splits:
        """Return the same data set on ``device``, without a copy if it is there already."""
        test = None if self.test is None else self.test.to(device)
        moved = Splits(self.train.to(device), self.val.to(device), test, self.classes)
        if "fingerprint" in self.__dict__:  # the content is the same, so it need not be hashed again
            moved.__dict__["fingerprint"] = self.fingerprint
        return moved

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content: shapes, dtypes and values of every part, and the order of the classes."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for name, part in (("train", self.train), ("val", self.val), ("test", self.test)):
            for field, tensor in part._asdict().items() if part is not None else ():
                array = tensor.contiguous().cpu().numpy()
                digest.update(f"\n{name}.{field} {array.dtype.str} {array.shape}\n".encode())
                digest.update(array.data)
        return digest.hexdigest()


def split_stratified(data: LabelledImages, size: int) -> tuple[LabelledImages, LabelledImages]:
    """Split off ``size`` images in which each class has its share, to within one image.

    The choice is random but fixed: it depends on the labels and ``size`` alone. Both parts keep the order of ``data``.

    Args:
        data: N labelled images.
        size: How many to split off, 0 < size < N.

    Returns:
        The N - size images that stay and the ``size`` images that are split off.

    Raises:
        DataError: If one of the two parts would be empty.
    """
    total = len(data.labels)
    if not 0 < size < total:
        raise DataError(f"cannot split {size} of {total} images off: both parts must have images")
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    shuffled = torch.randperm(total, generator=generator, device="cpu")
    # Shuffled inside each class, one class after another: every (N / size)-th image then takes of each class its share.
    by_class = shuffled[torch.argsort(data.labels.cpu()[shuffled], stable=True)]
    taken = torch.zeros(total, dtype=torch.bool, device="cpu")
    taken[by_class[(2 * torch.arange(size, device="cpu") + 1) * total // (2 * size)]] = True
    return data.select((~taken).nonzero().squeeze(1)), data.select(taken.nonzero().squeeze(1))
