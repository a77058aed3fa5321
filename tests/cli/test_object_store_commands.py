"""What a person does to a sweep beside training it, on a store in a bucket."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from commands import ENVIRONMENT, finish, start, wait_until
from object_store import ObjectStore

from nnray.cli.main import main
from nnray.store import files
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={
        "model": "user_code.Tiny",
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "trainer": {
            "max_epochs": EPOCHS,
            "callbacks": [{"class_path": "user_code.Slow", "init_args": {"seconds": 0.2}}],
        },
    },
    space={"seed": grid(range(4))},
    metric="val_acc",
)
"""
HOST = """
import socket
socket.gethostname = lambda: "HOST"
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)


def _sweep_on(host: str, bucket: str, object_store: ObjectStore, epochs: int) -> subprocess.Popen[str]:
    """Start the sweep as on a host of that name."""
    Path("study.py").write_text(SPACE.replace("EPOCHS", str(epochs)))
    Path(host).mkdir()
    Path(host, "sitecustomize.py").write_text(HOST.replace("HOST", host))
    path = f"{Path(host).absolute()}:{ENVIRONMENT['PYTHONPATH']}"
    words = ["sweep", "study.py", "--in-process", "--store", bucket]
    return start(Path.cwd(), *words, **object_store.environment, PYTHONPATH=path)


def _trials(bucket: str) -> list[TrialPaths]:
    store = StorePaths(files.path_of(bucket))
    return [store.trial(name) for name in sorted(files.folder_names(store.trials))]


def _records(bucket: str) -> list[Record]:
    return [record for paths in _trials(bucket) if (record := Record.read(paths.record)) is not None]


def test_two_hosts_share_a_sweep_that_is_then_reported_and_cleared(
    bucket: str, object_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [_sweep_on(host, bucket, object_store, 3) for host in ("one", "other")]
    for status, output in map(finish, commands):
        assert status == 0, output
    records = _records(bucket)
    assert [(record.status, record.attempts) for record in records] == [("completed", 1)] * 4
    assert {record.host for record in records} == {"one", "other"}

    assert main(["report", "study", "--store", bucket]) == 0
    assert "val_acc" in Path("study.html").read_text()

    before = pd.read_parquet(f"{bucket}/tables/study/checkpoints.parquet")
    assert len(before) == 4 * 3
    capsys.readouterr()
    assert main(["gc", "--keep-within", "1kB", "--dry-run", "--store", bucket]) == 1
    assert len(list(files.path_of(bucket).glob("trials/*/checkpoints/*"))) == 4 * 3
    assert main(["gc", "--keep-within", "1kB", "--yes", "--store", bucket]) == 1
    kept = [sorted(path.name for path in paths.checkpoints.iterdir()) for paths in _trials(bucket)]
    assert all(1 <= len(names) <= 2 and names[-1] == "epoch=0002.safetensors" for names in kept)  # the last, the best
    after = pd.read_parquet(f"{bucket}/tables/study/checkpoints.parquet")
    assert len(after) == sum(map(len, kept)) < len(before)


def test_a_sweep_is_stopped_from_elsewhere_and_goes_on(bucket: str, object_store: ObjectStore) -> None:
    process = _sweep_on("one", bucket, object_store, 1000)
    wait_until(lambda: any(files.path_of(bucket).glob("trials/*/metrics.jsonl")))
    assert main(["stop", "study", "--store", bucket]) == 0
    status, output = finish(process)
    assert status == 130, output
    assert [record.status for record in _records(bucket)] == ["pending"]
    assert main(["status", "study", "--store", bucket]) == 0
