"""A running trial looks, every half second, whether somebody wants it to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from nnray.store.stop_request import StopRequest
from nnray.training.resume import ResumeState
from nnray.training.stopping import InterruptTraining, LeaveTraining, StopTraining
from nnray.trial.paths import TrialPaths

_LOOK_EVERY_S = 0.5

Pending = Callable[[], LeaveTraining | None]
"""Tells whether the trial is to end, and how."""


class Requests:
    """Every way to ask a trial to end; calling it looks for one, though not more often than is useful.

    Args:
        paths: The trial's folder, where ``nnray stop`` leaves its request.
        owner: What the claim of this run says: a request for another run is not heeded.
        sweep: The sweep that the trial is trained for; it ends when that lists it no longer.
        command: Where a request to end the whole command is put.
    """

    def __init__(self, paths: TrialPaths, owner: str, sweep: str | None, command: Path | None) -> None:
        self._paths = paths
        self._owner = owner
        self._membership = paths.membership(sweep) if sweep else None
        self._command = command
        self._looked = time.monotonic()

    def __call__(self) -> LeaveTraining | None:
        """Return how the trial is to end, None if nobody has asked."""
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return None
        self._looked = time.monotonic()
        if self._membership is not None and not self._membership.exists():
            return InterruptTraining("the sweep lists the trial no longer")
        if self._command is not None and self._command.exists():
            return InterruptTraining("the command was asked to stop")
        if not self._paths.stop.exists():
            return None
        request = StopRequest.read(self._paths.stop)
        if request is None or request.addressee != self._owner:
            return None
        kind = StopTraining if request.verdict == "stop" else InterruptTraining
        return kind(f"asked by {request.by}")


class RequestPoll(Callback):
    """Heeds requests between batches: an interruption at once, a stop when the running epoch has ended.

    Args:
        pending: Looks for a request.
        resume: Stops the trial between epochs.
    """

    def __init__(self, pending: Pending, resume: ResumeState) -> None:
        self._pending, self._resume = pending, resume

    def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
        """Look after a training batch."""
        self._heed()

    def on_validation_batch_end(self, *arguments: Any, **named: Any) -> None:
        """Look after a validation batch."""
        self._heed()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look once an epoch, however quick its batches are; the epoch is not lost any more."""
        request = self._pending()
        if request is not None:
            self._resume.leave(request)

    def _heed(self) -> None:
        request = self._pending()
        if isinstance(request, StopTraining):
            self._resume.leave(request)
        elif request is not None:
            raise request
