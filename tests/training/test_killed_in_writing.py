"""Killed while it writes, twice in a row: a trial ends with the bits of one that was never killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trials import configured, train

from nnray.store.metrics_log import read_rows
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.trial import StorePaths, TrialPaths

STOPPING_EARLY = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "val_loss", "patience": 2, "min_delta": 100.0},
}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_at(root: Path, moment: str, at: int) -> None:
    """Train, and be killed when something happens for the ``at``-th time."""
    import safetensors.torch
    import torch

    from nnray.store import metrics_log
    from nnray.store.files import writing

    def die_at(owner: Any, name: str, instead: Callable[..., None], counts: Callable[..., bool] | None = None) -> None:
        real, calls = getattr(owner, name), 0

        def called(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += counts is None or counts(*arguments)
            return instead(real, *arguments, **named) if calls == at else real(*arguments, **named)

        setattr(owner, name, called)

    def before(real: Any, *arguments: Any, **named: Any) -> None:
        _die()

    def behind(real: Any, *arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        _die()

    def half_a_file(real: Any, content: Any, file: Any, **named: Any) -> None:
        real(content, file, **named)
        if isinstance(file, Path):
            os.truncate(file, file.stat().st_size // 2)
        else:
            file.flush()
            file.truncate(file.tell() // 2)
        _die()

    def half_a_line(real: Any, descriptor: int, data: bytes) -> None:
        real(descriptor, data[: len(data) // 2])
        _die()

    def is_named(name: str) -> Callable[..., bool]:
        return lambda path, target: Path(target).name == name

    what, where = moment.split(": ")
    if what == "row":
        die_at(metrics_log, "_write_all", {"half": half_a_line, "behind": behind}[where])
    elif what == "checkpoint" and where == "half":
        die_at(safetensors.torch, "save_file", half_a_file)
    elif what == "checkpoint":
        die_at(writing, "_placed", {"before": before, "behind": behind}[where])
    elif what == "state" and where == "half":
        die_at(torch, "save", half_a_file)
    else:
        name = {"state": "resume.ckpt", "record": "record.json"}[what]
        die_at(Path, "replace", {"before": before, "behind": behind}[where], is_named(name))
    train(root, {})


def _result(paths: TrialPaths) -> tuple[dict[int, bytes], list[dict[str, Any]]]:
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}, rows


MOMENTS = ["row: half", "row: behind", "checkpoint: half", "checkpoint: before", "checkpoint: behind", "state: half"]
MOMENTS += ["state: before", "state: behind", "record: before"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrialPaths:
    root = tmp_path_factory.mktemp("whole")
    assert train(root, {}) == "completed"
    return StorePaths(root).trial(configured({}).signature)


@pytest.mark.parametrize("moment", MOMENTS, ids=[moment.replace(": ", "-") for moment in MOMENTS])
def test_killed_in_writing(tmp_path: Path, in_child: Any, whole: TrialPaths, moment: str) -> None:
    for at in (1, 1) if moment == "state: behind" else (2, 1):  # behind the second state, no further one is written
        assert in_child(_killed_at, tmp_path, moment, at) == -signal.SIGKILL
    assert train(tmp_path, {}) == "completed"
    paths = StorePaths(tmp_path).trial(whole.signature)
    assert _result(paths) == _result(whole)
    record = Record.read(paths.record)
    assert record is not None
    assert record.status == "completed"
    assert not list(tmp_path.rglob("*.part"))
    assert not paths.resume.exists()


def test_early_stopping_remembers_how_long_it_has_waited(tmp_path: Path, in_child: Any) -> None:
    moments = ["0:1", "1:end", "2:0"]
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(tmp_path), "moments": moments}}
    raw = {"trainer.max_epochs": 6, "trainer.callbacks": [STOPPING_EARLY, kill]}
    for moment in moments:
        assert in_child(train, tmp_path / "killed", raw) == -signal.SIGKILL, f"not killed at {moment}"
    assert train(tmp_path / "killed", raw) == "completed"
    assert train(tmp_path / "whole", raw) == "completed"
    killed, expected = (
        _result(StorePaths(tmp_path / name).trial(configured(raw).signature)) for name in ("killed", "whole")
    )
    assert killed == expected
    assert [row["epoch"] for row in killed[1]] == [0, 1, 2]
