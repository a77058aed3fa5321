"""How far a sweep is: read from its table and from the folders of the trials that run, and from nothing else."""

from __future__ import annotations

import dataclasses
import math
import shutil
from datetime import timedelta

import pytest
from trial_folders import START, append_row, epoch_row, write_trial

from nnray.errors import StoreError
from nnray.store.claim import Claim
from nnray.store.listing import SweepListing
from nnray.store.progress import TrialProgress, rate_of, sweep_left_s
from nnray.store.record import Record
from nnray.store.sweep_reader import SweepReader
from nnray.store.tables import write_tables


def write(store):
    listing = SweepListing(store, "digits")
    listing.rescan()
    write_tables(store, "digits", listing.trials())


def running(store, position, epochs, **options):
    """Write a trial that a living process runs, for as long as the claim that is returned is held."""
    rows = [epoch_row(epoch, 0.5) for epoch in range(epochs)]
    unfinished = {"status": "running", "ended": None, "duration_s": None}
    paths = write_trial(store, position=position, rows=rows, **unfinished, **options)
    return paths, Claim.acquire(paths.claim)


def test_trials_are_counted_and_the_best_come_first(store):
    for position, accuracy in enumerate([0.7, math.nan, 0.9, 0.8]):
        write_trial(store, position=position, rows=[epoch_row(0, accuracy), epoch_row(1, 0.1)])
    write_trial(store, position=4, status="stopped", rows=[epoch_row(0, 0.85)])
    for position in (5, 6):
        write_trial(store, position=position, status="failed", error="no", ended=START + timedelta(position), rows=[])
    write_trial(store, position=7, status="pending", rows=[])
    write(store)
    progress = SweepReader(store, "digits").read(rows=3)
    assert progress.counts == {"completed": 4, "stopped": 1, "failed": 2, "pending": 1}
    assert (progress.total, progress.done) == (8, 5)
    assert [trial.values["best/val_acc"] for trial in progress.finished] == [0.9, 0.85, 0.8]
    assert [trial.values["val_acc"] for trial in progress.finished] == [0.1, 0.85, 0.1]
    assert [(trial.status, trial.epoch, trial.epochs) for trial in progress.finished[:2]] == [
        ("completed", 2, 3),
        ("stopped", 1, 3),
    ]
    assert [trial.name for trial in progress.failed] == ["seed=6", "seed=5"]
    assert progress.left_s is None  # nobody is at it


def test_the_smallest_loss_is_best_where_the_sweep_says_so(store):
    for position, accuracy in enumerate([0.7, 0.9]):
        write_trial(store, position=position, metric="val_acc", mode="min", rows=[epoch_row(0, accuracy)])
    write(store)
    assert [trial.name for trial in SweepReader(store, "digits").read().finished] == ["seed=0", "seed=1"]


def test_without_a_metric_the_last_to_end_come_first(store):
    for position in range(3):
        write_trial(store, position=position, metric=None, mode=None, ended=START + timedelta(seconds=position % 2))
    write(store)
    assert [trial.name for trial in SweepReader(store, "digits").read().finished] == ["seed=1", "seed=0", "seed=2"]


def test_running_trials_are_told_by_their_folders(store):
    write_trial(store, position=0, duration_s=6.0)
    write_trial(store, position=1, status="pending", rows=[])
    paths, claim = running(store, 2, epochs=1)
    write(store)
    reader = SweepReader(store, "digits")
    (trial,) = reader.read().running
    assert (trial.epoch, trial.epochs) == (1, 3)
    assert trial.rate == pytest.approx(4.0)  # one epoch since it started
    append_row(paths.metrics, epoch_row(1, 0.75))
    progress = reader.read()
    (trial,) = progress.running
    assert (trial.epoch, trial.rate, trial.left_s) == (2, 1.0, 1.0)
    assert trial.values == {"val_acc": 0.75, "best/val_acc": 0.75}
    assert progress.left_s == pytest.approx(1.0 + 6.0)  # its last epoch, and a trial that takes as long as the first
    record = Record.read(paths.record)
    assert record is not None
    dataclasses.replace(record, status="completed").write(paths.record)
    claim.release()
    progress = reader.read()
    assert progress.running == ()
    assert progress.counts == {"completed": 2, "pending": 1}


