"""A runner that was cut off and goes on writing beside its successor does no harm, with real processes.

The worst moments lie between the check that a claim is held and the write that follows, and are hit exactly here.
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
from contenders import shorten_leases
from trials import configured, train

from nnray.store.claim import is_claimed
from nnray.store.format import settle_format
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.trial import StorePaths, TrialPaths

SLOW: dict[str, Any] = {  # six batches an epoch
    "trainer.max_epochs": 4,
    "trainer.callbacks": [{"class_path": "user_code.SlowBatches", "init_args": {"seconds": 0.06}}],
}
MOMENTS = ["a batch", "a row", "a checkpoint", "the state", "the record"]


def _stop_at(moment: str) -> None:
    """Let this process stop, once, right before it does something for the second or third time."""
    from user_code import SlowBatches

    from nnray.store import metrics_log
    from nnray.store.files import writing

    def stopping(owner: Any, name: str, counts: Callable[..., bool], at: int) -> None:
        real, calls = getattr(owner, name), 0

        def called(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += counts(*arguments)
            if calls == at:
                calls += 1
                os.kill(os.getpid(), signal.SIGSTOP)
            return real(*arguments, **named)

        setattr(owner, name, called)

    if moment == "a batch":
        stopping(SlowBatches, "on_train_batch_end", lambda *_: True, 9)
    elif moment == "a row":
        stopping(metrics_log, "_write_all", lambda *_: True, 2)
    elif moment == "a checkpoint":
        stopping(writing, "_placed", lambda *_: True, 2)
    elif moment == "the state":
        stopping(Path, "replace", lambda path, target: Path(target).name == "resume.ckpt", 2)
    elif moment == "the record":
        stopping(Path, "replace", lambda path, target: Path(target).name == "record.json", 2)


def _runner(root: Path, moment: str | None, outcome: str) -> None:
    """Train until the outcome is known; exit 0 if it is the expected one."""
    shorten_leases()
    if moment is not None:
        _stop_at(moment)
    while (found := train(root, SLOW)) == "claimed" and outcome != "claimed":
        time.sleep(0.05)
    os._exit(0 if found == outcome else 1)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _result(paths: TrialPaths) -> tuple[dict[int, bytes], list[dict[str, Any]]]:
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}, rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrialPaths:
    root = tmp_path_factory.mktemp("undisturbed")
    assert train(root, SLOW) == "completed"
    return StorePaths(root).trial(configured(SLOW).signature)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("back", ["beside its successor", "after its successor"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_zombie_does_no_harm(
    tmp_path: Path, processes: BaseContext, undisturbed: TrialPaths, moment: str, back: str
) -> None:
    if moment == "the record" and back == "after its successor":
        pytest.skip("documented: the record of the last writer stands, with the same result in it")
    settle_format(tmp_path, "leases")
    paths = StorePaths(tmp_path).trial(undisturbed.signature)
    zombie = processes.Process(target=_runner, args=(tmp_path, moment, "claimed"))  # type: ignore[attr-defined]
    successor = processes.Process(target=_runner, args=(tmp_path, None, "completed"))  # type: ignore[attr-defined]
    zombie.start()
    try:
        _wait(lambda: _state(zombie.pid) == "T")
        rows = len(read_rows(paths.metrics))
        successor.start()
        if back == "beside its successor":
            _wait(lambda: (record := Record.read(paths.record)) is not None and record.attempts == 2)
            _wait(lambda: len(read_rows(paths.metrics)) > min(rows, 2))
        else:
            successor.join(60)
        os.kill(zombie.pid, signal.SIGCONT)
        zombie.join(60)
        successor.join(60)
    finally:
        for process in (zombie, successor):
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
    assert (zombie.exitcode, successor.exitcode) == (0, 0)
    assert _result(paths) == _result(undisturbed)
    record = Record.read(paths.record)
    assert record is not None
    assert (record.status, record.attempts, record.former_attempts) == ("completed", 2, ["lost"])
    log = paths.log.read_text()
    assert log.count(f"nnray: process {zombie.pid} on ") == 1
    assert "leaves the trial" in log
    assert "Traceback" not in log
    assert not is_claimed(paths.claim)
