"""What the sides without nnray share: the network and the data as people write them by hand."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from throughput.grid import BATCH_SIZE

MEAN, STD = 0.3053, 0.3760


class TwoConvolutions(nn.Module):
    """The layers of ``nnray.models.SimpleCNN(depth=2)`` for images of 8x8 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(2 * width * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.relu(self.conv2(x))
        return self.linear(self.flatten(x))


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """Return 1,280 images to train on and 256 for validation, normalised."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1).div(16).sub(MEAN).div(STD)
    labels = torch.from_numpy(digits.target).long()
    kept, _ = train_test_split(range(len(labels)), test_size=261, stratify=labels, random_state=0)
    train, val = train_test_split(kept, test_size=256, stratify=labels[kept], random_state=0)
    return TensorDataset(images[train], labels[train]), TensorDataset(images[val], labels[val])


def loaders(train: TensorDataset, val: TensorDataset) -> tuple[DataLoader, DataLoader]:
    """Return ordinary DataLoaders, in the training process: workers take longer to start than these trials take."""
    return DataLoader(train, batch_size=BATCH_SIZE, shuffle=True), DataLoader(val, batch_size=4 * BATCH_SIZE)
