"""A full disk fails no trial for good: what there is stays readable, and the sweep goes on once there is room."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until
from trials import TINY, configured, train

from nnray.cli.main import main
from nnray.errors import TrialError
from nnray.space.resources import Resources
from nnray.store.membership import Membership
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record, now
from nnray.store.weights import load_weights
from nnray.sweep.planning.plan import PlannedTrial, planned
from nnray.sweep.queue import TrialQueue
from nnray.sweep.room_in_store import RoomInStore
from nnray.sweep.workers.retry import Retries
from nnray.training.failures import cause_of
from nnray.training.runner import Outcome
from nnray.trial import StorePaths, resolve

SIZE = 12_000_000
SPACE = """
name: small
base:
  model: {class_path: nnray.models.MLP, init_args: {width: 256}}
  data: nnray.data.Digits
  trainer: {max_epochs: 3}
space: {seed: {grid: [0, 1]}}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("nobody may mount a file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, but: int) -> Path:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - but))
    return ballast


def causes(store: StorePaths) -> list[str | None]:
    records = [Record.read(path / "record.json") for path in sorted(store.trials.glob("[0-9a-f]*"))]
    return [record.cause for record in records if record is not None]


@pytest.mark.parametrize("how", ["goes on by itself", "is run again"])
def test_a_sweep_on_a_full_disk_goes_on_once_there_is_room(how: str, disk: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    words = ["sweep", "small.yaml", "--in-process", "--store", str(disk / "store")]
    store = StorePaths(disk / "store")
    assert nnray(tmp_path, *words, "--dry-run")[0] == 0
    store.trials.mkdir(parents=True)
    ballast = fill(disk, but=1_200_000)  # enough to begin, not enough for a trial
    command = start(tmp_path, *words)
    try:
        wait_until(lambda: "disk-full" in causes(store) or command.poll() is not None)
        for record in store.trials.glob("*/record.json"):
            Record.read(record)
        for checkpoint in store.trials.glob("*/checkpoints/epoch*"):
            load_weights(checkpoint)
        for table in store.tables.glob("*/*.parquet"):
            pd.read_parquet(table)
        if how == "is run again":
            command.send_signal(2)
            assert finish(command)[0] == 130
        ballast.unlink()
        status, output = finish(command) if how == "goes on by itself" else nnray(tmp_path, *words)
    finally:
        command.kill()
    assert status == 0, output
    assert len(pd.read_parquet(store.table("small", "checkpoints"))) == 6
    for folder in store.trials.glob("[0-9a-f]*"):
        record = Record.read(folder / "record.json")
        assert record is not None
        assert (record.status, record.cause) == ("completed", None)
        assert [row["epoch"] for row in read_rows(folder / "metrics.jsonl")] == [0, 1, 2]
    assert not list(store.root.rglob(".*.part"))


@pytest.mark.filterwarnings("default")  # Tune's own, in this very process
def test_on_ray_as_well(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: str) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    store = StorePaths(disk / "store")
    store.trials.mkdir(parents=True)
    ballast = fill(disk, but=1_200_000)

    def make_room() -> None:
        wait_until(lambda: "disk-full" in causes(store))
        ballast.unlink()

    with ThreadPoolExecutor(1) as pool:
        making_room = pool.submit(make_room)
        assert main(["sweep", "small.yaml", "--store", str(store.root)]) == 0
        making_room.result()
    records = [Record.read(path) for path in store.trials.glob("*/record.json")]
    assert [record.status for record in records if record] == ["completed", "completed"]
    assert "disk-full" in [end for record in records if record for end in record.former_attempts]


class Told:
    """An observer that remembers how trials ended."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def ended(self, trial: PlannedTrial, result: str) -> None:
        self.results.append(result)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


@pytest.fixture
def handed_out(tmp_path: Path) -> tuple[TrialQueue, PlannedTrial]:
    configuration = resolve({**TINY, "model": "nnray.models.MLP"})
    trial = planned(StorePaths(tmp_path), configuration, Membership("one"))
    trial.paths.folder.mkdir(parents=True)
    queue = TrialQueue([trial], now())
    assert queue.take() is trial
    return queue, trial


def test_a_trial_waits_for_room_and_is_tried_again(handed_out: tuple[TrialQueue, PlannedTrial]) -> None:
    queue, trial = handed_out
    room = RoomInStore(queue, Told())
    assert not room.is_full
    failed = Record(trial.configuration.full_signature, status="failed", cause="disk-full", attempts=1, ended=now())
    failed.write(trial.paths.record)
    assert room.wait(trial)
    assert not room.is_full  # there is room here
    record = Record.read(trial.paths.record)
    assert record is not None
    assert (record.status, record.former_attempts) == ("pending", ["disk-full"])
    assert queue.take() is trial


def test_patience_has_an_end(handed_out: tuple[TrialQueue, PlannedTrial], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnray.sweep.room_in_store.has_room", lambda trial: False)
    queue, trial = handed_out
    told = Told()
    room = RoomInStore(queue, told, patience_s=0.0)
    assert room.wait(trial)
    assert not room.is_full
    assert told.results == ["failed"]
    assert queue.exhausted
    assert not room.wait(trial)


def test_a_trial_for_which_the_disk_was_full_is_planned_again(handed_out: tuple[TrialQueue, PlannedTrial]) -> None:
    _, trial = handed_out
    for cause, state in (("disk-full", "run"), ("error", "failed")):
        Record(trial.configuration.full_signature, status="failed", cause=cause, attempts=1).write(trial.paths.record)
        assert planned(trial.paths.store, trial.configuration, trial.membership).state == state
    trial.paths.resume.touch()
    Record(trial.configuration.full_signature, status="failed", cause="disk-full").write(trial.paths.record)
    assert planned(trial.paths.store, trial.configuration, trial.membership).state == "resume"


def test_it_is_tried_again_ten_times(handed_out: tuple[TrialQueue, PlannedTrial]) -> None:
    retries = Retries(lambda resources: Resources(), max_losses=2)
    attempts = [retries.next_attempt(handed_out[1], "disk-full") for _ in range(3)]
    assert attempts == [handed_out[1], handed_out[1], None]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        OSError(27, "File too large"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("Error while serializing: I/O error: File too large (os error 27)"),
    ],
    ids=["space", "quota", "file size", "safetensors", "safetensors, file size"],
)
def test_the_cause_of_such_a_failure(error: Exception) -> None:
    assert cause_of(error) == "disk-full"
    wrapped = TrialError("the epoch could not be kept")
    wrapped.__cause__ = error
    assert cause_of(wrapped) == "disk-full"
    assert cause_of(OSError(5, "Input/output error")) == "error"


@pytest.mark.parametrize("code", [5, 30, 116], ids=["EIO", "EROFS", "ESTALE"])
def test_a_store_that_cannot_be_used_is_no_error_of_the_trial(tmp_path: Path, code: int) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    assert cause_of(OSError(code, os.strerror(code), str(store / "trials" / "resume.ckpt")), store) == "lost"
    assert cause_of(OSError(code, os.strerror(code), str(data / "train.bin")), store) == "error"


def train_with_small_files(root: Path, size: int) -> Outcome:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return train(root, {})


def test_a_write_that_pytorch_saw_cut_short(tmp_path: Path, in_child: Any) -> None:
    paths = StorePaths(tmp_path / "store").trial(configured().signature)
    in_child(train_with_small_files, tmp_path / "store", 10_000)
    record = Record.read(paths.record)
    assert record is not None
    assert (record.status, record.cause) == ("failed", "disk-full")
    assert "torch/serialization.py" in (record.traceback or "")
    assert train(tmp_path / "store", {}) == "completed"
