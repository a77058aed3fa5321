"""A running trial ends when somebody asks it to, soon, and with nothing lost that its epochs have made."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trials import configured, folder_of

from nnray.store.claim import claim_owner
from nnray.store.membership import Membership
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record, now
from nnray.store.stop_request import StopRequest
from nnray.store.weights import kept_epochs
from nnray.training.code import Code
from nnray.training.runner import Run, run_trial
from nnray.trial import StorePaths, TrialPaths

BATCH_S = 0.15
SLOW: dict[str, Any] = {  # six batches an epoch
    "trainer": {
        "max_epochs": 3,
        "callbacks": [{"class_path": "user_code.SlowBatches", "init_args": {"seconds": BATCH_S}}],
    }
}


def run_and(store: StorePaths, when: Callable[[TrialPaths], bool], act: Callable[[TrialPaths], None]) -> str:
    """Run the slow trial for the sweep ``s``, and act beside it as soon as ``when`` is true."""
    configuration = configured(SLOW)
    paths = folder_of(store, configuration)
    Membership("x").write(paths, "s")

    def beside() -> None:
        while not when(paths):
            time.sleep(0.02)
        act(paths)

    helper = threading.Thread(target=beside)
    helper.start()
    run = Run(Code(), now(), sweep="s", stop_request=store.root / "stop the command")
    outcome = run_trial(paths, configuration, run)
    helper.join(10)
    return outcome


def running(paths: TrialPaths) -> bool:
    return paths.record.exists()


def in_second_epoch(paths: TrialPaths) -> bool:
    return len(read_rows(paths.metrics)) == 1


def ask(verdict: Any) -> Callable[[TrialPaths], None]:
    return lambda paths: StopRequest(verdict, claim_owner(paths.claim) or "").write(paths.stop)


def take_off_the_list(paths: TrialPaths) -> None:
    paths.membership("s").unlink()


def ask_the_command(paths: TrialPaths) -> None:
    (paths.folder.parent.parent / "stop the command").touch()


@pytest.mark.parametrize(
    "act", [ask("interrupt"), take_off_the_list, ask_the_command], ids=["trial", "sweep's list", "command"]
)
def test_interrupted_in_the_middle_of_an_epoch(store: StorePaths, act: Callable[[TrialPaths], None]) -> None:
    assert run_and(store, in_second_epoch, act) == "interrupted"
    paths = folder_of(store, configured(SLOW))
    record = Record.read(paths.record)
    assert record is not None
    assert (record.status, record.attempts, len(read_rows(paths.metrics))) == ("pending", 1, 1), "not in mid-epoch"
    assert paths.resume.exists()
    assert not paths.stop.exists()


def test_an_interruption_changes_no_bit(store: StorePaths, tmp_path: Path) -> None:
    assert run_and(store, in_second_epoch, ask("interrupt")) == "interrupted"
    configuration = configured(SLOW)
    paths = folder_of(store, configuration)
    assert run_trial(paths, configuration, Run(Code(), now())) == "completed"
    whole = folder_of(StorePaths(tmp_path / "whole"), configuration)
    assert run_trial(whole, configuration, Run(Code(), now())) == "completed"
    for one, other in zip(kept_epochs(paths).values(), kept_epochs(whole).values(), strict=True):
        assert one.read_bytes() == other.read_bytes()
    record = Record.read(paths.record)
    assert record is not None
    assert (record.attempts, record.former_attempts) == (2, ["interrupted"])


def test_a_trial_that_is_stopped_ends_its_epoch_and_has_a_result(store: StorePaths) -> None:
    assert run_and(store, running, ask("stop")) == "stopped"
    paths = folder_of(store, configured(SLOW))
    record = Record.read(paths.record)
    assert record is not None
    assert (record.status, record.device is not None) == ("stopped", True)
    assert len(read_rows(paths.metrics)) == 1
    assert list(kept_epochs(paths)) == [0]
    assert not paths.stop.exists()


def test_a_request_for_a_former_run_is_not_heeded(store: StorePaths) -> None:
    def ask_the_former(paths: TrialPaths) -> None:
        owner = json.loads(claim_owner(paths.claim) or "")
        request = StopRequest("interrupt", json.dumps({**owner, "since": owner["since"] - 1}))
        dataclasses.replace(request).write(paths.stop)

    assert run_and(store, running, ask_the_former) == "completed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verdict": 1}'], ids=["empty", "torn", "list", "incomplete"])
def test_what_is_no_request_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stop.json").write_text(text)
    assert StopRequest.read(tmp_path / "stop.json") is None
