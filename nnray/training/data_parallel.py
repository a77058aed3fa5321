"""Several processes train one trial: what each of them does so that together they do what one would.

The batches of the configuration are divided among the workers, in the same order, and gradients are averaged (Li et al.
2020, "PyTorch Distributed", arXiv:2006.15704). So the result is that of one worker up to the rounding of sums, for
networks that look at each image by itself. BatchNorm takes its statistics over a worker's own images, and dropout draws
for each worker anew: their results differ as they do between batch sizes.

The worker of rank 0 leads: it holds the claim, writes the record, metrics, checkpoints and the state to resume from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from nnray.data.batches import ShuffledBatches
from nnray.data.random_state import derive_seed
from nnray.training.isolation import seed_generators

_SIGNS_OF_LOSS = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")
"""Gloo raises plain RuntimeErrors, in which it names its source files."""


@dataclass(frozen=True)
class Team:
    """The workers that train a trial together, as one of them sees it.

    Attributes:
        rank: Which worker this is.
        workers: How many there are.
        trainer: Arguments of Lightning's Trainer by which they find each other.
    """

    rank: int = 0
    workers: int = 1
    trainer: Mapping[str, Any] = field(default_factory=lambda: {"devices": 1})

    @property
    def leads(self) -> bool:
        """Whether this worker does what only one may do."""
        return self.rank == 0

    def assemble(self) -> None:
        """Wait until all workers have come to this line."""
        if self.workers > 1:
            dist.barrier()

    def part_ways(self, seed: int) -> None:
        """Let each worker draw random numbers of its own, behind the initial weights, which they draw alike."""
        if self.rank > 0:
            seed_generators(derive_seed("worker", seed, self.rank) % 2**32)

    def has_lost(self, error: BaseException) -> bool:
        """Tell whether ``error`` says that another worker is gone, and nothing about the trial."""
        if self.workers == 1:
            return False
        return isinstance(error, dist.DistError) or any(sign in str(error) for sign in _SIGNS_OF_LOSS)

    def callbacks(self) -> list[Callback]:
        """Return what keeps the workers together."""
        return [_Together()] if self.workers > 1 else []


ALONE = Team()


class _Together(Callback):
    """Weighs gradients by the workers' shares, and evaluates one and the same network."""

    def __init__(self) -> None:
        self._weight = 1.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Note how much this worker's part of the batch weighs in the mean over all of its images."""
        batches = trainer.train_dataloader
        if isinstance(batches, ShuffledBatches):
            images = batches.images_in(index)
            own = batches.share.of(images)
            self._weight = (own.stop - own.start) * trainer.world_size / images

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        """Weigh the loss, a mean over this worker's images, of which the mean over workers is about to be made."""
        if self._weight != 1.0:
            loss.mul_(self._weight)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate with the running statistics that checkpoints keep: those of rank 0."""
        for buffer in pl_module.buffers():
            dist.broadcast(buffer, 0)


def gathered(own: Any, trainer: pl.Trainer) -> list[Any]:
    """Return what each worker of the trainer has, in the order of their ranks."""
    if trainer.world_size == 1:
        return [own]
    everyone: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(everyone, own)
    return everyone
