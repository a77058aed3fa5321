"""The keys of a configuration that are not classes: what they are called, their types, defaults and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from nnray.trial.keep_rule import KeepRule

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback


@dataclass(frozen=True)
class TrialOptions:
    """What rules the whole trial.

    Args:
        seed: Seed of the initial weights, the data order, augmentation and dropout.
        threads: Compute threads of PyTorch; a part of the result, since it changes the last bits of sums.
        workers: Processes that train together, each on its part of every batch; a part of the result if there are
            several, since sums are then made of parts, and BatchNorm looks at each worker's images alone.
        source: Any text that sets this trial apart from others of the same configuration.
    """

    seed: int = 0
    threads: int = 1
    workers: int = 1
    source: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no random generator or thread pool takes."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: {self.seed} is outside 0 ... 2**32 - 1")
        if self.threads < 1:
            raise ValueError(f"threads: {self.threads} is not a positive number")
        if self.workers < 1:
            raise ValueError(f"workers: {self.workers} is not a positive number")


@dataclass(frozen=True)
class TrainerOptions:
    """How long and how precisely to train; each is an argument of Lightning's Trainer.

    Args:
        max_epochs: Number of passes over the training data.
        precision: Floating-point format, as Lightning names it.
        gradient_clip_val: Bound on the gradients, or null for none.
        gradient_clip_algorithm: Bound the norm of all gradients, or each value.
        accumulate_grad_batches: Batches whose gradients are summed before an optimizer step.
        limit_train_batches: Training batches per epoch: a number, or a fraction of all; null for all.
        limit_val_batches: Validation batches per epoch: a number, or a fraction of all; null for all.
        deterministic: Use only deterministic algorithms, so that a trial on a GPU gives the same bits again.
        callbacks: Lightning callbacks, by class path.
        accelerator: Where to train: auto, cpu, gpu, ... (not a part of the trial's signature).
    """

    max_epochs: int = 10
    precision: Literal["32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"] = "32-true"
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: int = 1
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    deterministic: bool = True
    callbacks: list[Callback] | None = None
    accelerator: str = "auto"

    unsigned_arguments: ClassVar[frozenset[str]] = frozenset({"accelerator"})

    def __post_init__(self) -> None:
        """Refuse counts that train nothing."""
        if self.max_epochs < 1:
            raise ValueError(f"trainer.max_epochs: {self.max_epochs} is not a positive number")
        if self.accumulate_grad_batches < 1:
            raise ValueError(
                f"trainer.accumulate_grad_batches: {self.accumulate_grad_batches} is not a positive number"
            )
        for name in ("limit_train_batches", "limit_val_batches"):
            limit = getattr(self, name)
            if limit is not None and not (limit >= 0 if isinstance(limit, int) else 0 <= limit <= 1):
                raise ValueError(
                    f"trainer.{name}: {limit} is neither a number of batches nor a fraction between 0.0 and 1.0"
                )


@dataclass(frozen=True)
class CheckpointOptions:
    """Which weights are kept; not a part of the trial's signature.

    Args:
        every_n_epochs: Keep the weights after every n-th epoch, and always after the last.
        keep: Which of them stay: ``all``; only the ``last``; only the ``best`` by ``monitor``; ``every N``, each N-th
            epoch's and the newest; ``top K``, the K best by ``monitor``.
        monitor: The metric that tells which epochs are best.
        mode: Whether a larger (max) or a smaller (min) value of ``monitor`` is better.
        keep_state: Keep also the state behind the last epoch, from which a trial with more epochs can go on.
        every_n_steps: Keep the state to resume from also after every n-th optimizer step within an epoch, so that a
            trial which is killed loses less than an epoch; null for at the end of each epoch alone.
    """

    every_n_epochs: int = 1
    keep: str = "all"
    monitor: str = "val_acc"
    mode: Literal["max", "min"] = "max"
    keep_state: bool = False
    every_n_steps: int | None = None

    unsigned_arguments: ClassVar[frozenset[str]] = frozenset(
        {"every_n_epochs", "keep", "monitor", "mode", "keep_state", "every_n_steps"}
    )

    def __post_init__(self) -> None:
        """Refuse an interval that keeps nothing."""
        for name in ("every_n_epochs", "every_n_steps"):
            interval = getattr(self, name)
            if interval is not None and interval < 1:
                raise ValueError(f"checkpoint.{name}: {interval} is not a positive number")
        try:
            KeepRule.parse(self.keep)
        except ValueError as error:
            raise ValueError(f"checkpoint.keep: {error}") from None

    @property
    def rule(self) -> KeepRule:
        """What ``keep`` says."""
        return KeepRule.parse(self.keep)

    def is_due(self, epoch: int) -> bool:
        """Tell whether the interval ends with ``epoch`` (counted from 0)."""
        return (epoch + 1) % self.every_n_epochs == 0
