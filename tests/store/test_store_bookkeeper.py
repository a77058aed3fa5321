from __future__ import annotations

import json
import os
import shutil
import signal
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

from nnray.store.bookkeeper import Bookkeeper, rebuild
from nnray.store.bookkeeper_process import BookkeeperProcess
from nnray.store.claim import Claim
from nnray.trial.paths import StorePaths

NO_SERVER = "http://127.0.0.1:9"


def read(store: StorePaths, kind: str = "trials", sweep: str = "digits") -> pd.DataFrame:
    return pd.read_parquet(store.table(sweep, kind))


def run_states(store: StorePaths) -> list[tuple[str, int]]:
    """Status and number of metric values of each run, straight from MLflow's database."""
    query = "SELECT status, (SELECT count(*) FROM metrics WHERE run_uuid = runs.run_uuid) FROM runs ORDER BY name"
    with closing(sqlite3.connect(store.mlflow_database)) as database:
        return database.execute(query).fetchall()


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def bring_up(books: Bookkeeper) -> None:
    """Flush until everything that was noted is in the tables."""
    while not books.is_up_to_date:
        books.flush()
        time.sleep(0.02)


@pytest.fixture(params=[Bookkeeper, BookkeeperProcess], ids=["in process", "process"])
def bookkeeper(request):
    return request.param


def test_tables_and_mlflow_follow_the_folders(tmp_path, bookkeeper):
    store = write_trials(tmp_path, 2)
    books = bookkeeper(store, "digits")
    added = write_trial(store, position=2, status="failed", error="it broke")
    books.note(added.signature)
    if bookkeeper is Bookkeeper:
        books.flush()
    wait_for(lambda: store.table("digits", "trials").exists() and len(read(store)) == 3)
    report = books.close()
    assert books.close() is report
    assert (report.trials, report.mirrored, report.missed, report.damaged, report.problem) == (3, 3, {}, {}, None)
    assert list(read(store)["status"]) == ["completed", "completed", "failed"]
    assert len(read(store, "metrics")) == 9
    assert run_states(store) == [("FINISHED", 6), ("FINISHED", 6), ("FAILED", 6)]


def test_closing_finds_what_nobody_told_of(tmp_path, bookkeeper):
    store = write_trials(tmp_path, 2)
    books = bookkeeper(store, "digits")
    gone = write_trial(store, position=1)
    if bookkeeper is Bookkeeper:
        books.flush()
    wait_for(store.table("digits", "trials").exists)
    write_trial(store, position=5)
    gone.membership("digits").unlink()
    books.close()
    assert list(read(store)["config/seed"]) == [0, 5]


def test_a_server_that_is_gone_delays_nothing_and_raises_nothing(tmp_path):
    store = write_trials(tmp_path, 3)
    started = time.monotonic()
    books = Bookkeeper(store, "digits", NO_SERVER)
    books.flush()
    assert time.monotonic() - started < 5
    assert len(read(store)) == 3
    report = books.close()
    assert report.mirrored == 0
    assert report.missed.keys() == set(read(store)["trial"])
    later = Bookkeeper(store, "digits").close()
    assert later.mirrored == 3


def test_tables_that_cannot_be_written_are_a_problem_and_not_an_exception(tmp_path, caplog):
    store = write_trials(tmp_path, 1)
    store.tables.write_text("a file where a folder belongs")
    books = Bookkeeper(store, "digits")
    books.flush()
    assert not books.is_up_to_date
    assert len(caplog.records) == 1
    store.tables.unlink()
    bring_up(books)
    assert books.close().problem is None


def test_runs_stay_where_the_tables_cannot_be_written(tmp_path):
    store = write_trials(tmp_path, 2)
    Bookkeeper(store, "digits").close()
    shutil.rmtree(store.tables)
    store.tables.write_text("a file where a folder belongs")
    assert Bookkeeper(store, "digits").close().problem
    assert rebuild(store, "digits").problem
    with closing(sqlite3.connect(store.mlflow_database)) as database:
        assert database.execute("SELECT lifecycle_stage FROM runs").fetchall() == [("active",)] * 2


