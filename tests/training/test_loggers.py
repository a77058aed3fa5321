"""TensorBoard and Weights & Biases tell what the trial's own metrics tell, and change nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trials import configured, folder_of

from nnray.cli.main import main
from nnray.errors import ConfigurationError
from nnray.store.membership import Membership
from nnray.store.metrics_log import metrics_of, read_rows
from nnray.store.record import now
from nnray.store.weights import kept_epochs
from nnray.training.code import Code
from nnray.training.loggers import Loggers
from nnray.training.runner import Outcome, Run, run_trial
from nnray.trial import StorePaths, TrialPaths

RAW: dict[str, Any] = {
    "model": None,
    "optimizer": None,
    "data": "user_code.NoiseData",
    "task": "user_code.LoggingTask",
    "checkpoint.monitor": "val_acc",
}
KILLS = ["0:1", "1:validation", "1:end", "2:0"]
BOARD = Loggers("study/2".replace("/", "-"), tensorboard=True)

Points = dict[str, dict[int, float]]


def raw(folder: Path, moments: list[str]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(folder), "moments": moments}}
    return {**RAW, "trainer.callbacks": [kill]}


def trained(root: Path, values: dict[str, Any], loggers: Loggers | None) -> Outcome:
    """Train a trial with loggers; can be sent to another process."""
    torch.set_num_threads(1)
    configuration = configured(values)
    paths = folder_of(StorePaths(root), configuration)
    if loggers is not None:
        Membership("a/b seed=0", 0).write(paths, loggers.sweep)
    return run_trial(paths, configuration, Run(Code(), now(), loggers=loggers))


def paths_of(root: Path, values: dict[str, Any]) -> TrialPaths:
    return StorePaths(root).trial(configured(values).signature)


def shown(folder: Path) -> Points:
    """Return the points that TensorBoard shows, by tag and step."""
    told = EventAccumulator(str(folder)).Reload()
    points: Points = {}
    for tag in told.Tags()["scalars"]:
        found = told.Scalars(tag)
        points[tag] = {point.step: point.value for point in found}
        # Lightning tells the epoch twice: with the metrics of training and with those of validation.
        assert len(found) == len(points[tag]) or tag == "epoch", f"a point of {tag} is there twice"
    return points


def weights(paths: TrialPaths) -> dict[int, bytes]:
    return {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}


def test_a_killed_and_resumed_trial_shows_each_point_once(tmp_path: Path, in_child: Any) -> None:
    values = raw(tmp_path / "markers", KILLS)
    for moment in KILLS:
        assert in_child(trained, tmp_path / "killed", values, BOARD) == -signal.SIGKILL, f"not killed at {moment}"
    assert in_child(trained, tmp_path / "killed", values, BOARD) == 0
    assert trained(tmp_path / "whole", values, BOARD) == "completed"
    assert trained(tmp_path / "without", values, None) == "completed"

    killed, whole, without = (paths_of(tmp_path / name, values) for name in ("killed", "whole", "without"))
    points = shown(killed.tensorboard)
    assert len(list(killed.tensorboard.glob("events.*"))) == len(KILLS)  # the first kill came before any epoch's end
    assert points == shown(whole.tensorboard)
    rows = read_rows(whole.metrics)
    for name in ("val_acc", "train_loss"):
        assert list(points[name].values()) == pytest.approx([row[name] for row in rows])
        assert list(points[name]) == [row["step"] - 1 for row in rows]
    assert sorted(points["step_loss"]) == list(range(rows[-1]["step"]))  # what a task logs itself, too

    # Loggers change nothing.
    assert weights(killed) == weights(whole) == weights(without)
    assert [metrics_of(row) for row in read_rows(without.metrics)] == [metrics_of(row) for row in rows]
    assert not without.tensorboard.exists()


def test_the_sweep_has_a_link_by_the_name_of_the_trial(tmp_path: Path) -> None:
    assert trained(tmp_path, RAW, BOARD) == "completed"
    (link,) = StorePaths(tmp_path).tensorboard("study-2").iterdir()
    assert link.name == "a_b seed=0"
    assert not Path(link.readlink()).is_absolute()  # so that a store can be moved
    assert shown(link) == shown(paths_of(tmp_path, RAW).tensorboard) != {}


def test_a_trial_that_begins_anew_shows_nothing_of_before(tmp_path: Path) -> None:
    paths = paths_of(tmp_path, RAW)
    paths.tensorboard.mkdir(parents=True)
    (paths.tensorboard / "events.out.tfevents.0.old").write_bytes(b"old")
    assert trained(tmp_path, RAW, BOARD) == "completed"
    assert not (paths.tensorboard / "events.out.tfevents.0.old").exists()


def test_a_failed_trial_keeps_its_points(tmp_path: Path) -> None:
    values = {**RAW, "task": "user_code.DivergingTask"}
    assert trained(tmp_path, values, BOARD) == "failed"
    assert len(shown(paths_of(tmp_path, values).tensorboard)["val_acc"]) == 2


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"model": "user_code.Tiny", "data": "nnray.data.Digits", "trainer": {"max_epochs": 1}}
    (tmp_path / "study.yaml").write_text(json.dumps({"name": "study", "base": base}))
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "study.yaml", "--in-process", "--tensorboard", "--store", "s"]) == 0
    (link,) = StorePaths(tmp_path / "s").tensorboard("study").iterdir()
    assert {"val_acc", "train_loss"} <= shown(link).keys()


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        (Loggers("s", tensorboard=True), r"TensorBoard is not installed: pip install 'nnray\[tensorboard\]'"),
        (Loggers("s", wandb="p"), r"Weights & Biases is not installed: pip install 'nnray\[wandb\]'"),
    ],
)
def test_what_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, store: StorePaths, loggers: Loggers, message: str
) -> None:
    monkeypatch.setattr("nnray.training.loggers._is_there", lambda package: False)
    with pytest.raises(ConfigurationError, match=message):
        loggers.check(store)


@pytest.mark.filterwarnings("default")  # of a library that is not nnray's
def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_child: Any) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers = Loggers("study", wandb="nnray-test")
    for seed in (0, 1):  # two in one process
        assert trained(tmp_path, {**RAW, "seed": seed}, loggers) == "completed"
    assert trained(tmp_path / "without", RAW, None) == "completed"
    runs = sorted(path.parent.parent.name for path in tmp_path.glob("trials/*/wandb/offline-run-*"))
    assert runs == sorted(configured({**RAW, "seed": seed}).signature for seed in (0, 1))
    assert weights(paths_of(tmp_path, RAW)) == weights(paths_of(tmp_path / "without", RAW))
