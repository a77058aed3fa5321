"""Which failed trials a command tries again by itself: it depends on why they failed.

A trial that was lost through no fault of its own (its node gone or preempted, its process killed) goes on elsewhere,
often enough for any cluster of spot machines. One that ran out of memory gets a larger share of a GPU, or more cores so
that fewer run beside it, until it has a whole one. One for which the disk was too full waits until there is room. What
diverged or raised would do so again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

from nnray.space.resources import Resources
from nnray.store.record import Cause
from nnray.sweep.planning.plan import PlannedTrial

MAX_LOSSES = 10
"""A trial that is lost, or finds the disk full, once more than so often in one command has failed."""

Larger = Callable[[Resources], Resources | None]
"""Returns more resources than the given ones, None if there are no more."""


class Retries:
    """Decides for one command.

    Args:
        larger: What a trial that ran out of memory gets next.
        max_losses: How often a trial may be lost and go on.
    """

    def __init__(self, larger: Larger, max_losses: int = MAX_LOSSES) -> None:
        self._larger, self._max_losses = larger, max_losses
        self._losses: Counter[str] = Counter()

    def next_attempt(self, trial: PlannedTrial, cause: Cause) -> PlannedTrial | None:
        """Return the trial as it is to be tried again after it failed, None if it is not."""
        if cause in ("lost", "disk-full"):
            self._losses[trial.signature] += 1
            return trial if self._losses[trial.signature] <= self._max_losses else None
        if cause == "out-of-memory" and (more := self._larger(trial.resources)) is not None:
            return dataclasses.replace(trial, resources=more)
        return None


def larger(resources: Resources, gpu: float, cores: float) -> Resources | None:
    """Return twice the share of a GPU, or without GPUs twice the cores; None if that is all there is already.

    Args:
        resources: What a trial has occupied.
        gpu: The share of a GPU that it had.
        cores: What the largest node has.
    """
    if gpu > 0:
        return dataclasses.replace(resources, gpu=min(1.0, 2 * gpu)) if gpu < 1 else None
    more = min(cores, max(2 * resources.cpu, 1.0))
    return dataclasses.replace(resources, cpu=more) if more > resources.cpu else None
