"""Images in folders, one per class."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnray.data.in_memory import InMemoryDataModule
from nnray.data.splits import LabelledImages, Splits
from nnray.errors import DataError

# Fewer images are decoded before a progress bar could be read.
_WORTH_A_PROGRESS_BAR = 1000


class ImageFolder(InMemoryDataModule):
    """The images in ``root/train/<class>/*``, ``root/val/<class>/*`` and, if there is one, ``root/test/<class>/*``.

    Images of any format and size that torchvision's ImageFolder reads become RGB squares: the shorter side is resized
    to ``image_size`` (bilinear, antialiased) and the middle of the longer one is kept. They are decoded once, into
    memory, and normalized by ImageNet's means and standard deviations. Labels number the class folders of
    ``root/train`` in sorted order. No augmentation by default.

    Args:
        root: Folder that holds ``train``, ``val`` and maybe ``test``.
        image_size: Side in pixels of the squares that the images are brought to.
        max_memory_gb: Bound on the memory that the decoded images may take, in gigabytes.
        batch_size: Images in a training batch.
        seed: Rules the order and the augmentations of the training images, nothing else.
        augment: Modules applied in turn to the images of each training batch; see `InMemoryDataModule`.
        drop_last: Whether the last batch of a training epoch is left out if it is smaller than the others.
    """

    unsigned_arguments = frozenset({"root", "max_memory_gb"})
    in_channels = 3
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(
        self,
        root: str = "data",
        image_size: int = 64,
        max_memory_gb: float = 4.0,
        batch_size: int = 128,
        seed: int = 0,
        augment: list[torch.nn.Module] | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, augment, drop_last)
        if image_size < 1:
            raise DataError(f"image_size must be at least 1, got {image_size}")
        self.root = root
        self._image_size = image_size
        self.max_memory_gb = max_memory_gb

    @property
    def image_size(self) -> int:
        """Side in pixels of the squares that the images are brought to."""
        return self._image_size

    @property
    def num_classes(self) -> int:
        """Number of class folders in ``root/train``; looks at the disk, but opens no image.

        Raises:
            DataError: If there are none.
        """
        return len(self._class_names("train"))

    def splits_key(self) -> tuple[Hashable, ...]:
        """Return where the images lie and what size they are brought to."""
        return (self._root, self.image_size)

    def load_splits(self) -> Splits:
        """Decode all images."""
        classes = self._class_names("train")
        parts = ["train", "val", *(["test"] if (self._root / "test").is_dir() else [])]
        files = {part: self._list_files(part, classes) for part in parts}
        self._check_memory(sum(map(len, files.values())))
        loaded = {part: self._decode(part, samples) for part, samples in files.items()}
        return Splits(loaded["train"], loaded["val"], loaded.get("test"), classes=tuple(classes))

    @property
    def _root(self) -> Path:
        return Path(self.root).expanduser().resolve()

    def _class_names(self, part: str) -> list[str]:
        folder = self._root / part
        names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        if not names:
            raise DataError(
                f"ImageFolder finds no images: no folders '{folder}/<class>'; --data.init_args.root names the folder "
                "that holds train/<class>/ and val/<class>/"
            )
        return names

    def _list_files(self, part: str, classes: list[str]) -> list[tuple[str, int]]:
        from torchvision.datasets import ImageFolder as TorchvisionImageFolder

        if differing := set(self._class_names(part)) ^ set(classes):
            raise DataError(
                f"ImageFolder needs the same class folders in '{self._root / part}' as in '{self._root / 'train'}'; "
                f"only one of them has {', '.join(map(repr, sorted(differing)))}"
            )
        try:
            return TorchvisionImageFolder(self._root / part).samples
        except FileNotFoundError as error:  # a class folder without any image
            raise DataError(f"ImageFolder: {' '.join(str(error).split())}") from error

    def _check_memory(self, count: int) -> None:
        needed = count * self.in_channels * self.image_size**2 / 1e9
        if needed > self.max_memory_gb:
            raise DataError(
                f"ImageFolder: the {count} images in '{self._root}' take {needed:.2g} GB at {self.image_size}x"
                f"{self.image_size} pixels, more than max_memory_gb={self.max_memory_gb:g}; raise it, or choose a "
                "smaller image_size"
            )

    def _decode(self, part: str, samples: list[tuple[str, int]]) -> LabelledImages:
        from torchvision.datasets.folder import default_loader

        images = torch.empty((len(samples), self.in_channels, self.image_size, self.image_size), dtype=torch.uint8)
        for index, (path, _) in enumerate(_with_progress(samples, f"Decoding {part} images")):
            try:
                images[index] = _square(default_loader(path), self.image_size)
            except OSError as error:  # what Pillow raises for anything that is no whole image
                raise DataError(f"ImageFolder: '{path}' cannot be read as an image: {error}") from error
        return LabelledImages(images, torch.tensor([label for _, label in samples]))


def _square(image: Any, size: int) -> Tensor:
    """Resize the shorter side of a PIL image to ``size`` and cut out the middle: (C, size, size), uint8."""
    from torchvision.transforms.v2 import functional

    if image.size == (size, size):
        return functional.pil_to_tensor(image)
    return functional.pil_to_tensor(functional.center_crop(functional.resize(image, [size]), [size]))


def _with_progress(samples: list[tuple[str, int]], description: str) -> Iterable[tuple[str, int]]:
    if len(samples) < _WORTH_A_PROGRESS_BAR or not sys.stderr.isatty():
        return samples
    from rich.console import Console
    from rich.progress import track

    return track(samples, description, console=Console(stderr=True), transient=True)
