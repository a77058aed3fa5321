"""Which examples, in which order: LightningDataModules that hold image data sets in memory, on the training device.

Ready made are `Digits` (needs no files), `CIFAR10`, `CIFAR100`, `MNIST`, `FashionMNIST`, `ImageFolder` and `FakeData`.
One's own data set that fits in memory is a subclass of `InMemoryDataModule` with two short methods; any
other LightningDataModule works beside these as well.
"""

from nnray.data.augmentation import RandomCrop, RandomHorizontalFlip
from nnray.data.batches import Normalization, OrderedBatches, ShuffledBatches
from nnray.data.cache import clear_cache
from nnray.data.cifar import CIFAR10, CIFAR100
from nnray.data.digits import Digits
from nnray.data.fake import FakeData
from nnray.data.image_folder import ImageFolder
from nnray.data.in_memory import InMemoryDataModule
from nnray.data.mnist import MNIST, FashionMNIST
from nnray.data.splits import LabelledImages, Splits, split_stratified

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "Digits",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "InMemoryDataModule",
    "LabelledImages",
    "Normalization",
    "OrderedBatches",
    "RandomCrop",
    "RandomHorizontalFlip",
    "ShuffledBatches",
    "Splits",
    "clear_cache",
    "split_stratified",
]
