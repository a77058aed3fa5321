"""Run a sweep in this process, one trial after another, without Ray: for debuggers and small machines."""

from __future__ import annotations

import time
from functools import partial

from nnray.store.metrics_log import Row, metrics_of
from nnray.sweep.observer import Observer
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import TrialQueue
from nnray.training.runner import Run, run_trial


def run_in_process(queue: TrialQueue, run: Run, observer: Observer) -> None:
    """Train until every trial of ``queue`` has a result."""
    while not queue.exhausted:
        trial = queue.take()
        if trial is None:
            observer.waiting(queue.elsewhere)
            time.sleep(0.2)
            continue
        observer.started(trial)

        outcome = run_trial(trial.paths, trial.configuration, run, partial(_tell, observer, trial))
        queue.settle(trial.signature, outcome)
        if outcome == "interrupted":
            observer.left(trial, "interrupted on request")
        elif outcome != "claimed":
            observer.ended(trial, outcome)


def _tell(observer: Observer, trial: PlannedTrial, row: Row) -> None:
    observer.epoch_ended(trial, row["epoch"], metrics_of(row))
