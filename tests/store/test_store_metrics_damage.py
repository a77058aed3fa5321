"""Damage to ``metrics.jsonl`` is noticed, whatever it is, and what is still read is what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trial_folders import epoch_row, write_trial

from nnray.cli.main import main
from nnray.errors import StoreError
from nnray.store.listing import SweepListing
from nnray.store.metrics_log import RowLog, checked_rows, read_rows, write_rows
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths

ROWS = [epoch_row(epoch, 0.5 + 0.1 * epoch) for epoch in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four rows, written as a trial writes them."""
    file = tmp_path / "metrics.jsonl"
    log = RowLog(file, [])
    for row in ROWS:
        log.append(row)
    log.close()
    return file


def test_every_flipped_bit_and_every_cut_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))]
    for place in range(len(whole)):
        damaged += [whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :] for bit in range(8)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"metrics\.jsonl is damaged: "):
            checked_rows(path, 4)


@pytest.mark.parametrize(
    ("edit", "left"),
    [
        (lambda lines: lines[1:], 0),
        (lambda lines: lines[:1] + lines[2:], 1),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 1),
        (lambda lines: lines[:2] + lines[1:], 2),
        (lambda lines: [*lines[:2], lines[2].replace(b"0.7", b"0.9"), lines[3]], 2),
        (lambda lines: [*lines[:3], b'{"epoch": 3, "step": 40}\n'], 3),
    ],
    ids=["first gone", "second gone", "in another order", "one twice", "a value changed", "no checksum"],
)
def test_lines_that_are_not_what_was_written(path: Path, edit, left: int) -> None:
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(StoreError, match=rf"line {left + 1} is not what was written"):
        checked_rows(path, None)
    assert read_rows(path) == ROWS[:left]


def test_a_kill_is_no_damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])  # the last line is half written
    assert checked_rows(path, 0) == ROWS[:3]
    with pytest.raises(StoreError, match="it has 3 of 4 rows"):
        checked_rows(path, 4)


def test_what_former_versions_wrote_is_read(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert checked_rows(path, None) == ROWS


def test_a_metric_may_be_called_like_the_checksum(path: Path) -> None:
    rows = [{"epoch": 0, "crc32": 0.5}, {"epoch": 1, "crc32": 0.25}]
    write_rows(path, rows)
    assert checked_rows(path, 2) == rows


@pytest.fixture
def trial(tmp_path: Path) -> TrialPaths:
    """The first of two completed trials."""
    store = StorePaths(tmp_path / "store")
    trials = [write_trial(store, position=position, rows=ROWS) for position in range(2)]
    return trials[0]


def _change(paths: TrialPaths) -> None:
    paths.metrics.write_bytes(paths.metrics.read_bytes().replace(b"0.6", b"0.8", 1))


def test_everyone_who_reads_tells_of_it(trial: TrialPaths, capsys: pytest.CaptureFixture[str]) -> None:
    store = trial.store
    _change(trial)
    line = f"{trial.metrics} is damaged: line 2 is not what was written (its checksum differs)"
    assert main(["rebuild", "digits", "--store", str(store.root)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "digits: 1 trial in tables, 1 in MLflow\n"
    assert captured.err == f"nnray: trial {trial.signature} is left out: {line}\n"
    assert main(["info", trial.signature, "--store", str(store.root)]) == 0
    assert line in capsys.readouterr().out
    listing = SweepListing(store, "digits")
    listing.rescan()
    assert (len(listing.trials()), listing.damaged) == (1, {trial.signature: line})


def test_rows_that_were_cut_off_a_trial_that_has_ended(trial: TrialPaths) -> None:
    record = Record.read(trial.record)
    assert record is not None
    write_rows(trial.metrics, ROWS[:3])
    listing = SweepListing(trial.store, "digits")
    listing.rescan()
    assert listing.damaged == {}, "nothing is known of how many there were"
    trial.record.write_text(trial.record.read_text().replace('"rows": null', '"rows": 4'))
    listing.rescan()
    assert listing.damaged == {trial.signature: f"{trial.metrics} is damaged: it has 3 of 4 rows"}
