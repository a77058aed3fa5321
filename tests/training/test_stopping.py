"""A trial that is left before its last epoch: stopped, which is a result, or interrupted, which is none yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trials import configured, folder_of

from nnray.store.claim import is_claimed
from nnray.store.metrics_log import Row, read_rows
from nnray.store.record import Record, now
from nnray.store.weights import kept_epochs
from nnray.training.code import Code
from nnray.training.runner import Outcome, Run, run_trial
from nnray.training.stopping import InterruptTraining, StopTraining
from nnray.trial import StorePaths, TrialPaths


def _leave_after(epoch: int, request: type[Exception]) -> Callable[[Row], None]:
    def on_epoch(row: Row) -> None:
        if row["epoch"] == epoch:
            raise request

    return on_epoch


def _run(root: Path, raw: dict[str, Any], on_epoch: Callable[[Row], None] | None = None) -> Outcome:
    configuration = configured(raw)
    return run_trial(folder_of(StorePaths(root), configuration), configuration, Run(Code(), now()), on_epoch)


def _paths(root: Path, raw: dict[str, Any]) -> TrialPaths:
    return StorePaths(root).trial(configured(raw).signature)


def _record(paths: TrialPaths) -> Record:
    record = Record.read(paths.record)
    assert record is not None
    return record


def _kept(paths: TrialPaths) -> tuple[dict[int, bytes], list[Row]]:
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}, rows


def test_a_stopped_trial_has_all_that_a_completed_one_has(tmp_path: Path) -> None:
    raw = {"checkpoint.every_n_epochs": 3}
    assert _run(tmp_path / "stopped", raw, _leave_after(1, StopTraining)) == "stopped"
    stopped = _paths(tmp_path / "stopped", raw)
    record = _record(stopped)
    assert record.status == "stopped"
    assert record.error is None
    assert record.ended is not None
    assert record.duration_s is not None
    assert record.device
    assert record.data_fingerprint
    assert record.data_facts == {"in_channels": 1, "num_classes": 10, "image_size": 8}
    assert not is_claimed(stopped.claim)

    assert _run(tmp_path / "whole", {}) == "completed"
    weights, rows = _kept(_paths(tmp_path / "whole", {}))
    assert _kept(stopped) == ({1: weights[1]}, rows[:2])  # the last weights, although their epoch is not a third one
    assert stopped.resume.exists()


def test_a_stopped_trial_is_not_trained_again(tmp_path: Path) -> None:
    _run(tmp_path, {}, _leave_after(0, StopTraining))
    assert _run(tmp_path, {}) == "stopped"
    assert [row["epoch"] for row in read_rows(_paths(tmp_path, {}).metrics)] == [0]


@pytest.mark.parametrize("request_type", [StopTraining, InterruptTraining])
def test_after_the_last_epoch_a_trial_is_complete(request_type: type[Exception], tmp_path: Path) -> None:
    assert _run(tmp_path, {}, _leave_after(2, request_type)) == "completed"
    assert not _paths(tmp_path, {}).resume.exists()


@pytest.mark.parametrize("epoch", [0, 1])
def test_interrupted_and_continued_equals_never_interrupted(epoch: int, tmp_path: Path) -> None:
    raw = {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 4}},
        "checkpoint.every_n_epochs": 2,
    }
    told: list[int] = []
    assert _run(tmp_path / "left", raw, _leave_after(epoch, InterruptTraining)) == "interrupted"
    left = _paths(tmp_path / "left", raw)
    assert _record(left).status == "pending"
    assert _record(left).ended is None
    assert not is_claimed(left.claim)
    assert _run(tmp_path / "left", raw, lambda row: told.append(row["epoch"])) == "completed"
    assert told == list(range(epoch + 1, 3))  # no epoch is trained twice

    assert _run(tmp_path / "whole", raw) == "completed"
    assert _kept(left) == _kept(_paths(tmp_path / "whole", raw))
    assert _record(left).attempts == 2
