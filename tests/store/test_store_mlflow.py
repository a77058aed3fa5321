from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from trial_folders import START, epoch_row, write_trial, write_trials

from nnray.store.listing import SweepListing
from nnray.store.mlflow.mirror import MlflowMirror
from nnray.store.mlflow.run import MAX_PARAM
from nnray.store.reading import read_sweep_trial
from nnray.trial.paths import StorePaths

# MLflow's own code: it configures its tables in a way that newer SQLAlchemy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """An MLflow database as MLflow makes it, which takes seconds."""
    store = StorePaths(tmp_path_factory.mktemp("empty"))
    assert MlflowMirror(store, "digits").sync([]) == {}
    with sqlite3.connect(store.mlflow_database) as database:
        database.execute("DELETE FROM experiments WHERE name = 'digits'")
        database.execute("DELETE FROM experiment_tags")
    return store.mlflow_database


@pytest.fixture
def store(tmp_path, empty_database) -> StorePaths:
    store = StorePaths(tmp_path / "store")
    store.root.mkdir()
    shutil.copy(empty_database, store.mlflow_database)
    return store


@pytest.fixture(params=["own database", "client"])
def mirror(request, store, tmp_path, empty_database, monkeypatch) -> MlflowMirror:
    """A mirror to the store's own database, and one through the client, as to a server."""
    if request.param == "own database":
        return MlflowMirror(store, "digits")
    monkeypatch.chdir(tmp_path)  # where the client puts artifacts by default
    shutil.copy(empty_database, tmp_path / "server.db")
    return MlflowMirror(store, "digits", f"sqlite:///{tmp_path / 'server.db'}")


def listed(store: StorePaths, sweep: str = "digits"):
    listing = SweepListing(store, sweep)
    listing.rescan()
    return [read_sweep_trial(entry.paths, sweep) for entry in listing.trials()]


def runs(uri: str, sweep: str = "digits", view: int = ViewType.ACTIVE_ONLY):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(sweep)
    found = client.search_runs([experiment.experiment_id], run_view_type=view, max_results=1000)
    return {run.data.tags["nnray.trial"]: run for run in found} if view == ViewType.ACTIVE_ONLY else list(found)


def history(uri: str, run, metric: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.value) for entry in MlflowClient(uri).get_metric_history(run.info.run_id, metric)]


def test_a_run_tells_everything_of_its_trial(store, mirror):
    paths = write_trial(store, name="width=8", rows=[epoch_row(epoch, 0.5 + epoch / 10) for epoch in range(3)])
    paths.checkpoints.mkdir()
    paths.checkpoint(2).write_bytes(b"weights")
    assert mirror.sync(listed(store)) == {}
    run = runs(mirror.uri)[paths.signature]
    assert run.info.run_name == "width=8"
    assert run.info.status == "FINISHED"
    assert run.info.start_time == round(START.timestamp() * 1000)
    assert run.info.end_time == run.info.start_time + 3000
    assert run.data.params["model.init_args.width"] == "8"
    assert run.data.params["optimizer.init_args.betas"] == "[0.9, 0.999]"
    assert run.data.params["lr_scheduler"] == "None"
    assert run.data.tags["nnray.status"] == "completed"
    assert run.data.tags["nnray.checkpoints"] == paths.checkpoints.as_uri()
    assert run.data.metrics["val_acc"] == 0.7
    assert history(mirror.uri, run, "val_acc") == [(0, 0.5), (1, 0.6), (2, 0.7)]
    entry = MlflowClient(mirror.uri).get_metric_history(run.info.run_id, "val_acc")[1]
    assert entry.timestamp == round(epoch_row(1, 0)["time"] * 1000)
    downloaded = MlflowClient(mirror.uri).download_artifacts(run.info.run_id, "config.yaml", str(store.root))
    assert Path(downloaded).read_text() == paths.config.read_text()


@pytest.mark.parametrize(
    ("status", "expected"),
    [("pending", "SCHEDULED"), ("completed", "FINISHED"), ("stopped", "FINISHED"), ("failed", "FAILED")],
)
def test_the_status_is_the_trials(store, mirror, status, expected):
    write_trial(store, status=status, error="it broke" if status == "failed" else None)
    mirror.sync(listed(store))
    (run,) = runs(mirror.uri).values()
    assert run.info.status == expected
    assert run.data.tags["nnray.status"] == status
    assert run.data.tags.get("nnray.error") == ("it broke" if status == "failed" else None)