def test_what_killed_processes_left_half_written_goes(tmp_path):
    store = write_trials(tmp_path, 1)
    folder, memberships = store.table("digits", "trials").parent, next(store.trials.iterdir()) / "sweeps"
    folder.mkdir(parents=True)
    left = [
        folder / ".trials.parquet.0a1b2c3d.part",
        store.root / ".mlflow.db.0a1b2c3d.part",
        store.root / ".mlflow.db.0a1b2c3d.part-journal",
        memberships / ".digits.json.0a1b2c3d.part",
    ]
    for path in left:
        path.touch()
    os.utime(left[-1], (0, 0))
    young = memberships / ".other.json.4e5f6a7b.part"  # another command is about to put it in its place
    young.touch()
    write_trial(store, "other")
    assert Bookkeeper(store, "digits").close().mirrored == 1
    assert [path for path in left if path.exists()] == []
    assert young.exists()


def test_writing_takes_a_small_part_of_the_time(tmp_path):
    store = write_trials(tmp_path, 5)
    books = Bookkeeper(store, "digits")
    books.flush()
    stamps = set()
    ending = time.monotonic() + 2.5
    while time.monotonic() < ending:
        books.note(write_trial(store, position=0, attempts=len(stamps)).signature)
        assert books.flush() > 0
        stamps.add(store.table("digits", "trials").stat().st_mtime_ns)
        time.sleep(0.02)
    assert 2 <= len(stamps) <= 4
    books.close()


def test_a_bookkeeper_sees_what_another_one_wrote(tmp_path):
    store = write_trials(tmp_path, 2)
    first, second = Bookkeeper(store, "digits"), Bookkeeper(store, "digits")
    bring_up(first)
    bring_up(second)
    second.note(write_trial(store, position=0, attempts=7).signature)
    bring_up(second)
    first.note(write_trial(store, position=1, attempts=8).signature)
    bring_up(first)
    assert list(read(store)["attempts"]) == [7, 8]
    first.close()
    second.close()
    assert list(read(store)["attempts"]) == [7, 8]


def test_a_trial_that_runs_is_running_and_its_epochs_are_there(tmp_path):
    store = StorePaths(tmp_path)
    paths = write_trial(store, rows=[epoch_row(0, 0.5)], status="running", ended=None)
    with Claim.acquire(paths.claim):
        books = Bookkeeper(store, "digits")
        books.flush()
        assert list(read(store)["status"]) == ["running"]
        assert len(read(store, "metrics")) == 1
        wait_for(lambda: store.mlflow_database.exists() and run_states(store) == [("RUNNING", 2)])
    books.close()
    assert list(read(store)["status"]) == ["pending"]
    assert run_states(store) == [("SCHEDULED", 2)]


def test_a_bookkeeper_that_is_killed_leaves_readable_tables_and_nothing_doubles(tmp_path):
    store = write_trials(tmp_path, 20)
    for _ in range(6):
        books = BookkeeperProcess(store, "digits")
        deadline = time.monotonic() + 0.2 + 0.15 * _
        position = 0
        while time.monotonic() < deadline:
            position = (position + 1) % 20
            books.note(write_trial(store, position=position, rows=[epoch_row(e, 0.5) for e in range(_ + 1)]).signature)
            if store.table("digits", "trials").exists():
                assert len(read(store)) == 20
        os.kill(books._process.pid, signal.SIGKILL)
        books._process.wait()
        books._process.stdin.close()
        books._process.stdout.close()
        for kind in ("trials", "metrics", "checkpoints"):
            if store.table("digits", kind).exists():
                read(store, kind)
    report = Bookkeeper(store, "digits").close()
    assert report.mirrored == 20
    rows = read(store, "metrics").groupby("trial").size()
    assert sorted(values for _, values in run_states(store)) == sorted(2 * rows)


