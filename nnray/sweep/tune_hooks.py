"""Where nnray meets Ray Tune's controller: it is fed from the queue, and what it hears is passed on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from nnray.space.resources import Resources
from nnray.store.claim import Claim
from nnray.store.record import Record, now
from nnray.sweep.observer import Observer
from nnray.sweep.plan import PlannedTrial
from nnray.sweep.queue import TrialQueue
from nnray.sweep.room import Request, Room
from nnray.training.runner import Outcome

WORKER_DEATHS = 3
"""A trial whose worker dies (a crash in compiled code, a lost node) is resumed elsewhere this many times."""


_WORKER_LOST = f"its worker process died {WORKER_DEATHS + 1} times (a crash in compiled code, or out of memory)"


class NotSaved:
    """Tune pickles its parts to restore an experiment; here the trial folders tell what is done."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


class QueueSearcher(NotSaved, Searcher):
    """Feeds Tune from the queue; Tune asks for the next trial whenever it has room for one."""

    def __init__(
        self, queue: TrialQueue, observer: Observer, room: Room, request_of: Callable[[Resources], Request]
    ) -> None:
        super().__init__()
        self._queue, self._observer = queue, observer
        self._room, self._request_of = room, request_of
        self._trials: dict[str, PlannedTrial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial, None if there is none at the moment, or FINISHED."""
        if self._room.is_full:
            return None
        trial = self._queue.take(lambda resources: self._room.fits(self._request_of(resources)))
        if trial is None:
            if self._queue.exhausted:
                return Searcher.FINISHED
            if not self._trials:
                self._observer.waiting(self._queue.elsewhere)
            return None
        self._trials[trial_id] = trial
        request = self._request_of(trial.resources)
        self._room.occupy(trial_id, request)
        return {
            "signature": trial.signature,
            "folder": str(trial.paths.folder),
            "configuration": trial.configuration.yaml(),
            "request": dataclasses.asdict(request),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note what became of a trial."""
        trial = self._trials.pop(trial_id)
        self._room.release(trial_id)
        outcome = _outcome(trial, result) if not error else "failed"
        if outcome == "failed":
            _record_failure(trial, (result or {}).get("error") or _WORKER_LOST)
        self._queue.settle(trial.signature, outcome)
        if outcome == "interrupted":
            self._observer.left(trial)
        elif outcome != "claimed":
            self._observer.ended(trial, outcome)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


def _outcome(trial: PlannedTrial, result: dict[str, Any] | None) -> Outcome:
    """Return what became of a trial: what it reported last, or, if a scheduler stopped it while it was set aside,
    what is recorded.
    """
    if result and "outcome" in result:
        return result["outcome"]
    record = Record.read(trial.paths.record)
    return record.status if record is not None and record.status in ("completed", "stopped") else "failed"


class Messenger(NotSaved, Callback):
    """Passes on what Tune hears of running trials."""

    def __init__(self, queue: TrialQueue, observer: Observer) -> None:
        self._queue, self._observer = queue, observer

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Leave if somebody has asked the command to stop."""
        self._queue.heed_requests()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial runs."""
        planned = self._queue.running(trial.config["signature"])
        if planned is not None:
            self._observer.started(planned)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell that an epoch has ended."""
        planned = self._queue.running(trial.config["signature"])
        if planned is not None and "metrics" in result:
            self._observer.epoch_ended(planned, result["epoch"], result["metrics"])


def _record_failure(trial: PlannedTrial, error: str) -> None:
    """Record the failure of a trial whose worker could not do it itself."""
    claim = Claim.acquire(trial.paths.claim)
    if claim is None:
        return
    with claim, contextlib.suppress(OSError):  # the disk may be what failed
        record = Record.read(trial.paths.record) or Record(signature=trial.configuration.full_signature)
        if record.status in ("pending", "running"):
            dataclasses.replace(record, status="failed", ended=now(), error=error).write(trial.paths.record)
