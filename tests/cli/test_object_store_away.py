"""An object store that is away for longer than any request waits: nothing is lost, and all goes on when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
from commands import ENVIRONMENT, wait_until
from contenders import OBJECTS_GRAIN_S, shorten_leases
from object_store import ObjectStore, Proxy

from nnray.cli.main import main
from nnray.store import files
from nnray.store.claim import lease
from nnray.store.files import bucket as connection
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths

CONFIG = """
model: {class_path: user_code.Tiny, init_args: {width: 2}}
data: {class_path: nnray.data.Digits, init_args: {batch_size: 256}}
optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
trainer: {max_epochs: 4, callbacks: [{class_path: user_code.Slow, init_args: {seconds: 0.4}}]}
"""
SPACE = """
from nnray import Sweep, grid
sweep = Sweep(name="seeds", base="base.yaml", space={"seed": grid(range(2))})
"""
HASTE = """
from nnray.store.files import bucket
bucket.PATIENCE_S, bucket._ANSWER_S = 1.0, 1
"""
AWAY_S = 4.0
"""Longer than a lease lasts here, and than several requests wait for an answer."""


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[Proxy]:
    """A way to the server that can be out of order."""
    with Proxy(object_store) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Requests wait for an answer for a second, and leases are short."""
    (tmp_path / "base.yaml").write_text(CONFIG)
    (tmp_path / "space.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    for name in ("EXPIRES_S", "RENEW_S", "MARGIN_S", "GRAIN_S"):
        monkeypatch.setattr(lease, name, getattr(lease, name))
    shorten_leases(OBJECTS_GRAIN_S)
    monkeypatch.setattr(connection, "_ANSWER_S", 1)
    connection._connected.cache_clear()
    yield
    connection._connected.cache_clear()


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    """The checkpoints of a sweep in a folder."""
    assert main(["sweep", "space.py", "--in-process", "--store", "folder"]) == 0
    return _weights("folder")


def _go_through(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and those that it starts reach the server through the proxy alone."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.environment["AWS_ENDPOINT_URL"])
    connection._connected.cache_clear()


def _weights(store: str) -> dict[str, bytes]:
    paths = files.path_of(store).glob("trials/*/checkpoints/*.safetensors")
    return {f"{path.parent.parent.name}/{path.name}": path.read_bytes() for path in paths}


def _trials(store: str) -> list[TrialPaths]:
    root = StorePaths(files.path_of(store))
    return [root.trial(name) for name in sorted(files.folder_names(root.trials))]


def _attempts(store: str) -> list[tuple[str, int, list[str]]]:
    records = [Record.read(paths.record) for paths in _trials(store)]
    return [(record.status, record.attempts, record.former_attempts) for record in records if record is not None]


def _rows(store: str) -> list[list[int]]:
    return [[row["epoch"] for row in read_rows(paths.metrics)] for paths in _trials(store)]


def _while_it_trains(
    store: str, away: Callable[[], AbstractContextManager[None]], wait: Callable[[], object]
) -> threading.Thread:
    """Let the store be away, until ``wait`` returns, once the second trial's first epoch is known."""

    def leave() -> None:
        wait_until(lambda: len(list(files.path_of(store).glob("trials/*/metrics.jsonl"))) == 2)
        with away():
            wait()

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    return thread


def _make_haste(folder: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float) -> None:
    """Let this process wait for so long only, and the bookkeeper's for a second."""
    monkeypatch.setattr(connection, "PATIENCE_S", patience_s)
    (folder / "sitecustomize.py").write_text(HASTE)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ENVIRONMENT['PYTHONPATH']}")


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_it_is_waited_for(
    how: str,
    bucket: str,
    object_store: ObjectStore,
    proxy: Proxy,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if how == "refuses":
        _go_through(proxy, monkeypatch)
    away = object_store.hanging if how == "hangs" else proxy.refusing
    thread = _while_it_trains(bucket, away, lambda: time.sleep(AWAY_S))
    status = main(["sweep", "space.py", "--in-process", "--store", bucket])
    thread.join()
    assert status == 0
    assert _attempts(bucket) == [("completed", 1, [])] * 2
    assert _weights(bucket) == undisturbed
    told = [record.getMessage() for record in caplog.records if "the object store is" in record.getMessage()]
    assert len(told) == 2
    assert told[0].startswith("nnray: the object store is away, waiting 600 s at most: ")
    assert told[1] == "nnray: the object store is back"
    assert pd.read_parquet(f"{bucket}/tables/seeds/trials.parquet")["status"].tolist() == ["completed"] * 2


def test_one_that_stays_away_ends_the_command_and_the_next_one_goes_on(
    tmp_path: Path,
    bucket: str,
    proxy: Proxy,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _go_through(proxy, monkeypatch)
    _make_haste(tmp_path, monkeypatch, 1.0)
    words = ["sweep", "space.py", "--in-process", "--store", bucket]
    ended = threading.Event()

    thread = _while_it_trains(bucket, proxy.refusing, ended.wait)
    status = main(words)
    ended.set()
    thread.join()
    error = capsys.readouterr().err
    assert status == 2
    assert [line for line in error.splitlines() if "error" in line] == [error.splitlines()[-1]]
    assert error.endswith("; nothing is lost, run it again when the store is back\n")
    assert "Traceback" not in error

    time.sleep(2 * OBJECTS_GRAIN_S)
    assert main(words) == 0
    assert _attempts(bucket).count(("completed", 1, [])) == 1
    assert _attempts(bucket).count(("completed", 2, ["lost"])) == 1
    assert _weights(bucket) == undisturbed


@pytest.mark.filterwarnings("default")  # Ray's and Tune's own, in this very process
def test_one_that_stays_away_ends_a_sweep_on_ray_whose_workers_give_up_first(
    tmp_path: Path,
    bucket: str,
    object_store: ObjectStore,
    ray_session: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    callbacks = "callbacks: [{class_path: user_code.Impatient}, "
    (tmp_path / "base.yaml").write_text(CONFIG.replace("callbacks: [", callbacks))
    _make_haste(tmp_path, monkeypatch, 4.0)
    words = ["sweep", "space.py", "--store", bucket]
    ended = threading.Event()

    thread = _while_it_trains(bucket, object_store.hanging, ended.wait)
    status = main(words)
    ended.set()
    thread.join()
    error = capsys.readouterr().err
    assert status == 2
    assert error.endswith("; nothing is lost, run it again when the store is back\n")
    assert "Traceback" not in error

    assert main([*words, "--in-process"]) == 0
    assert [status for status, _, _ in _attempts(bucket)] == ["completed"] * 2
    assert {cause for _, _, former in _attempts(bucket) for cause in former} <= {"lost"}
    assert _rows(bucket) == [list(range(4))] * 2
