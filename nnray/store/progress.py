"""How far a sweep and its trials are, whoever tells it: the process that runs them, or what the store holds."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnray.store.record import Status

_RECENT = 20
"""Epochs that a trial's rate is told from."""


@dataclass(frozen=True)
class TrialProgress:
    """One trial at one moment.

    Attributes:
        signature: The short signature.
        name: What the sweep calls it.
        status: What became of it so far.
        epoch: Finished epochs.
        epochs: Epochs that it was asked to train, None where that is not known.
        rate: Epochs per second, None before that can be told.
        duration_s: Seconds of training, for a trial that has ended.
        error: One line, for a failed trial.
        values: Further columns by their full names in the table of trials (``val_acc``, ``config/seed``).
    """

    signature: str
    name: str
    status: Status
    epoch: int | None = None
    epochs: int | None = None
    rate: float | None = None
    duration_s: float | None = None
    error: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def left_s(self) -> float | None:
        """Seconds that a running trial will take to its last epoch at its present rate."""
        if self.status != "running" or not self.rate or self.epochs is None:
            return None
        return max(0, self.epochs - (self.epoch or 0)) / self.rate


@dataclass(frozen=True)
class SweepProgress:
    """All trials of a sweep at one moment: counted, and those worth a line.

    Attributes:
        sweep: The sweep's name.
        metric: The metric that the sweep looks at, None if it names none.
        counts: How many trials have each status.
        causes: How many failed trials have each cause, as far as that is recorded.
        running: Trials that are being trained, at most as many as were asked for.
        finished: Completed and stopped trials, the best first, at most as many as were asked for.
        failed: Failed trials, the last first, at most as many as were asked for.
        left_s: Seconds that the whole sweep will still take, None where that cannot be told.
    """

    sweep: str
    metric: str | None = None
    counts: Counter[Status] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    running: tuple[TrialProgress, ...] = ()
    finished: tuple[TrialProgress, ...] = ()
    failed: tuple[TrialProgress, ...] = ()
    left_s: float | None = None

    @property
    def total(self) -> int:
        """How many trials the sweep lists."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many trials have a result."""
        return self.counts["completed"] + self.counts["stopped"]

    @property
    def trials(self) -> tuple[TrialProgress, ...]:
        """The trials worth a line: running, finished, failed."""
        return (*self.running, *self.finished, *self.failed)


def sweep_left_s(
    running: Iterable[TrialProgress], pending_epochs: float, ended_s: float, ended_epochs: float, at_a_time: int
) -> float | None:
    """Return the seconds that a sweep will still take, None where nothing has been measured or nothing runs.

    An epoch of a trial that is still to come is expected to take as long as those before it did on average; a trial
    that was stopped early counts with all the epochs that it was asked for, since others will be stopped too.

    Args:
        running: The trials that are being trained.
        pending_epochs: Epochs asked for by trials that have not begun.
        ended_s: Seconds that the trials which have ended took.
        ended_epochs: Epochs that they were asked for.
        at_a_time: How many trials run at a time.
    """
    running = tuple(running)
    rates = [trial.rate for trial in running if trial.rate]
    if ended_epochs > 0:
        seconds_per_epoch = ended_s / ended_epochs
    elif rates:
        seconds_per_epoch = sum(1 / rate for rate in rates) / len(rates)
    else:
        return None
    if at_a_time < 1:
        return None
    left = [_left_s(trial, seconds_per_epoch) for trial in running]
    return max([*left, (sum(left) + pending_epochs * seconds_per_epoch) / at_a_time])


def _left_s(trial: TrialProgress, seconds_per_epoch: float) -> float:
    if trial.left_s is not None:
        return trial.left_s
    return max(0, (trial.epochs or 0) - (trial.epoch or 0)) * seconds_per_epoch


def rate_of(times: Sequence[float]) -> float | None:
    """Return the usual number of epochs per second where epochs ended at ``times`` (seconds); None of less than two.

    The median leaves out what lies between two attempts at a trial.
    """
    recent = times[-_RECENT:]
    gaps = [after - before for before, after in itertools.pairwise(recent)]
    usual = statistics.median(gaps) if gaps else 0.0
    return 1 / usual if usual > 0 else None
