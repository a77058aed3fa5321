"""Where nnray meets Ray Tune's controller: it is fed from the queue, and what it hears is passed on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from nnray.errors import StoreError
from nnray.space.resources import Resources
from nnray.store.attempts import note_attempt
from nnray.store.claim import Claim
from nnray.store.files import local_twin
from nnray.store.record import Cause, Record, now, readable_record
from nnray.sweep.observer import Observer
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import TrialQueue
from nnray.sweep.room import Request, Room
from nnray.sweep.room_in_store import RoomInStore
from nnray.sweep.workers.retry import Retries
from nnray.sweep.workers.worker_deaths import OomKills, cause_of_death, error_text, is_on_this_host
from nnray.training.crash_report import crash_told_in
from nnray.training.runner import Outcome


class NotSaved:
    """Tune pickles its parts to restore an experiment; here the trial folders tell what is done."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


class QueueSearcher(NotSaved, Searcher):
    """Feeds Tune from the queue; Tune asks for the next trial whenever it has room for one."""

    def __init__(
        self,
        queue: TrialQueue,
        observer: Observer,
        room: Room,
        request_of: Callable[[Resources], Request],
        retries: Retries,
    ) -> None:
        super().__init__()
        self._queue, self._observer = queue, observer
        self._room, self._request_of = room, request_of
        self._retries, self._oom_kills = retries, OomKills()
        self._disk = RoomInStore(queue, observer)
        self._trials: dict[str, PlannedTrial] = {}
        self._of_tune: dict[str, Any] = {}

    def started(self, trial: Any) -> None:
        """Note Tune's own view of a trial, which knows why a worker died."""
        self._of_tune[trial.trial_id] = trial

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial, None if there is none at the moment, or FINISHED."""
        if self._room.is_full or self._disk.is_full:
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
        trial, of_tune = self._trials.pop(trial_id), self._of_tune.pop(trial_id, None)
        self._room.release(trial_id)
        outcome = _outcome(trial, result) if not error else "failed"
        if outcome == "failed":
            cause = self._cause(trial, of_tune, None if error else result)
            again = self._retries.next_attempt(trial, cause)
            if again is not None and cause == "disk-full" and self._disk.wait(again):
                self._observer.left(trial, "disk full, waits for room")
                return
            if again is not None and cause != "disk-full":
                with contextlib.suppress(ConnectionError):  # the command's next look at the store tells that it is away
                    note_attempt(trial.paths, cause)
                self._queue.try_again(again)
                self._observer.left(trial, f"{cause}, to be tried again")
                return
        self._queue.settle(trial.signature, outcome)
        if outcome == "interrupted":
            self._observer.left(trial, "interrupted on request")
        elif outcome != "claimed":
            self._observer.ended(trial, outcome)

    def _cause(self, trial: PlannedTrial, of_tune: Any, result: dict[str, Any] | None) -> Cause:
        """Return why a trial failed; where its worker could not record that, it is recorded here."""
        if result and "error" not in result:
            record = readable_record(trial.paths)
            return (record.cause if record else None) or "error"
        if result:
            line: str = result["error"]
            cause: Cause = result["cause"]
        else:
            killed = self._oom_kills.any_since() and (of_tune is None or is_on_this_host(of_tune))
            cause, line = cause_of_death(error_text(of_tune) if of_tune else "", trial.paths.crash, killed)
        _record_failure(trial, line, cause)
        return cause

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
    record = readable_record(trial.paths)
    return record.status if record is not None and record.status in ("completed", "stopped") else "failed"


class Messenger(NotSaved, Callback):
    """Passes on what Tune hears of running trials."""

    def __init__(self, queue: TrialQueue, observer: Observer, searcher: QueueSearcher) -> None:
        self._queue, self._observer, self._searcher = queue, observer, searcher

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Leave if somebody has asked the command to stop."""
        self._queue.heed_requests()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial runs."""
        self._searcher.started(trial)
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


def _record_failure(trial: PlannedTrial, error: str, cause: Cause) -> None:
    """Record the failure of a trial whose worker could not do it itself."""
    with contextlib.suppress(OSError, StoreError):  # the store may be what failed, or the record itself
        claim = Claim.acquire(trial.paths.claim)
        if claim is None:
            return
        with claim:
            record = Record.read(trial.paths.record) or Record(signature=trial.configuration.full_signature)
            if record.status not in ("pending", "running"):
                return
            crash = crash_told_in(trial.paths.crash)
            failed = dataclasses.replace(
                record, status="failed", ended=now(), error=error, traceback=crash, cause=cause
            )
            failed.write(trial.paths.record)
            local_twin(trial.paths.crash).unlink(missing_ok=True)
