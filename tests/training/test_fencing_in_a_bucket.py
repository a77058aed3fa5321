"""A runner that is stopped between its last check and its request, in a bucket: what its successor wrote stays.

On a disk the worst moments are those of test_fencing.py; here every file is replaced as a whole, also the rows.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
from contenders import OBJECTS_GRAIN_S, shorten_leases
from trials import configured, train

from nnray.store.files import path_of
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.trial import StorePaths, TrialPaths

SLOW: dict[str, Any] = {  # six batches an epoch
    "trainer.max_epochs": 3,
    "trainer.callbacks": [{"class_path": "user_code.SlowBatches", "init_args": {"seconds": 0.05}}],
}

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def _runner(root: str, environment: dict[str, str], stop_at: str | None, outcome: str) -> None:
    """Train until the outcome is known; stop once, right before the second request that replaces ``stop_at``."""
    os.environ.update(environment)
    shorten_leases(OBJECTS_GRAIN_S)
    from nnray.store.files import writing

    real, calls = writing.put_over, 0

    def stopping(path: Any, *arguments: Any) -> bool:
        nonlocal calls
        print(f"process {os.getpid()}")  # so that the log grows
        calls += path.name == stop_at
        if calls == 2:
            calls += 1
            os.kill(os.getpid(), signal.SIGSTOP)
        return real(path, *arguments)

    writing.put_over = stopping
    while (found := train(path_of(root), SLOW)) == "claimed" and outcome != "claimed":
        time.sleep(0.1)
    os._exit(0 if found == outcome else 1)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _result(paths: TrialPaths) -> tuple[dict[int, bytes], list[dict[str, Any]]]:
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}, rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrialPaths:
    root = tmp_path_factory.mktemp("undisturbed")
    assert train(root, SLOW) == "completed"
    return StorePaths(root).trial(configured(SLOW).signature)


@pytest.mark.parametrize("name", ["metrics.jsonl", "resume.ckpt", "record.json", "log.txt"])
def test_what_comes_too_late_is_not_written(
    name: str, bucket: str, processes: BaseContext, undisturbed: TrialPaths
) -> None:
    paths = StorePaths(path_of(bucket)).trial(undisturbed.signature)
    environment = {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
    zombie, successor = (
        processes.Process(target=_runner, args=(bucket, environment, *how))  # type: ignore[attr-defined]
        for how in ((name, "claimed"), (None, "completed"))
    )
    zombie.start()
    try:
        _wait(lambda: _state(zombie.pid) == "T")
        successor.start()
        successor.join(60)
        left = {path.name: path.read_bytes() for path in (paths.metrics, paths.record, paths.log)}
        os.kill(zombie.pid, signal.SIGCONT)
        zombie.join(60)
    finally:
        for process in (zombie, successor):
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
    assert (zombie.exitcode, successor.exitcode) == (0, 0)
    assert _result(paths) == _result(undisturbed)
    assert not paths.resume.exists()
    assert {path.name: path.read_bytes() for path in (paths.metrics, paths.record)} == {
        other: content for other, content in left.items() if other != "log.txt"
    }
    record = Record.read(paths.record)
    assert record is not None
    assert (record.status, record.attempts, record.former_attempts) == ("completed", 2, ["lost"])
    log = paths.log.read_bytes().removeprefix(left["log.txt"]).decode()
    assert log.startswith(f"nnray: process {zombie.pid} on ")
    assert "leaves the trial" in log