def test_closing_after_the_process_was_killed_does_its_work(tmp_path):
    store = write_trials(tmp_path, 2)
    books = BookkeeperProcess(store, "digits")
    os.kill(books._process.pid, signal.SIGKILL)
    wait_for(lambda: books._process.poll() is not None)
    for _ in range(5000):
        books.note("0" * 16)
    report = books.close()
    assert report.mirrored == 2
    assert len(read(store)) == 2


def test_notes_never_wait_for_a_process_that_hangs(tmp_path):
    store = write_trials(tmp_path, 1)
    books = BookkeeperProcess(store, "digits")
    os.kill(books._process.pid, signal.SIGSTOP)
    started = time.monotonic()
    for _ in range(20_000):
        books.note("0" * 16)
    assert time.monotonic() - started < 5
    os.kill(books._process.pid, signal.SIGCONT)
    assert books.close().trials == 1


def test_the_process_closes_the_books_of_a_driver_that_was_killed(tmp_path):
    store = write_trials(tmp_path, 3)
    driver = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from nnray.store.bookkeeper_process import BookkeeperProcess
        from nnray.trial.paths import StorePaths
        books = BookkeeperProcess(StorePaths(Path(sys.argv[1])), "digits")
        print(books._process.pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", driver, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        bookkeeper = int(process.stdout.readline())
        wait_for(store.table("digits", "trials").exists)
        write_trial(store, position=1, status="running", ended=None)
        process.kill()
    wait_for(lambda: not _is_alive(bookkeeper))
    assert list(read(store)["status"]) == ["completed", "pending", "completed"]
    assert sorted(status for status, _ in run_states(store)) == ["FINISHED", "FINISHED", "SCHEDULED"]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_process_outlives_ctrl_c(tmp_path):
    store = write_trials(tmp_path, 1)
    books = BookkeeperProcess(store, "digits")
    wait_for(store.table("digits", "trials").exists)
    os.kill(books._process.pid, signal.SIGINT)
    books.note(write_trial(store, position=1).signature)
    assert books.close().trials == 2


@pytest.mark.parametrize("module", ["nnray.store", "nnray.store.bookkeeper_process"])
def test_keeping_books_needs_neither_torch_nor_ray_nor_mlflow(tmp_path, module):
    store = write_trials(tmp_path, 1)
    code = textwrap.dedent(f"""
        import json, sys
        import {module}
        from pathlib import Path
        from nnray.trial.paths import StorePaths
        if "bookkeeper" in "{module}":
            sys.modules["{module}"].Bookkeeper(StorePaths(Path(sys.argv[1])), "digits").close()
        print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
    """)
    result = subprocess.run([sys.executable, "-c", code, str(store.root)], capture_output=True, text=True, check=True)
    heavy = {"torch", "ray", "mlflow", "lightning", "sqlalchemy"}
    heavy |= set() if "bookkeeper" in module else {"pyarrow", "pandas", "numpy"}
    assert not heavy & set(json.loads(result.stdout))


def test_rebuilding_needs_nothing_but_the_folders(tmp_path):
    store = write_trials(tmp_path, 3)
    (sorted(store.trials.iterdir())[0] / "record.json").write_text("{")
    read_counts, mirrored = [], []
    report = rebuild(
        store,
        "digits",
        on_read=lambda: read_counts.append(1),
        on_mirrored=lambda: mirrored.append(1),
    )
    assert (report.trials, len(report.damaged), report.problem) == (2, 1, None)
    assert (len(read_counts), len(mirrored)) == (3, 2)
    assert len(read(store)) == 2


def test_a_server_that_hangs_keeps_nobody_waiting_for_longer_than_was_said(tmp_path):
    import socket

    store = write_trials(tmp_path, 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        books = Bookkeeper(store, "digits", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        books.flush()
        assert len(read(store)) == 2
        report = books.close(patience_s=0.5)
        assert time.monotonic() - started < 5
    assert report.mirrored == 0
    assert "took longer than 0.5 s" in next(iter(report.missed.values()))
