"""The picture of a sweep's progress fits any width, and says what is most worth knowing."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.cells import cell_len
from rich.console import Console

from nnray.errors import StoreError
from nnray.store.progress import SweepProgress, TrialProgress
from nnray.sweep.watching.progress_table import (
    ProgressTable,
    chosen_columns,
    clock,
    default_columns,
    headline,
    rate_text,
    shortened,
)

USUAL = default_columns("val_acc")
LONG = "model=ResNet depth=20 width=32 lr=0.01 weight_decay=0.0005 batch_size=128 seed="


def trial(number, status="completed", accuracy=0.9, **options):
    values = {"val_acc": accuracy, "best/val_acc": accuracy}
    return TrialProgress(f"{number:016}", f"{LONG}{number}", status, 3, 10, values=values, **options)


def progress(running=2, finished=30, failed=4):
    return SweepProgress(
        "digits",
        "val_acc",
        Counter(running=running, completed=finished, failed=failed, pending=7),
        Counter(error=failed),
        tuple(trial(number, "running", rate=2.0) for number in range(running)),
        tuple(trial(number, duration_s=75.0) for number in range(100, 100 + finished)),
        tuple(trial(number, "failed", error="ValueError: no") for number in range(200, 200 + failed)),
        left_s=90.0,
    )


def shown(progress, width, height=24, terminal=True, columns=USUAL):
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=terminal, color_system=None)
    console.print(ProgressTable(progress, columns))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 80, 60, 40, 25, 12])
def test_no_line_is_wider_than_the_terminal_and_no_row_takes_two(width):
    lines = shown(progress(), width)
    assert max(map(cell_len, lines)) <= width
    header = next(index for index, line in enumerate(lines) if line.startswith("name"))
    assert len(lines) - header - 1 == 24 - 5  # as many trials as have room
    assert all(line.startswith("model") for line in lines[header + 1 :])


def test_80_columns_hold_all_that_is_usually_shown():
    lines = shown(progress(), 80)
    header = next(line for line in lines if line.startswith("name"))
    assert header.split() == ["name", "status", "epoch", "val_acc", "best", "rate", "time"]
    rows = lines[lines.index(header) + 1 :]
    assert rows[0].split()[-6:] == ["3/10", "0.9", "0.9", "2/s", "3.5s", "left"]
    assert rows[0].startswith("model=ResNet")
    assert "…" in rows[0]
    assert "seed=0 " in rows[0]  # names end in what tells replicates apart


def test_a_small_terminal_shows_something_of_each_kind():
    statuses = [line.split()[-5] for line in shown(progress(running=50), 100, height=18) if "completed" in line]
    assert len(statuses) == 5
    assert sum("running" in line for line in shown(progress(running=50), 100, height=18)[2:]) == 5
    assert sum("failed" in line for line in shown(progress(running=50), 100, height=18)[2:]) == 3


def test_a_file_takes_every_trial_and_whole_names():
    lines = shown(progress(), 1000, terminal=False)
    assert len(lines) == 2 + 2 + 30 + 4
    assert f"{LONG}100 " in lines[4]


def test_the_headline_counts():
    assert headline(progress()) == (
        f"digits: 30 of 43 trials done, 2 running, 7 pending, 4 failed (4 error), best val_acc 0.9 ({LONG}100), "
        "about 1:30 left"
    )
    assert headline(SweepProgress("s", None, Counter(stopped=1, completed=2))) == (
        "s: 3 of 3 trials done, 1 of them stopped early"
    )


def test_chosen_columns_stand_in_their_order():
    trials = SweepProgress(
        "s",
        None,
        Counter(completed=1),
        finished=(
            TrialProgress("f" * 16, "n", "completed", values={"config/model.init_args.width": 8, "host": "node7"}),
        ),
    )
    lines = shown(trials, 80, columns=("host", "trial", "config/model.init_args.width"))
    assert [line.split() for line in lines[1:]] == [["host", "trial", "width"], ["node7", "f" * 16, "8"]]


NAMES = ["trial", "host", "config/model.init_args.width", "config/task.init_args.width", "val_acc", "best/val_acc"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (None, default_columns("val_acc")),
        ("name, model.width,best", ("name", "config/model.init_args.width", "best/val_acc")),
        ("val_acc,val_acc", ("val_acc",)),
    ],
)
def test_columns_are_chosen_by_any_name_that_is_clear(text, columns):
    assert chosen_columns(text, NAMES, "val_acc", open_ended=False) == columns


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(StoreError, match="there is no column 'epochs'; did you mean 'epoch'"):
        chosen_columns("epochs", NAMES, "val_acc", open_ended=False)
    for open_ended in (False, True):
        with pytest.raises(StoreError, match="'width' may be"):
            chosen_columns("width", NAMES, "val_acc", open_ended=open_ended)
    assert chosen_columns("train_loss", NAMES, "val_acc", open_ended=True) == ("train_loss",)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (9.94, "9.9s"),
        (42.4, "0:42"),
        (187, "3:07"),
        (3 * 3600, "3:00:00"),
        (2 * 86400 + 11220, "2d 03:07"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(123.4, "123/s"), (1.5, "1.5/s"), (0.5, "30/min"), (0.01, "36/h"), (1e-4, "8.64/d")]
)
def test_rate_text(rate, text):
    assert rate_text(rate) == text


@pytest.mark.parametrize("width", range(30))
@pytest.mark.parametrize("name", ["width=32 lr=0.01 seed=3", "", "a", "幅=三十二 種=三"])
def test_a_name_is_shortened_to_the_width(name, width):
    text = shortened(name, width)
    assert cell_len(text) <= width or text == name == ""
    assert text == name or "…" in text or not width
