"""What the terminal shows of a sweep is what its books say."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from trials import TINY

from nnray import Sweep, grid
from nnray.store.listing import SweepListing
from nnray.store.record import now
from nnray.store.sweep_reader import SweepReader
from nnray.store.tables import write_tables
from nnray.sweep.in_process import run_in_process
from nnray.sweep.observer import Observers
from nnray.sweep.planning.plan import Plan, make_plan
from nnray.sweep.queue import TrialQueue
from nnray.sweep.watching.display import Display, plan_columns
from nnray.training.code import Code
from nnray.training.runner import Run

WIDTH = "config/model.init_args.width"


def plan(store, seeds):
    space = {"model.width": grid(2, 4), "seed": grid(range(seeds))}
    made = make_plan(Sweep(name="s", base=TINY, space=space, metric="val_acc"), store, Path())
    made.apply()
    return made


class Watcher:
    """Asks the display for its progress at every event."""

    def __init__(self, display):
        self.display = display
        self.seen = []

    def started(self, trial):
        self.seen.append(self.display.progress())

    epoch_ended = ended = lambda self, trial, *_: self.started(trial)

    def waiting(self, elsewhere):
        pass


def carried_out(made: Plan, columns=None, terminal=True):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, height=30, color_system=None)
    display = Display(made, console, columns)
    watcher = Watcher(display)
    with display:
        run_in_process(TrialQueue(made.todo, now()), Run(Code(), now()), Observers([display, watcher]))
        last = io.StringIO()
        Console(file=last, width=100, color_system=None).print(display._picture())
    return display, watcher.seen, last.getvalue(), file.getvalue()


def test_it_agrees_with_the_store(store):
    made = plan(store, 2)
    display, seen, picture, _ = carried_out(made, ("name", WIDTH, "val_acc", "best/val_acc", "val_loss"))
    listing = SweepListing(store, "s")
    listing.rescan()
    write_tables(store, "s", listing.trials())
    reader = SweepReader(store, "s")
    reader.choose([WIDTH, "val_loss"])
    told, stored = display.progress(), reader.read()
    assert told.counts["completed"] == stored.counts["completed"] == 4
    assert [trial.name for trial in told.finished] == [trial.name for trial in stored.finished]
    for one, other in zip(told.finished, stored.finished, strict=True):
        assert (one.signature, one.epoch, one.epochs) == (other.signature, other.epoch, other.epochs)
        assert {key: one.values[key] for key in other.values} == other.values
    for progress in seen:
        assert progress.total == 4
        assert progress.counts["running"] == len(progress.running) <= 1
    at_work = [progress for progress in seen if progress.running and progress.running[0].epoch == 2]
    assert at_work
    assert all(trial.rate for progress in at_work for trial in progress.running)
    assert at_work[0].left_s is not None
    assert "best" in picture

    # A second command on more seeds shows the finished ones of the first.
    display, seen, picture, _ = carried_out(plan(store, 3))
    assert [trial.name for trial in seen[0].finished] == [trial.name for trial in stored.finished]
    assert seen[0].counts["completed"] == 4
    assert display.progress().counts["completed"] == 6


def test_failures_are_told_at_once_and_stay_in_the_table(store):
    space = {"optimizer.lr": grid(0.01, -1.0)}
    made = make_plan(Sweep(name="s", base=TINY, space=space, metric="val_acc"), store, Path())
    made.apply()
    display, _, picture, output = carried_out(made)
    assert "failed: lr=-1 (" in output
    assert [trial.status for trial in display.progress().trials] == ["completed", "failed"]
    assert any(line.startswith("lr=-1") and "failed" in line for line in picture.splitlines())


def test_keys_and_the_metric_can_be_chosen_before_anything_runs(store):
    columns = plan_columns(plan(store, 1))
    assert {WIDTH, "config/seed", "val_acc", "best/val_acc"} <= set(columns)
