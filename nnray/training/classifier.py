"""The default task: image classification by cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Batch = tuple[Tensor, Tensor]

_SUMS = "nnray.training.Classifier"
"""The key of its sums in a checkpoint."""


class Classifier(pl.LightningModule):
    """Train a network to tell classes apart.

    The loss is cross-entropy with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7). Once an epoch it
    logs ``train_loss``, ``train_acc``, ``val_loss`` and ``val_acc`` (fractions of the images), and ``lr``, the learning
    rate that the epoch began with. Training figures are averages over the epoch, while the weights change.

    Args:
        model: Maps images (``batch x channels x height x width``, float) to logits (``batch x classes``).
        optimizer: Builds the optimizer of an iterable of parameters.
        lr_scheduler: Builds the learning-rate scheduler of the optimizer; None for a constant rate.
        label_smoothing: Share of the target's probability that is spread over all classes, 0 to 1.
        scheduler_interval: Whether the scheduler advances after each epoch or after each optimizer step.
        scheduler_monitor: The metric that ``ReduceLROnPlateau`` watches.
    """

    #: What an epoch does doesn't depend on how many there are going to be: a longer trial can go on from a shorter one.
    length_free: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[Any], Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        label_smoothing: float = 0.0,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        scheduler_monitor: str = "val_loss",
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing: {label_smoothing} is not between 0 and 1")
        self.model = model
        self.label_smoothing = label_smoothing
        self._build_optimizer = optimizer
        self._build_scheduler = lr_scheduler
        self._scheduler = {"interval": scheduler_interval, "monitor": scheduler_monitor}
        self._training, self._evaluation = _Tally(), _Tally()
        self._learning_rate = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (``batch x classes``) of ``images``."""
        return self.model(images)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with its scheduler if there is one."""
        optimizer = self._build_optimizer(self.model.parameters())
        if self._build_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {**self._scheduler, "scheduler": self._build_scheduler(optimizer)},
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self._training.count(self._loss_and_logits(batch), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a validation batch."""
        self._evaluation.count(self._loss_and_logits(batch), batch[1])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a test batch."""
        self._evaluation.count(self._loss_and_logits(batch), batch[1])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Hand over what is summed up in the running epoch, for a state that is taken in its middle."""
        checkpoint[_SUMS] = {"training": vars(self._training).copy(), "learning_rate": self._learning_rate}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with what was summed up."""
        if _SUMS in checkpoint:
            vars(self._training).update(checkpoint[_SUMS]["training"])
            self._learning_rate = checkpoint[_SUMS]["learning_rate"]

    def on_train_epoch_start(self) -> None:
        """Note the learning rate, which an epoch's scheduler changes before the epoch's end."""
        self._learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training figures."""
        self._publish({**self._training.means("train", self.trainer.strategy), "lr": _exact(self._learning_rate)})

    def on_validation_epoch_end(self) -> None:
        """Log the validation figures."""
        self._publish(self._evaluation.means("val", self.trainer.strategy))

    def on_test_epoch_end(self) -> None:
        """Log the test figures."""
        self.log_dict(self._evaluation.means("test", self.trainer.strategy))

    def _publish(self, figures: dict[str, Tensor]) -> None:
        """Log the figures of an epoch.

        Where a fit has no logger, callbacks and plateau schedulers are all who read them, and they read
        ``trainer.callback_metrics``. Putting them there takes microseconds, ``log_dict`` 0.3 ms a figure.
        """
        if self.trainer.state.fn != TrainerFn.FITTING or self.trainer.loggers:
            self.log_dict(figures)
        else:
            self.trainer.callback_metrics.update(figures)

    def _loss_and_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels = batch
        logits = self.model(images)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits


class _Tally:
    """Sums of loss and hits, kept on the device: logging each step costs more than a small network's step does."""

    def __init__(self) -> None:
        self._loss: Tensor | float = 0.0
        self._hits: Tensor | int = 0
        self._images = 0

    def count(self, loss_and_logits: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Add a batch and return its loss."""
        loss, logits = loss_and_logits
        with torch.no_grad():
            self._loss = self._loss + loss.detach().float() * len(labels)  # not in place: a checkpoint may hold it
            self._hits = self._hits + (logits.argmax(dim=1) == labels).sum()
            self._images += len(labels)
        return loss

    def means(self, stage: str, strategy: Strategy) -> dict[str, Tensor]:
        """Return mean loss and accuracy over the images of all workers since the last call, and begin anew."""
        sums = torch.tensor([float(self._loss), float(self._hits), self._images], dtype=torch.float64)
        loss, hits, images = _sum_of_workers(sums, strategy).tolist()
        figures = {
            f"{stage}_loss": _exact(loss / max(images, 1)),
            f"{stage}_acc": _exact(hits / max(images, 1)),
        }
        self._loss, self._hits, self._images = 0.0, 0, 0
        return figures


def _sum_of_workers(sums: Tensor, strategy: Strategy) -> Tensor:
    if getattr(strategy, "world_size", 1) == 1:
        return sums
    return strategy.reduce(sums.to(strategy.root_device), reduce_op="sum")


def _exact(figure: float) -> Tensor:
    """Return a figure as Lightning logs it without rounding: a plain number would become a float32."""
    return torch.tensor(figure, dtype=torch.float64)
