"""The task as users of Lightning write it."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from throughput.by_hand import TwoConvolutions

Batch = tuple[Tensor, Tensor]


class Task(pl.LightningModule):
    def __init__(self, width: int, lr: float) -> None:
        super().__init__()
        self.model = TwoConvolutions(width)
        self.lr = lr

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log_dict({"train_loss": loss, "train_acc": accuracy}, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        logits = self.model(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log_dict({"val_loss": F.cross_entropy(logits, labels), "val_acc": accuracy})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)
