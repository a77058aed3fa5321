"""Rows of a trial that is resumed: none goes before its successor is there, and none stays beside it."""

from __future__ import annotations

from pathlib import Path

from nnray.store.metrics_log import Row, RowLog, read_rows, rows_around, write_rows


def row(epoch: int, loss: float) -> Row:
    return {"epoch": epoch, "step": epoch, "time": 0.0, "loss": loss}


def resumed(path: Path, epoch: int) -> RowLog:
    rows, ahead = rows_around(path, epoch)
    return RowLog(path, rows, ahead=ahead)


def facts(path: Path) -> list[tuple[int, float]]:
    return [(row["epoch"], row["loss"]) for row in read_rows(path)]


def test_a_row_stays_until_its_epoch_is_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, [row(epoch, 1.0) for epoch in range(4)])
    log = resumed(path, 2)
    assert facts(path) == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]
    log.append(row(2, 2.0))
    assert facts(path) == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 1.0)]
    log.append(row(3, 2.0))
    log.append(row(4, 2.0))
    assert facts(path) == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0)]
    log.close()


def test_rows_for_which_no_new_one_comes_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, [row(epoch, 1.0) for epoch in range(4)])
    log = resumed(path, 1)
    log.append(row(1, 2.0))
    log.drop_ahead()
    assert facts(path) == [(0, 1.0), (1, 2.0)]
    log.append(row(2, 2.0))
    assert facts(path) == [(0, 1.0), (1, 2.0), (2, 2.0)]
    log.close()


def test_a_row_that_was_cut_short_is_gone_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, [row(0, 1.0)])
    path.write_bytes(path.read_bytes() + b'{"epoch": 1, "st')
    log = resumed(path, 1)
    log.append(row(1, 2.0))
    assert facts(path) == [(0, 1.0), (1, 2.0)]
    log.close()
