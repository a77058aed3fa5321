"""What a scheduler would know if the sweep had never been interrupted: the results that the store holds are told again.

HyperBand and population based training weigh only trials against each other that still train: the brackets of the one
form anew of the trials that are left, and the other learns how far each of them is.
"""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import (
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    TrialScheduler,
)

from nnray.store.metrics_log import Row, read_rows
from nnray.sweep.planning.plan import Plan

_AMONG_THE_LIVING = (HyperBandScheduler, PopulationBasedTraining)


class _FinishedTrial:
    """Stands for a trial that an earlier run of the sweep has finished."""

    status = "TERMINATED"
    is_saving = False

    def __init__(self, trial_id: str) -> None:
        self.trial_id = self.experiment_tag = trial_id
        self.config: dict[str, Any] = {}

    def is_finished(self) -> bool:
        """Return True."""
        return True


class _NothingRuns:
    """The controller while finished trials are told."""

    search_alg = None

    def get_trials(self) -> list[Any]:
        """Return no trials."""
        return []

    get_live_trials = get_trials


def tell_finished(scheduler: TrialScheduler, plan: Plan) -> None:
    """Tell ``scheduler`` of the trials of ``plan`` that have ended, epoch by epoch in the order of time."""
    scheduler = _deciding(scheduler)
    if isinstance(scheduler, _AMONG_THE_LIVING):
        return
    controller, todo = _NothingRuns(), {trial.signature for trial in plan.todo}
    events = []
    for planned in plan.trials:
        rows = [] if planned.signature in todo or planned.record is None else read_rows(planned.paths.metrics)
        if rows:
            trial = _FinishedTrial(planned.signature)
            scheduler.on_trial_add(controller, trial)
            last = rows[-1]
            events += [(row.get("time", 0.0), trial, _result(row), row is last) for row in rows]
    for _, trial, result, is_last in sorted(events, key=lambda event: event[0]):
        _tell(scheduler, controller, trial, result)
        if is_last and _is_told(scheduler, result):
            scheduler.on_trial_complete(controller, trial, result)


def tell_rows(scheduler: TrialScheduler, controller: Any, trial: Any, rows: list[Row]) -> None:
    """Tell ``scheduler`` of epochs that ``trial`` has behind it; what it would decide has been decided then."""
    scheduler = _deciding(scheduler)
    if not rows:
        return
    if isinstance(scheduler, PopulationBasedTraining):
        _place_in_population(scheduler, trial, rows[-1]["epoch"] + 1)
    if not isinstance(scheduler, _AMONG_THE_LIVING):
        for row in rows:
            _tell(scheduler, controller, trial, _result(row))


def _tell(scheduler: TrialScheduler, controller: Any, trial: Any, result: dict[str, Any]) -> None:
    if _is_told(scheduler, result):
        scheduler.on_trial_result(controller, trial, result)
        if isinstance(scheduler, MedianStoppingRule):  # which refuses to hear more of a trial that it would stop
            scheduler._stopped_trials.discard(trial)


def _place_in_population(scheduler: PopulationBasedTraining, trial: Any, time: int) -> None:
    """Let the next perturbation of a resumed trial be due when it would have been."""
    interval, state = scheduler._perturbation_interval, scheduler._trial_state[trial]
    state.last_train_time = time
    state.last_perturbation_time = time // interval * interval
    scheduler._next_perturbation_sync = max(scheduler._next_perturbation_sync, (time // interval + 1) * interval)


def _result(row: Row) -> dict[str, Any]:
    return {**row, "training_iteration": row["epoch"] + 1}


def _is_told(scheduler: TrialScheduler, result: dict[str, Any]) -> bool:
    """Tell whether ``result`` has what the scheduler goes by; times of day, for one, are not kept for it."""
    return {scheduler.metric, getattr(scheduler, "_time_attr", "epoch")} <= result.keys()


def _deciding(scheduler: TrialScheduler) -> TrialScheduler:
    return scheduler._base_scheduler if isinstance(scheduler, ResourceChangingScheduler) else scheduler