def test_mirroring_again_changes_nothing(store, mirror):
    write_trials(store.root, 3)
    mirror.sync(listed(store))
    before = runs(mirror.uri)
    for again in (mirror, MlflowMirror(store, "digits", mirror.uri)):
        assert again.sync(listed(store)) == {}
    after = runs(mirror.uri)
    assert {key: run.to_dictionary() for key, run in after.items()} == {k: r.to_dictionary() for k, r in before.items()}
    assert len(runs(mirror.uri, view=ViewType.ALL)) == 3


@pytest.mark.parametrize("fresh", [False, True], ids=["same process", "next process"])
def test_a_trial_on_its_way_gets_only_what_is_new(store, mirror, fresh):
    rows = [epoch_row(epoch, epoch / 10) for epoch in range(4)]
    write_trial(store, rows=rows[:2], status="stopped", ended=None)
    mirror.sync(listed(store))
    # Resumed from its first epoch: the second one is trained again, to the same value but at another time.
    again = [rows[0], {**rows[1], "time": rows[1]["time"] + 60}, *rows[2:]]
    write_trial(store, rows=again, attempts=2)
    mirror = MlflowMirror(store, "digits", mirror.uri) if fresh else mirror
    mirror.sync(listed(store))
    (run,) = runs(mirror.uri).values()
    assert history(mirror.uri, run, "val_acc") == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert run.info.status == "FINISHED"
    assert run.data.tags["nnray.attempts"] == "2"
    assert len(runs(mirror.uri, view=ViewType.ALL)) == 1


def test_a_trial_that_is_trained_anew_has_none_of_its_old_values(store, mirror):
    write_trial(store, rows=[epoch_row(epoch, 0.1) for epoch in range(3)], status="failed", error="it broke")
    mirror.sync(listed(store))
    write_trial(store, rows=[epoch_row(epoch, 0.2) for epoch in range(2)])
    mirror.sync(listed(store))
    (run,) = runs(mirror.uri).values()
    assert history(mirror.uri, run, "val_acc") == [(0, 0.2), (1, 0.2)]
    assert run.data.metrics["val_acc"] == 0.2
    assert "nnray.error" not in run.data.tags


@pytest.mark.parametrize("fresh", [False, True], ids=["same process", "next process"])
def test_a_metric_that_is_no_longer_reported_goes(store, mirror, fresh):
    row = epoch_row(0, 0.1)
    write_trial(store, rows=[{**row, "top5": 0.9}])
    mirror.sync(listed(store))
    write_trial(store, rows=[row], attempts=2)
    mirror = MlflowMirror(store, "digits", mirror.uri) if fresh else mirror
    mirror.sync(listed(store))
    (run,) = runs(mirror.uri).values()
    assert run.data.metrics.keys() == {"val_acc", "val_loss"}
    assert history(mirror.uri, run, "val_acc") == [(0, 0.1)]
    assert history(mirror.uri, run, "top5") == []


def test_a_metric_that_comes_late_is_not_logged_twice(store, mirror):
    rows = [epoch_row(epoch, 0.1) for epoch in range(3)]
    for count in (1, 2, 3):
        late = [{**row, "top5": 0.9} if row["epoch"] > 0 else row for row in rows[:count]]
        write_trial(store, rows=late, status="stopped", ended=None)
        mirror = MlflowMirror(store, "digits", mirror.uri)
        mirror.sync(listed(store))
    (run,) = runs(mirror.uri).values()
    assert history(mirror.uri, run, "top5") == [(1, 0.9), (2, 0.9)]


def test_numbers_names_and_texts_beyond_mlflows_limits_are_brought_within(store, mirror):
    odd = {"a b(c)": 1.0, "../up": 2.0, "nan": math.nan, "inf": math.inf, "text": "x", "none": None, "k" * 300: 3.0}
    long = {f"model.init_args.p{index}": index for index in range(150)}
    config = {"model.init_args.width": "w" * 7000, **long}
    write_trial(store, config=config, rows=[{**epoch_row(epoch, 0.5), **odd} for epoch in range(300)])
    assert mirror.sync(listed(store)) == {}
    (run,) = runs(mirror.uri).values()
    assert len(run.data.params["model.init_args.width"]) == MAX_PARAM
    assert run.data.params["model.init_args.p149"] == "149"
    assert run.data.metrics["a b_c_"] == 1.0
    assert run.data.metrics["up"] == 2.0
    assert math.isnan(run.data.metrics["nan"])
    assert run.data.metrics["inf"] == sys.float_info.max
    assert not {"text", "none"} & run.data.metrics.keys()
    assert len(history(mirror.uri, run, "val_acc")) == 300
    assert mirror.sync(listed(store)) == {}


