"""A scheduler that is told what the store holds decides as one that has seen it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from trials import configured, folder_of

from nnray.space import Sweep
from nnray.store.membership import Membership
from nnray.store.record import Record
from nnray.sweep.planning.plan import Plan, planned
from nnray.sweep.scheduling import make_scheduler
from nnray.sweep.scheduling.replay import tell_finished, tell_rows
from nnray.trial import StorePaths

SWEEP = Sweep(name="study", base={"data": "nnray.data.Digits"})


class _Trial:
    """What a scheduler sees of a trial of this run."""

    status = "RUNNING"
    is_saving = False

    def __init__(self, trial_id: str) -> None:
        self.trial_id = self.experiment_tag = trial_id
        self.config: dict[str, Any] = {}


class _Controller:
    search_alg = None

    def get_trials(self) -> list[Any]:
        return []

    get_live_trials = get_trials


def _rows(values: list[float], begun: float) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "step": epoch, "time": begun + epoch, "val_acc": value} for epoch, value in enumerate(values)
    ]


def _plan(store: StorePaths, results: dict[int, list[float]]) -> Plan:
    """Return a plan whose trials, by seed, have ended with these values."""
    trials = []
    for seed, values in results.items():
        configuration = configured({"seed": seed})
        paths = folder_of(store, configuration)
        paths.metrics.write_text("".join(json.dumps(row) + "\n" for row in _rows(values, 100.0 * seed)))
        status = "completed" if len(values) == 9 else "stopped"
        ended = datetime(2025, 1, 1, tzinfo=UTC)
        Record(signature=configuration.full_signature, status=status, ended=ended).write(paths.record)
        trials.append(planned(store, configuration, Membership(f"seed={seed}", seed)))
    return Plan(SWEEP, store, tuple(trials), ())


RESULTS = {
    0: [0.1 * epoch for epoch in range(1, 10)],
    1: [0.09 * epoch for epoch in range(1, 10)],
    2: [0.08 * epoch for epoch in range(1, 10)],
    3: [0.01],
}


@pytest.mark.parametrize("name", ["asha", "median", "fifo"])
def test_a_bad_trial_is_stopped_by_what_earlier_runs_did(name: str, store: StorePaths) -> None:
    scheduler = make_scheduler(name, "val_acc", "max", 9)
    tell_finished(scheduler, _plan(store, RESULTS))
    trial = _Trial("new")
    scheduler.on_trial_add(_Controller(), trial)
    decision = scheduler.on_trial_result(_Controller(), trial, {"training_iteration": 1, "val_acc": 0.02})
    assert decision == ("CONTINUE" if name == "fifo" else "STOP")


@pytest.mark.parametrize("name", ["asha", "median"])
def test_without_them_it_goes_on(name: str, store: StorePaths) -> None:
    scheduler = make_scheduler(name, "val_acc", "max", 9)
    tell_finished(scheduler, _plan(store, {}))
    trial = _Trial("new")
    scheduler.on_trial_add(_Controller(), trial)
    result = {"training_iteration": 1, "val_acc": 0.02}
    assert scheduler.on_trial_result(_Controller(), trial, result) == "CONTINUE"


def test_the_rungs_are_those_of_a_sweep_that_was_never_interrupted(store: StorePaths) -> None:
    told = make_scheduler({"name": "asha", "reduction_factor": 3}, "val_acc", "max", 9)
    tell_finished(told, _plan(store, RESULTS))
    rungs = {milestone: sorted(values.values()) for milestone, values in told._brackets[0]._rungs}
    assert rungs == {
        9: pytest.approx([0.72, 0.81, 0.9]),
        3: pytest.approx([0.24, 0.27, 0.3]),
        1: pytest.approx([0.01, 0.08, 0.09, 0.1]),
    }


def test_a_resumed_trial_stands_where_it_was(store: StorePaths) -> None:
    scheduler = make_scheduler({"name": "asha", "reduction_factor": 3}, "val_acc", "max", 9)
    trial = _Trial("resumed")
    scheduler.on_trial_add(_Controller(), trial)
    tell_rows(scheduler, _Controller(), trial, _rows([0.2, 0.3, 0.4], 0.0))
    assert dict(scheduler._brackets[0]._rungs) == {
        9: {},
        3: {"resumed": 0.4},
        1: {"resumed": 0.2},
    }


def test_a_resumed_trial_of_a_population_is_due_when_it_would_have_been(store: StorePaths) -> None:
    mutations = {"optimizer.lr": [0.1, 0.01]}
    spec = {"name": "pbt", "perturbation_interval": 4, "hyperparam_mutations": mutations, "synch": True}
    scheduler = make_scheduler(spec, "val_acc", "max", 20)
    trial = _Trial("resumed")
    scheduler._trial_state[trial] = type("State", (), {"last_train_time": 0, "last_perturbation_time": 0})()
    tell_rows(scheduler, _Controller(), trial, _rows([0.1] * 7, 0.0))
    assert vars(scheduler._trial_state[trial]) == {"last_train_time": 7, "last_perturbation_time": 4}
    assert scheduler._next_perturbation_sync == 8
