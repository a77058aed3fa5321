"""The handwritten digits that come with scikit-learn: real data that needs no download."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from nnray.data.in_memory import InMemoryDataModule
from nnray.data.splits import LabelledImages, Splits, split_stratified


class Digits(InMemoryDataModule):
    """scikit-learn's digits: 1,797 grey images of 8x8 pixels with values 0 to 16, ten classes.

    They are the test part of the "Optical Recognition of Handwritten Digits" data set of the UCI repository
    (Alpaydin and Kaynak, 1998). The split is fixed and stratified: 1,280 images to train on (ten batches of 128), 256
    for validation, 261 for test. No augmentation by default.
    """

    in_channels = 1
    num_classes = 10
    image_size = 8
    mean = (0.3053,)
    std = (0.3760,)
    max_value = 16.0

    def splits_key(self) -> tuple[Hashable, ...]:
        """There is only one such data set."""
        return ()

    def load_splits(self) -> Splits:
        """Read the digits from scikit-learn's own files."""
        from sklearn.datasets import load_digits  # takes a second to import, and only this data set needs it

        digits = load_digits()
        images = torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1)
        everything = LabelledImages(images, torch.from_numpy(digits.target).to(torch.int64))
        development, test = split_stratified(everything, 261)
        train, val = split_stratified(development, 256)
        return Splits(train, val, test, classes=tuple(str(name) for name in digits.target_names))
