"""What can happen to the store's own MLflow database, with real locks, full disks and damage."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from trial_folders import epoch_row, write_trial, write_trials

from nnray.cli.books_lines import books_lines
from nnray.store.bookkeeper import Bookkeeper
from nnray.store.mlflow import database, thread
from nnray.store.mlflow.queue import MirrorQueue
from nnray.store.mlflow.sender import Sender
from nnray.trial.paths import StorePaths


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(thread, "INTERVAL_S", 0.1)
    monkeypatch.setattr(thread, "RETRY_S", 0.1)
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.2)


def run_values(store: StorePaths, sweep: str = "digits") -> dict[str, int]:
    """The number of metric values of each trial's active run; fails if a trial has two."""
    query = """
        SELECT tags.value, (SELECT count(*) FROM metrics WHERE metrics.run_uuid = runs.run_uuid)
        FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'nnray.trial'
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE runs.lifecycle_stage = 'active' AND experiments.name = ?
    """
    with closing(sqlite3.connect(store.mlflow_database)) as opened:
        rows = opened.execute(query, (sweep,)).fetchall()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def signatures(store: StorePaths) -> list[str]:
    return sorted(path.name for path in store.trials.iterdir())


def waiting(store: StorePaths, sweep: str = "digits") -> set[str]:
    return MirrorQueue(store, "own").waiting(sweep)


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_database_that_another_process_locks_is_written_once_it_is_free(tmp_path, caplog):
    store = write_trials(tmp_path, 2)
    Bookkeeper(store, "digits").close()
    with closing(sqlite3.connect(store.mlflow_database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        books = Bookkeeper(store, "digits")
        books.note(write_trial(store, position=2).signature)
        books.flush()
        assert len(pd.read_parquet(store.table("digits", "trials"))) == 3
        wait_for(lambda: "database is locked" in caplog.text)
        assert "training goes on and they are sent when it is back" in caplog.text
        other.execute("ROLLBACK")
        wait_for(lambda: not waiting(store))  # by itself
    assert books.close().missed == {}
    assert run_values(store) == dict.fromkeys(signatures(store), 6)


def test_a_lock_that_outlasts_the_command_is_made_up_for_by_the_next_one_on_any_sweep(tmp_path):
    store = write_trials(tmp_path, 2)
    Bookkeeper(store, "digits").close()
    late = write_trial(store, position=2)
    with closing(sqlite3.connect(store.mlflow_database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        report = Bookkeeper(store, "digits").close()
    assert "mlflow.db: database is locked" in report.missed[late.signature]
    (line,) = books_lines(report)
    assert "they wait in the store" in line
    assert len(pd.read_parquet(store.table("digits", "trials"))) == 3
    write_trial(store, "other")
    assert Bookkeeper(store, "other").close().missed == {}
    assert run_values(store) == dict.fromkeys(signatures(store), 6)
    assert len(run_values(store, "other")) == 1


def test_a_database_that_is_removed_while_a_sweep_runs_is_made_anew_with_all_sweeps(tmp_path):
    store = write_trials(tmp_path, 3)
    write_trial(store, "other")
    Bookkeeper(store, "other").close()
    books = Bookkeeper(store, "digits")
    books.flush()
    wait_for(lambda: store.mlflow_database.exists() and len(run_values(store)) == 3)
    store.mlflow_database.unlink()
    shutil.rmtree(store.mlflow_artifacts)
    books.note(write_trial(store, position=3).signature)
    wait_for(lambda: books.flush() > 0 and books.is_up_to_date)
    wait_for(lambda: store.mlflow_database.exists() and not waiting(store))
    assert books.close().missed == {}
    assert run_values(store) == dict.fromkeys(signatures(store), 6)
    assert len(run_values(store, "other")) == 1
    assert len(list(store.mlflow_artifacts.rglob("config.yaml"))) == 5


def test_a_damaged_database_is_left_alone_and_all_runs_are_back_once_it_is_moved_away(tmp_path):
    store = write_trials(tmp_path, 3)
    Bookkeeper(store, "digits").close()
    whole = store.mlflow_database.read_bytes()
    damaged = whole[:100] + b"\xff" * (len(whole) - 100)
    store.mlflow_database.write_bytes(damaged)
    write_trial(store, position=0, attempts=2)
    (reason,) = set(Bookkeeper(store, "digits").close().missed.values())
    assert "mlflow.db: " in reason
    assert "move it away: a new one is made from the trial folders" in reason
    assert store.mlflow_database.read_bytes() == damaged
    store.mlflow_database.unlink()
    assert Bookkeeper(store, "other").close().missed == {}
    assert run_values(store) == dict.fromkeys(signatures(store), 6)


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A file system with hardly any room."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_under_the_database_stops_nothing_else(tmp_path, small_disk):
    store = write_trials(tmp_path / "store", 2)
    Bookkeeper(store, "digits").close()
    shutil.move(store.mlflow_database, small_disk / "mlflow.db")
    store.mlflow_database.symlink_to(small_disk / "mlflow.db")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    rows = [{**epoch_row(epoch, 0.5), **{f"metric{number}": 0.1 for number in range(20)}} for epoch in range(200)]
    for position in range(2, 5):
        write_trial(store, position=position, rows=rows)
    report = Bookkeeper(store, "digits").close()
    assert report.problem is None
    assert len(pd.read_parquet(store.table("digits", "metrics"))) == 6 + 600
    assert set(report.missed) >= {
        write_trial(store, position=position, rows=rows).signature for position in range(2, 5)
    }
    assert any("disk" in reason for reason in report.missed.values())
    assert len(run_values(store)) == 2
    ballast.unlink()
    assert Bookkeeper(store, "digits").close().missed == {}
    assert sorted(run_values(store).values()) == [6, 6, 4400, 4400, 4400]


def test_a_queue_that_cannot_be_written_is_kept_in_memory_and_told(tmp_path):
    store = write_trials(tmp_path, 2)
    (tmp_path / "mlflow-queue").write_text("a file where a folder belongs")
    books = Bookkeeper(store, "digits")
    books.flush()
    assert len(pd.read_parquet(store.table("digits", "trials"))) == 2
    (tmp_path / "mlflow-queue").unlink()
    wait_for(lambda: store.mlflow_database.exists() and len(run_values(store)) == 2)
    assert books.close().missed == {}
    shutil.rmtree(tmp_path / "mlflow-queue")
    (tmp_path / "mlflow-queue").write_text("a file where a folder belongs")
    report = Bookkeeper(store, "digits").close()
    assert report.missed.keys() == set(signatures(store))


def test_a_run_that_the_database_refuses_keeps_no_other_back(tmp_path):
    store = write_trials(tmp_path, 1)
    sender = Sender(store, None)
    assert sender.send_all("digits", signatures(store)) == {}
    write_trials(tmp_path, 4)
    odd = write_trial(store, position=9, name="odd")
    with closing(sqlite3.connect(store.mlflow_database)) as opened, opened:
        refuse = "BEFORE INSERT ON runs WHEN NEW.name = 'odd' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        opened.execute(f"CREATE TRIGGER refuse {refuse}")
    missed = sender.send_all("digits", signatures(store))
    sender.close()
    assert missed.keys() == {odd.signature}
    assert "not this one" in missed[odd.signature]
    assert run_values(store) == dict.fromkeys(set(signatures(store)) - {odd.signature}, 6)


def test_thousands_of_values_stand_in_the_right_order(tmp_path):
    store = StorePaths(tmp_path)
    paths = write_trial(store, rows=[epoch_row(epoch, epoch / 5000) for epoch in range(2500)])
    assert Bookkeeper(store, "digits").close().missed == {}
    with closing(sqlite3.connect(store.mlflow_database)) as opened:
        steps = opened.execute("SELECT step FROM metrics WHERE key = 'val_acc' ORDER BY timestamp").fetchall()
        (latest,) = opened.execute("SELECT value FROM latest_metrics WHERE key = 'val_acc'").fetchone()
    assert [step for (step,) in steps] == list(range(2500))
    assert latest == 2499 / 5000
    assert run_values(store) == {paths.signature: 5000}


def test_four_processes_of_two_sweeps_that_are_killed_lose_and_double_nothing(tmp_path):
    store = write_trials(tmp_path, 6)
    write_trials(tmp_path, 6, "other")
    keeping = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from nnray.store.bookkeeper import Bookkeeper
        from nnray.trial.paths import StorePaths
        store, sweep, end = StorePaths(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
        books = Bookkeeper(store, sweep)
        print(flush=True)
        if end == "killed":
            for _ in range(1000):
                for folder in store.trials.iterdir():
                    books.note(folder.name)
                books.flush()
                time.sleep(0.01)
        print(*books.close().missed.values())
    """)

    def start(sweep: str, end: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", keeping, str(store.root), sweep, end]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ)

    killed = [start(sweep, "killed") for sweep in ("digits", "other")]
    for number, process in enumerate(killed):
        process.stdout.readline()
        time.sleep(0.3 + 0.3 * number)
        process.kill()
        process.communicate()
    ending = [start(sweep, "closed") for sweep in ("digits", "other", "digits", "other")]
    said = [process.communicate()[0].split("\n") for process in ending]
    assert said == [["", "", ""]] * 4  # nothing is missed
    for sweep in ("digits", "other"):
        assert run_values(store, sweep) == dict.fromkeys(signatures(store), 6)
        assert waiting(store, sweep) == set()