def test_a_trial_whose_runner_is_gone_is_pending(store):
    _, claim = running(store, 0, epochs=1)
    write(store)
    claim.release()
    assert SweepReader(store, "digits").read().counts == {"pending": 1}


def test_a_table_that_was_written_again_is_read_again(store):
    write_trial(store, position=0)
    write(store)
    reader = SweepReader(store, "digits")
    assert reader.read().total == 1
    write_trial(store, position=1)
    write(store)
    assert reader.read().total == 2


def test_only_folders_of_trials_that_are_shown_are_read(store):
    for position in range(5):
        write_trial(store, position=position, rows=[epoch_row(0, position / 10)])
    write(store)
    best = SweepReader(store, "digits").read(rows=1).finished[0].signature
    for folder in store.trials.iterdir():
        if folder.name != best:
            shutil.rmtree(folder)
    progress = SweepReader(store, "digits").read(rows=1)
    assert progress.counts == {"completed": 5}
    assert [trial.signature for trial in progress.finished] == [best]


def test_chosen_columns_are_values(store):
    write_trial(store, position=0, host="node7")
    write(store)
    reader = SweepReader(store, "digits")
    reader.choose(["config/model.init_args.width", "host", "not there"])
    (trial,) = reader.read().finished
    assert {"config/model.init_args.width": 8, "host": "node7"}.items() <= trial.values.items()
    assert "not there" not in trial.values


def test_a_damaged_folder_hides_nothing(store):
    paths = write_trial(store, position=0)
    write(store)
    paths.record.write_text("{")
    assert SweepReader(store, "digits").read().counts == {"completed": 1}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [("digit", "there is no sweep 'digit' in .*; did you mean 'digits'"), ("../digits", "there is no sweep")],
)
def test_a_sweep_that_is_not_there_is_named(store, sweep, message):
    write_trial(store)
    write(store)
    with pytest.raises(StoreError, match=message):
        SweepReader(store, sweep)


def test_a_damaged_table_is_one_line(store):
    write_trial(store)
    write(store)
    store.table("digits", "trials").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(StoreError, match=r"cannot be read \(nnray rebuild makes it anew\)"):
        SweepReader(store, "digits")


@pytest.mark.parametrize(
    ("times", "rate"),
    [([], None), ([1.0], None), ([1.0, 1.0], None), ([0.0, 2.0], 0.5), ([0.0, 1.0, 1000.0, 1001.0, 1002.0], 1.0)],
    ids=["none", "one", "no time", "two", "a pause between attempts"],
)
def test_rate(times, rate):
    assert rate_of(times) == rate


def trial(epoch, epochs, rate):
    return TrialProgress("0" * 16, "n", "running", epoch, epochs, rate)


@pytest.mark.parametrize(
    ("running", "pending", "ended", "at_a_time", "left"),
    [
        ([], 30, (10.0, 10), 0, None),
        ([trial(0, 10, None)], 0, (0.0, 0), 1, None),
        ([trial(5, 10, 1.0)], 0, (0.0, 0), 1, 5.0),
        ([trial(5, 10, 1.0), trial(5, 10, 1.0)], 30, (20.0, 10), 2, (5 + 5 + 60) / 2),
        ([trial(0, 100, 1.0), trial(9, 10, 1.0)], 0, (0.0, 0), 2, 100.0),
        ([trial(0, 10, None)], 10, (5.0, 10), 1, 10.0),
    ],
    ids=["nothing runs", "nothing measured", "one", "two at a time", "the longest", "by those before"],
)
def test_time_left(running, pending, ended, at_a_time, left):
    assert sweep_left_s(running, pending, *ended, at_a_time) == left
