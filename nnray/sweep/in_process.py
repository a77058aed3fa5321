"""Run a sweep in this process, one trial after another, without Ray: for debuggers and small machines."""

from __future__ import annotations

import time
from functools import partial

from nnray.errors import StoreError
from nnray.store.metrics_log import Row, metrics_of
from nnray.store.record import Cause, readable_record
from nnray.sweep.observer import Observer
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import TrialQueue
from nnray.sweep.room_in_store import RoomInStore
from nnray.sweep.workers.retry import Retries
from nnray.training.failures import is_lack_of_room
from nnray.training.runner import Outcome, Run, run_trial


def run_in_process(queue: TrialQueue, run: Run, observer: Observer) -> None:
    """Train until every trial of ``queue`` has a result."""
    retries, disk = Retries(lambda resources: None), RoomInStore(queue, observer)
    while not queue.exhausted:
        if disk.is_full:
            queue.heed_requests()
            time.sleep(0.2)
            continue
        trial = queue.take()
        if trial is None:
            observer.waiting(queue.elsewhere)
            time.sleep(0.2)
            continue
        observer.started(trial)
        outcome, cause = _trained(trial, run, observer)
        if cause == "disk-full" and retries.next_attempt(trial, cause) is not None and disk.wait(trial):
            observer.left(trial, "disk full, waits for room")
            continue
        queue.settle(trial.signature, outcome)
        if outcome == "interrupted":
            observer.left(trial, "interrupted on request")
        elif outcome != "claimed":
            observer.ended(trial, outcome)


def _trained(trial: PlannedTrial, run: Run, observer: Observer) -> tuple[Outcome, Cause | None]:
    """Train a trial; return what became of it, and why it failed if it has."""
    try:
        outcome = run_trial(trial.paths, trial.configuration, run, partial(_tell, observer, trial))
    except OSError as error:
        if is_lack_of_room(error):  # for the record of the failure, too
            return "failed", "disk-full"
        raise
    except StoreError as error:  # its folder is damaged, which must not stop the others
        observer.left(trial, " ".join(str(error).split()))
        return "failed", "error"
    record = readable_record(trial.paths) if outcome == "failed" else None
    return outcome, record.cause if record is not None else None


def _tell(observer: Observer, trial: PlannedTrial, row: Row) -> None:
    observer.epoch_ended(trial, row["epoch"], metrics_of(row))
