"""A trial that does next to nothing: one epoch of one batch, which computes nothing, one weight and one metric."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch


class NoData(pl.LightningDataModule):
    def train_dataloader(self) -> list[int]:
        return [0]


class Nothing(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Compute nothing."""

    def on_train_epoch_end(self) -> None:
        self.log("done", 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)
