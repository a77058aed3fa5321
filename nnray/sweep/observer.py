"""Who is told how a sweep goes: the bookkeeper, and the person at the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import Result


class Observer(Protocol):
    """What an executor calls, always from the command's own process."""

    def started(self, trial: PlannedTrial) -> None:
        """A trial was handed to a worker."""

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        """A trial has finished an epoch; not every epoch of a quick trial is told."""

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        """A trial has ended."""

    def left(self, trial: PlannedTrial, why: str) -> None:
        """A running trial has ended without a result; ``why`` says it in a few words, and whether it goes on."""

    def waiting(self, elsewhere: int) -> None:
        """That many trials are being trained by another command, and nothing else is left to do at the moment."""


class Observers:
    """Tells each of several observers."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def started(self, trial: PlannedTrial) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.started(trial)

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.epoch_ended(trial, epoch, metrics)

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.ended(trial, result)

    def left(self, trial: PlannedTrial, why: str) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.left(trial, why)

    def waiting(self, elsewhere: int) -> None:
        """See :class:`Observer`."""
        for observer in self._observers:
            observer.waiting(elsewhere)
