"""The main job, as a person runs it: ``nnray sweep`` from a file to Parquet and MLflow, killed and started at will."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until

import nnray as library
from nnray.store.metrics_log import read_rows
from nnray.store.weights import kept_epochs
from nnray.trial import StorePaths

SPACE = """
from nnray import Sweep, grid

sweep = Sweep(
    name="{name}",
    base={{
        "model": "user_code.Tiny",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "optimizer": {{"class_path": "torch.optim.AdamW", "init_args": {{"lr": 0.01}}}},
        "trainer": {{
            "max_epochs": 3,
            "callbacks": [{{"class_path": "user_code.Slow", "init_args": {{"seconds": {seconds}}}}}],
        }},
    }},
    space={{{space}}},
)
"""


def write_space(folder: Path, space: str, name: str = "study", seconds: float = 0.0) -> Path:
    path = folder / f"{name}.py"
    path.write_text(SPACE.format(name=name, space=space, seconds=seconds))
    return path


def completed(store: StorePaths) -> int:
    records = list(store.trials.glob("*/record.json"))
    return sum(json.loads(record.read_text())["status"] == "completed" for record in records)


def table(folder: Path, kind: str, name: str = "study") -> pd.DataFrame:
    return pd.read_parquet(folder / "nnray-store" / "tables" / name / f"{kind}.parquet")


def final_weights(store: StorePaths) -> dict[str, bytes]:
    from nnray.store.membership import trial_folders

    return {paths.signature: list(kept_epochs(paths).values())[-1].read_bytes() for paths in trial_folders(store)}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep of eight trials was run once, from another folder."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "spaces").mkdir()
    write_space(
        folder / "spaces", '"model.width": grid(2, 4), "optimizer.lr": grid(1e-3, 1e-2), "seed": grid(range(2))'
    )
    status, output = nnray(folder, "sweep", "spaces/study.py")
    assert status == 0, output
    assert "study: 8 trials: 0 complete, 0 to resume, 8 to run" in output
    assert "8 of 8 trials complete" in output
    return folder


def test_tables_are_whole(job: Path) -> None:
    trials, metrics, checkpoints = (table(job, kind) for kind in ("trials", "metrics", "checkpoints"))
    assert len(trials) == 8
    assert trials["trial"].is_unique
    assert set(trials["status"]) == {"completed"}
    assert list(trials["config/model.init_args.width"]) == [2, 2, 2, 2, 4, 4, 4, 4]
    assert trials["config/model.init_args.width"].dtype == "int64"
    assert trials["config/optimizer.init_args.lr"].dtype == "float64"
    assert trials["name"].iloc[0] == "width=2 lr=0.001 seed=0"
    assert str(trials["started"].dtype) == "datetime64[us, UTC]"
    configuration = library.open(job / "nnray-store").load(trials["trial"].iloc[0])
    assert configuration is not None
    assert len(metrics) == len(checkpoints) == 24
    assert not metrics[["train_loss", "train_acc", "val_loss", "val_acc", "lr"]].isna().any(axis=None)
    last = metrics[metrics["epoch"] == 2].set_index("trial")["val_acc"]
    pd.testing.assert_series_equal(trials.set_index("trial")["val_acc"], last.loc[trials["trial"]], check_names=False)
    best = metrics.groupby("trial")["val_loss"].min()
    pd.testing.assert_series_equal(
        trials.set_index("trial")["best/val_loss"], best.loc[trials["trial"]], check_names=False
    )


def test_every_key_of_the_configuration_is_a_column(job: Path) -> None:
    from nnray.trial.merging import flatten, read_configuration_file

    trials = table(job, "trials").set_index("trial")
    for signature, row in trials.iterrows():
        config = flatten(read_configuration_file(job / "nnray-store" / "trials" / str(signature) / "config.yaml"))
        columns = {name.removeprefix("config/") for name in trials.columns if name.startswith("config/")}
        assert columns == set(config)
        assert row["config/seed"] == config["seed"]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow 3.17 with SQLAlchemy 2.1
def test_mlflow_has_a_run_per_trial_with_equal_numbers(job: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{job}/nnray-store/mlflow.db")
    experiment = client.get_experiment_by_name("study")
    runs = client.search_runs([experiment.experiment_id])
    trials = table(job, "trials").set_index("trial")
    assert sorted(run.data.tags["nnray.trial"] for run in runs) == sorted(trials.index)
    for run in runs:
        row = trials.loc[run.data.tags["nnray.trial"]]
        assert run.info.status == "FINISHED"
        assert run.info.run_name == row["name"]
        assert run.data.metrics["val_acc"] == row["val_acc"]
        assert run.data.params["optimizer.init_args.lr"] == str(row["config/optimizer.init_args.lr"])
        history = client.get_metric_history(run.info.run_id, "train_loss")
        logged = table(job, "metrics").query("trial == @run.data.tags['nnray.trial']")
        assert [entry.value for entry in history] == list(logged["train_loss"])


def test_a_second_time_nothing_is_trained(job: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (job / "nnray-store" / "trials").rglob("*")}
    status, output = nnray(job, "sweep", "spaces/study.py")
    assert status == 0
    assert "8 complete, 0 to resume, 0 to run" in output
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_changed_value_trains_the_new_trials_only(job: Path) -> None:
    """Keys in another order and 1 for 1.0 change nothing; trials that leave the space leave the tables."""
    status, output = nnray(job, "sweep", "spaces/study.py", "--dry-run", "--set", "trainer.gradient_clip_val=1")
    assert "0 complete, 0 to resume, 8 to run" in output
    path = write_space(
        job / "spaces",
        '"seed": grid(range(2)), "optimizer.init_args.lr": grid(0.001, 0.03), '
        '"model": {"class_path": "user_code.Tiny", "init_args": {"width": 2}}',
    )
    status, output = nnray(job, "sweep", str(path.relative_to(job)), "--in-process")
    assert status == 0, output
    assert "study: 4 trials: 2 complete, 0 to resume, 2 to run" in output
    assert "no longer in the space: 6 trials" in output
    assert len(table(job, "trials")) == 4
    assert len(list((job / "nnray-store" / "trials").iterdir())) == 10


def test_killed_in_the_middle_and_run_again(tmp_path: Path) -> None:
    write_space(tmp_path, '"seed": grid(range(6))', seconds=0.4)
    store = StorePaths(tmp_path / "nnray-store")
    process = start(tmp_path, "sweep", "study.py")
    wait_until(
        lambda: completed(store) >= 2 and any((paths / "resume.ckpt").exists() for paths in store.trials.iterdir())
    )
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 2 <= completed(store) < 6
    assert len(table(tmp_path, "trials")) == 6  # readable also now

    attempts = {}
    status, output = nnray(tmp_path, "sweep", "study.py")
    assert status == 0, output
    for record in store.trials.glob("*/record.json"):
        attempts[record.parent.name] = json.loads(record.read_text())["attempts"]
    assert completed(store) == 6
    assert set(attempts.values()) <= {1, 2}
    trials, metrics = table(tmp_path, "trials"), table(tmp_path, "metrics")
    assert set(trials["status"]) == {"completed"}
    assert metrics.groupby("trial")["epoch"].apply(list).tolist() == [[0, 1, 2]] * 6
    assert not list(store.trials.glob("*/resume.ckpt"))

    # The same trials without a fault, without Ray: the same bits.
    status, output = nnray(tmp_path, "sweep", "study.py", "--in-process", "--store", "whole")
    assert status == 0, output
    assert final_weights(store) == final_weights(StorePaths(tmp_path / "whole"))


def test_two_commands_at_once_train_each_trial_once(tmp_path: Path) -> None:
    write_space(tmp_path, '"seed": grid(0, 1, 2, 3)', name="left", seconds=0.2)
    write_space(tmp_path, '"seed": grid(2, 3, 4, 5)', name="right", seconds=0.2)
    processes = [start(tmp_path, "sweep", f"{name}.py", "--store", "nnray-store") for name in ("left", "right")]
    for process in processes:
        status, output = finish(process)
        assert status == 0, output
        assert "4 of 4 trials complete" in output
    store = StorePaths(tmp_path / "nnray-store")
    assert completed(store) == 6
    for record in store.trials.glob("*/record.json"):
        assert json.loads(record.read_text())["attempts"] == 1
        assert [row["epoch"] for row in read_rows(record.parent / "metrics.jsonl")] == [0, 1, 2]
    for name in ("left", "right"):
        assert table(tmp_path, "trials", name)["status"].tolist() == ["completed"] * 4
        assert len(table(tmp_path, "metrics", name)) == 12


def test_failures_are_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    write_space(tmp_path, '"optimizer.lr": grid(0.01, 1e30), "seed": grid(0, 1)')
    status, output = nnray(tmp_path, "sweep", "study.py")
    assert status == 1, output
    assert "2 of 4 trials complete" in output
    assert "failed: lr=1e+30 seed=0" in output
    trials = table(tmp_path, "trials")
    assert trials["status"].tolist() == ["completed", "completed", "failed", "failed"]
    assert trials["error"].iloc[2].startswith("TrialError: diverged")
    assert trials["error"].isna().tolist() == [True, True, False, False]

    status, output = nnray(tmp_path, "sweep", "study.py", "--in-process")
    assert (status, "2 complete, 0 to resume, 0 to run, 2 failed before" in output) == (1, True)
    status, output = nnray(tmp_path, "sweep", "study.py", "--in-process", "--retry-failed")
    assert status == 1
    assert table(tmp_path, "trials")["attempts"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interruption_stops_cleanly_and_says_how_to_go_on(
    tmp_path: Path, send: Callable[[int, int], None], number: int
) -> None:
    write_space(tmp_path, '"seed": grid(range(6))', seconds=0.4)
    store = StorePaths(tmp_path / "nnray-store")
    process = start(tmp_path, "sweep", "study.py")
    wait_until(lambda: completed(store) >= 1)
    send(process.pid, number)
    status, output = finish(process)
    assert status == 130, output
    assert "interrupted: nnray sweep study.py goes on where this stopped" in output
    assert "Traceback" not in output
    assert set(table(tmp_path, "trials")["status"]) <= {"completed", "pending"}
    status, output = nnray(tmp_path, "sweep", "study.py", "--in-process")
    assert status == 0, output


def test_a_worker_that_dies_is_replaced_and_its_trial_resumed(tmp_path: Path) -> None:
    kill = f'{{"class_path": "user_code.KillOnce", "init_args": {{"folder": "{tmp_path}", "moments": ["1:0"]}}}}'
    (tmp_path / "markers").mkdir()
    write_space(tmp_path, f'"trainer.callbacks": grid([[{kill}], []]), "seed": 0')
    status, output = nnray(tmp_path, "sweep", "study.py")
    assert status == 0, output
    assert (tmp_path / "1-0").exists()
    trials = table(tmp_path, "trials")
    assert trials["attempts"].tolist() == [2, 1]
    assert trials["val_acc"].nunique() == 1
