"""The base of data modules whose files torchvision downloads, checks and reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock

from nnray.data.in_memory import InMemoryDataModule
from nnray.data.splits import LabelledImages, Splits, split_stratified
from nnray.errors import DataError


class TorchvisionDataModule(InMemoryDataModule, ABC):
    """A data set of torchvision with official training and test images; validation images are split off the former.

    The split is stratified and fixed: the same for every trial. See `InMemoryDataModule` for how batches are made.

    Args:
        root: Folder in which torchvision's folder for this data set lies.
        download: Whether to download the data set into ``root`` if it is not there.
        val_fraction: Share of the official training images that is held back for validation, between 0 and 1.
        batch_size: Images in a training batch.
        seed: Rules the order and the augmentations of the training images, nothing else.
        augment: Modules applied in turn to the images of each training batch; see `InMemoryDataModule`.
        drop_last: Whether the last batch of a training epoch is left out if it is smaller than the others.
    """

    unsigned_arguments = frozenset({"root", "download"})
    #: The folder inside ``root`` in which torchvision looks for the files.
    folder: ClassVar[str]

    def __init__(
        self,
        root: str = "data",
        download: bool = False,
        val_fraction: float = 0.1,
        batch_size: int = 128,
        seed: int = 0,
        augment: list[torch.nn.Module] | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, augment, drop_last)
        if not 0 < val_fraction < 1:
            raise DataError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        self.root = root
        self.download = download
        self.val_fraction = val_fraction

    @abstractmethod
    def read_part(self, root: Path, train: bool, download: bool) -> Any:
        """Return torchvision's data set: ``data`` (uint8, (N, H, W) or (N, H, W, C)), ``targets`` and ``classes``."""

    def splits_key(self) -> tuple[Hashable, ...]:
        """Return where the files lie and how they are split."""
        return (self._root, self.val_fraction)

    def load_splits(self) -> Splits:
        """Read the files, downloading them first if they are not there and that is allowed."""
        try:
            return self._read(download=False)
        except DataError:
            if not self.download:
                raise
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            # Workers of one machine start together; the first of them downloads and the others wait for it.
            with FileLock(self._root / f".{type(self).__name__}.lock"):
                return self._read(download=True)
        except OSError as error:
            raise DataError(f"{type(self).__name__} cannot be downloaded to '{self._root}': {error}") from error

    @property
    def _root(self) -> Path:
        return Path(self.root).expanduser().resolve()

    def _read(self, download: bool) -> Splits:
        try:
            development = self.read_part(self._root, train=True, download=download)
            test = self.read_part(self._root, train=False, download=download)
        except Exception as error:  # whatever damaged files make torchvision raise
            raise self._unreadable(error, download) from error
        official = _labelled_images(development)
        train, val = split_stratified(official, round(self.val_fraction * len(official.labels)))
        return Splits(train, val, _labelled_images(test), classes=tuple(development.classes))

    def _unreadable(self, error: Exception, download: bool) -> DataError:
        name, folder = type(self).__name__, self._root / self.folder
        reason = " ".join(str(error).split()) or type(error).__name__
        if download:
            return DataError(f"{name} cannot be downloaded to '{self._root}': {reason}")
        if not folder.is_dir():
            return DataError(
                f"{name} is not there: no folder '{folder}'; --data.init_args.root says in which folder to look, and "
                "--data.init_args.download true fetches it"
            )
        return DataError(
            f"{name} in '{folder}' is incomplete or damaged ({reason}); delete that folder and fetch it again with "
            "--data.init_args.download true"
        )


def _labelled_images(data: Any) -> LabelledImages:
    images = torch.as_tensor(data.data)
    channels_first = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return LabelledImages(channels_first.contiguous(), torch.as_tensor(data.targets, dtype=torch.int64))
