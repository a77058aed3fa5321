from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pandas as pd
import pytest
from trial_folders import write_trial, write_trials

from nnray.cli.main import main
from nnray.trial.paths import StorePaths


@pytest.fixture
def store(tmp_path) -> StorePaths:
    paths = write_trials(tmp_path / "store", 3)
    write_trial(paths, "other", position=1)
    return paths


def rebuild(store: StorePaths, *words: str) -> int:
    return main(["rebuild", "--store", str(store.root), *words])


def run_count(store: StorePaths) -> int:
    with closing(sqlite3.connect(store.mlflow_database)) as database:
        return database.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()[0]


def test_views_are_made_from_the_folders_alone(store, capsys):
    assert rebuild(store) == 0
    assert capsys.readouterr().out.splitlines() == [
        *("digits: 3 trials in tables, 3 in MLflow", "other: 1 trial in tables, 1 in MLflow")
    ]
    before = pd.read_parquet(store.table("digits", "trials"))
    shutil.rmtree(store.tables)
    shutil.rmtree(store.mlflow_artifacts)
    store.mlflow_database.unlink()
    assert rebuild(store) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(store.table("digits", "trials")), before)
    assert run_count(store) == 4
    assert rebuild(store, "digits") == 0
    assert run_count(store) == 4


def test_a_damaged_folder_is_named_and_left_out(store, capsys):
    assert rebuild(store, "digits") == 0
    victim = sorted(store.trials.iterdir())[0]
    (victim / "record.json").write_text('{"signature"')
    capsys.readouterr()
    assert rebuild(store, "digits") == 1
    captured = capsys.readouterr()
    assert captured.out == "digits: 2 trials in tables, 2 in MLflow\n"
    assert captured.err.startswith(f"nnray: trial {victim.name} is left out: {victim}/record.json is damaged: ")
    assert len(pd.read_parquet(store.table("digits", "trials"))) == 2
    assert run_count(store) == 3  # what MLflow knows of it is not thrown away


def test_tables_of_a_sweep_that_no_trial_is_listed_in_go(store, capsys):
    assert rebuild(store) == 0
    for folder in store.trials.iterdir():
        (folder / "sweeps" / "other.json").unlink(missing_ok=True)
    assert rebuild(store) == 0
    assert "other: no trial is listed in it any more; removed its tables" in capsys.readouterr().out
    assert not (store.tables / "other").exists()


def test_tables_that_cannot_be_written_are_the_one_thing_told(store, capsys):
    store.tables.write_text("a file where a folder belongs")
    assert rebuild(store, "digits") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nnray: the tables of digits could not be written: NotADirectoryError: ")
    assert captured.err.count("\n") == 1


def test_tables_that_cannot_be_removed_are_named(store, capsys):
    assert rebuild(store) == 0
    elsewhere = store.root / "elsewhere"
    (store.tables / "other").rename(elsewhere)
    (store.tables / "other").symlink_to(elsewhere)  # whoever put it there removes it
    for folder in store.trials.iterdir():
        (folder / "sweeps" / "other.json").unlink(missing_ok=True)
    capsys.readouterr()
    assert rebuild(store) == 2
    assert (
        f"the tables in {store.tables}/other cannot be removed: Cannot call rmtree on a symbolic link"
        in capsys.readouterr().err
    )


def test_a_server_that_is_gone_gives_status_1_and_whole_tables(store, capsys):
    assert rebuild(store, "digits", "--mlflow-uri", "http://127.0.0.1:9") == 1
    assert "nnray: MLflow misses 3 trials of digits: " in capsys.readouterr().err
    assert len(pd.read_parquet(store.table("digits", "trials"))) == 3


@pytest.mark.parametrize("sweep", ["digit", "../digits"])
def test_a_sweep_that_is_not_there_is_named_and_nothing_is_written(store, capsys, sweep):
    assert rebuild(store, sweep) == 2
    assert "did you mean 'digits'" in capsys.readouterr().err
    assert sorted(path.name for path in store.root.iterdir()) == ["trials"]
