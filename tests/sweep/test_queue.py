"""Which trial comes next, while other commands train some of the same ones."""

import dataclasses
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from claim_holder import claimed_elsewhere

from nnray import Sweep, grid
from nnray.store.record import Record, now
from nnray.sweep.planning.plan import make_plan
from nnray.sweep.queue import TrialQueue


@pytest.fixture
def trials(store):
    sweep = Sweep(name="s", base={"model": "MLP", "data": "Digits"}, space={"seed": grid(range(3))})
    plan = make_plan(sweep, store, Path())
    plan.apply()
    return plan.trials


def record(trial, status, **changes):
    made = Record(trial.configuration.full_signature, status, ended=now())
    dataclasses.replace(made, **changes).write(trial.paths.record)


def take_within(queue, seconds):
    deadline = time.monotonic() + seconds
    while (trial := queue.take()) is None and not queue.exhausted and time.monotonic() < deadline:
        time.sleep(0.02)
    return trial


def test_trials_come_in_order_and_are_settled(trials):
    queue = TrialQueue(trials, now())
    assert [queue.take() for _ in range(4)] == [*trials, None]
    assert not queue.exhausted
    assert queue.running(trials[1].signature) is trials[1]
    for trial, outcome in zip(trials, ("completed", "failed", "stopped"), strict=True):
        queue.settle(trial.signature, outcome)
        assert queue.running(trial.signature) is None
    assert queue.exhausted
    assert queue.take() is None
    assert queue.results == dict(zip([t.signature for t in trials], ("completed", "failed", "stopped"), strict=True))


def test_nothing_to_do_is_exhausted():
    assert TrialQueue([], now()).exhausted


@pytest.mark.parametrize("status", ["completed", "stopped"])
def test_what_another_command_has_finished_meanwhile_is_not_handed_out(trials, status):
    queue = TrialQueue(trials, now())
    record(trials[0], status)
    assert queue.take() is trials[1]
    assert queue.results == {trials[0].signature: status}


def test_a_failure_counts_only_if_it_is_of_now(trials):
    started = now()
    record(trials[0], "failed", ended=started - timedelta(seconds=1))
    record(trials[1], "failed", ended=started + timedelta(seconds=1))
    queue = TrialQueue(trials, started)
    assert [queue.take(), queue.take()] == [trials[0], trials[2]]
    assert queue.results == {trials[1].signature: "failed"}


def test_a_trial_of_a_dead_runner_is_handed_out(trials):
    record(trials[0], "running", ended=None)
    assert TrialQueue(trials, now()).take() is trials[0]


def test_a_trial_that_another_process_trains_is_put_aside_until_that_dies(trials):
    with claimed_elsewhere(trials[0].paths) as holder:
        record(trials[0], "running", ended=None)
        queue = TrialQueue(trials[:2], now())
        assert queue.take() is trials[1]
        assert queue.elsewhere == 1
        queue.settle(trials[1].signature, "completed")
        assert take_within(queue, 0.7) is None
        assert not queue.exhausted
        holder.send_signal(signal.SIGKILL)
        assert take_within(queue, 10) is trials[0]
    assert queue.elsewhere == 0
    queue.settle(trials[0].signature, "completed")
    assert queue.exhausted


@pytest.mark.parametrize("status", ["completed", "stopped", "failed"])
def test_what_another_process_makes_of_a_trial_is_its_result(trials, status):
    with claimed_elsewhere(trials[0].paths):
        queue = TrialQueue(trials[:1], now())
        assert queue.take() is None
        record(trials[0], status)
        assert queue.take() is None
        assert not queue.exhausted, "it may still be at its last files"
    assert take_within(queue, 10) is None
    assert queue.exhausted
    assert queue.results == {trials[0].signature: status}


def test_a_trial_whose_claim_was_lost_to_another_process_is_put_aside(trials):
    queue = TrialQueue(trials[:1], now())
    assert queue.take() is trials[0]
    with claimed_elsewhere(trials[0].paths):
        queue.settle(trials[0].signature, "claimed")
        assert (queue.elsewhere, queue.exhausted, queue.results) == (1, False, {})
        assert queue.take() is None
    assert take_within(queue, 10) is trials[0]
