"""What is kept of a trial after each epoch: a row of metrics and the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from nnray.errors import TrialError
from nnray.store.files import Fence, unfenced
from nnray.store.metrics_log import ROW_KEYS, Row, RowLog
from nnray.store.weights import TASK_PREFIX, kept_epochs, save_weights
from nnray.training.stopping import InterruptTraining
from nnray.trial.options import CheckpointOptions
from nnray.trial.paths import TrialPaths


class EpochRecorder(Checkpoint):
    """Appends to ``metrics.jsonl``, keeps weights, and stops a trial that has diverged.

    It is a Checkpoint callback because Lightning calls those last, when everything of the epoch is logged.

    Args:
        paths: The trial's folder.
        options: Which weights to keep.
        model: The network under study, or None if the task is all there is.
        rows: The rows of the epochs before a resumption.
        log: Where the rows that follow go; it is closed by :meth:`close`.
        on_epoch: Called with every new row.
        constants: What each row has beside the metrics.
        fence: Raises if this process may no longer write to the trial.
    """

    def __init__(
        self,
        paths: TrialPaths,
        options: CheckpointOptions,
        model: torch.nn.Module | None,
        rows: list[Row],
        log: RowLog,
        on_epoch: Callable[[Row], None] | None = None,
        constants: Mapping[str, float] | None = None,
        fence: Fence = unfenced,
    ) -> None:
        self._paths = paths
        self._options = options
        self._model = model
        self._rows = list(rows)
        self._fence = fence
        self._log = log
        self._on_epoch = on_epoch
        self._constants = dict(constants or {})
        self._loss: torch.Tensor | None = None
        self._in_epoch = False

    @property
    def epochs(self) -> int:
        """How many epochs have a row."""
        return len(self._rows)

    def close(self) -> None:
        """Let go of ``metrics.jsonl``."""
        self._log.close()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that the weights are on their way to those of the next epoch."""
        self._in_epoch = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sum the losses on the device: a NaN shows in the sum, without waiting for the device each step."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            loss = loss.detach().float().mean() if loss.ndim else loss.detach()
            self._loss = loss.clone() if self._loss is None else self._loss.to(loss.device).add_(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the sum of the running epoch's losses."""
        return {} if self._loss is None else {"loss": self._loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a sum of losses."""
        self._loss = state_dict["loss"].clone()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch."""
        self._in_epoch = False
        row: Row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "time": time.time()}
        for name, value in trainer.callback_metrics.items():
            row[f"metric/{name}" if name in ROW_KEYS else name] = float(value)
        row |= self._constants
        self._log.append(row)
        self._rows.append(row)
        self._check_finite(row)
        if self._options.is_due(row["epoch"]) or row["epoch"] + 1 == trainer.max_epochs:
            self._keep(row, pl_module)
        if self._on_epoch is not None:
            self._on_epoch(row)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the last weights also where training ended before its last epoch, and nothing of later ones."""
        self._log.drop_ahead()
        for epoch, path in kept_epochs(self._paths).items():
            if not self._rows or epoch > self._rows[-1]["epoch"]:
                path.unlink()
        if self._rows and self._rows[-1]["epoch"] not in kept_epochs(self._paths):
            self._keep(self._rows[-1], pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep the last weights of a trial that is left to be continued, in case that it never is."""
        # The best are kept as they are: what is kept now would take the place of a rival that was due.
        if isinstance(exception, InterruptTraining) and not self._in_epoch and self._options.rule.kind != "top":
            self.on_train_end(trainer, pl_module)

    def _check_finite(self, row: Row) -> None:
        loss, self._loss = self._loss, None
        if loss is not None and not math.isfinite(float(loss)):
            raise TrialError(f"diverged: the training loss is not finite in epoch {row['epoch']}", diverged=True)
        for name, value in row.items():
            if "loss" in name and not math.isfinite(value):
                raise TrialError(f"diverged: {name} is {value} in epoch {row['epoch']}", diverged=True)

    def _keep(self, row: Row, module: pl.LightningModule) -> None:
        epoch, kept = row["epoch"], kept_epochs(self._paths)
        candidates = [other for other in self._rows if other["epoch"] in kept or other["epoch"] == epoch]
        chosen = self._chosen(candidates)
        if epoch in chosen:
            save_weights(self._paths.checkpoint(epoch), weights_of(module, self._model), self._fence)
        if self._options.rule.kind != "all":
            self._fence()  # what was kept when this began was this run's or an earlier one's
            for other in kept.keys() - chosen:
                kept[other].unlink()

    def _chosen(self, candidates: list[Row]) -> set[int]:
        """Return the epochs of ``candidates`` whose weights stay."""
        monitor, rule = self._options.monitor, self._options.rule
        if rule.kind == "top" and monitor not in (newest := candidates[-1]):
            names = ", ".join(sorted(newest))
            raise TrialError(f"checkpoint.monitor: there is no metric {monitor!r}; there is: {names}")
        values = {other["epoch"]: other.get(monitor, math.nan) for other in candidates}
        return rule.chosen(list(values), values, self._options.mode)


def weights_of(task: torch.nn.Module, model: torch.nn.Module | None) -> dict[str, torch.Tensor]:
    """Return what a checkpoint keeps: the model's tensors under their own names, the rest of the task's prefixed."""
    state = task.state_dict()
    if model is None:
        return state
    places = [f"{name}." for name, module in task.named_modules(remove_duplicate=False) if module is model]
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(places))}
    return {**model.state_dict(), **{f"{TASK_PREFIX}{name}": tensor for name, tensor in rest.items()}}
