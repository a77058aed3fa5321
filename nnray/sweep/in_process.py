"""Run a sweep in this process, one trial after another, without Ray: for debuggers and small machines."""

from __future__ import annotations

import time

from nnray.store.metrics_log import Row, metrics_of
from nnray.sweep.observer import Observer
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

        def epoch_ended(row: Row, trial=trial) -> None:  # noqa: ANN001 - bound now, not when called
            observer.epoch_ended(trial, row["epoch"], metrics_of(row))

        outcome = run_trial(trial.paths, trial.configuration, run, epoch_ended)
        queue.settle(trial.signature, outcome)
        if outcome != "claimed":
            observer.ended(trial, outcome)