def test_what_people_add_to_a_run_stays(store, mirror):
    paths = write_trial(store, status="stopped")
    mirror.sync(listed(store))
    client, run = MlflowClient(mirror.uri), runs(mirror.uri)[paths.signature]
    client.set_tag(run.info.run_id, "mlflow.note.content", "look here")
    write_trial(store)
    mirror.sync(listed(store))
    assert runs(mirror.uri)[paths.signature].data.tags["mlflow.note.content"] == "look here"


def test_trials_of_two_sweeps_have_a_run_in_each(store):
    for sweep in ("digits", "other"):
        write_trial(store, sweep)
        MlflowMirror(store, sweep).sync(listed(store, sweep))
    uri = f"sqlite:///{store.mlflow_database}"
    assert runs(uri).keys() == runs(uri, "other").keys()


def test_runs_of_trials_that_left_the_sweep_go_and_come_back(store):
    write_trials(store.root, 2)
    mirror = MlflowMirror(store, "digits")
    first, second = listed(store)
    mirror.sync([first, second])
    assert mirror.retire({first.signature}) is None
    assert runs(mirror.uri).keys() == {first.signature}
    mirror.sync([first, second])
    assert runs(mirror.uri).keys() == {first.signature, second.signature}
    assert len(runs(mirror.uri, view=ViewType.ALL)) == 2


def test_a_store_that_was_moved_finds_its_runs_and_artifacts_again(store, tmp_path):
    paths = write_trial(store)
    MlflowMirror(store, "digits").sync(listed(store))
    moved = StorePaths(tmp_path / "moved")
    store.root.rename(moved.root)
    mirror = MlflowMirror(moved, "digits")
    mirror.sync(listed(moved))
    (run,) = runs(mirror.uri, view=ViewType.ALL)
    copy = MlflowClient(mirror.uri).download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    assert Path(copy).read_text() == moved.trial(paths.signature).config.read_text()


def test_processes_that_mirror_to_one_new_store_at_once_make_one_run_per_trial(tmp_path):
    store = write_trials(tmp_path / "store", 12)
    code = (
        "import sys; from pathlib import Path; from nnray.trial.paths import StorePaths;"
        "from nnray.store.bookkeeper import Bookkeeper;"
        "report = Bookkeeper(StorePaths(Path(sys.argv[1])), 'digits').close(); sys.exit(len(report.missed))"
    )
    command = [sys.executable, "-c", code, str(store.root)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda _: subprocess.run(command, check=False, env=environment).returncode, range(3)))
    assert ended == [0, 0, 0]
    uri = f"sqlite:///{store.mlflow_database}"
    assert len(runs(uri, view=ViewType.ALL)) == 12
    assert all(len(history(uri, run, "val_acc")) == 3 for run in runs(uri).values())
    assert sorted(path.name for path in store.root.iterdir()) == [
        *("mlartifacts", "mlflow-queue", "mlflow.db", "tables", "trials")
    ]


@pytest.mark.parametrize("tables", ["altered", "unknown"], ids=["a column more", "a column less"])
def test_a_database_of_another_form_is_left_to_mlflows_client(store, tmp_path, tables, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change = {
        "altered": "ALTER TABLE metrics ADD COLUMN unit TEXT NOT NULL DEFAULT 'x'",
        "unknown": "ALTER TABLE runs ADD COLUMN must INTEGER NOT NULL DEFAULT 0",
    }[tables]
    with sqlite3.connect(store.mlflow_database) as database:
        database.execute(change)
    write_trials(store.root, 2)
    mirror = MlflowMirror(store, "digits")
    assert mirror.sync(listed(store)) == {}
    assert len(runs(mirror.uri)) == 2


def test_a_database_that_is_damaged_is_a_reason_and_not_an_exception(store):
    store.mlflow_database.write_bytes(b"this is no database" * 100)
    paths = write_trial(store)
    missed = MlflowMirror(store, "digits").sync(listed(store))
    assert missed.keys() == {paths.signature}
    assert "mlflow.db: file is not a database" in missed[paths.signature]


def test_a_server_that_is_gone_is_a_reason_and_what_it_missed_is_written_later(store):
    paths = write_trial(store)
    started = time.monotonic()
    missed = MlflowMirror(store, "digits", "http://me:secret@127.0.0.1:9").sync(listed(store))
    assert missed == {paths.signature: "http://127.0.0.1:9 cannot be reached: Connection refused"}
    assert time.monotonic() - started < 3  # MLflow's own settings: minutes
    later = MlflowMirror(store, "digits")
    assert later.sync(listed(store)) == {}
    assert runs(later.uri).keys() == {paths.signature}
