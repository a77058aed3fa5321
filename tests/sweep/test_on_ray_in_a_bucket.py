"""Sweeps on Ray whose store lies in a bucket: schedulers, populations, trials that several workers train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nnray.cli.main import main
from nnray.store.files import path_of
from nnray.store.record import Record
from nnray.trial import StorePaths, TrialPaths

pytestmark = pytest.mark.filterwarnings("default")  # Ray's and Tune's own, in this very process

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={{
        "model": "user_code.Tiny",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "trainer": {{"max_epochs": 4}},
        "checkpoint": {{"every_n_epochs": 2}},
    }},
    space={{"optimizer.lr": grid({rates})}},
    metric="val_acc",
    {more}
)
"""
PBT = {
    "name": "pbt",
    "perturbation_interval": 2,
    "quantile_fraction": 0.5,
    "synch": True,
    "hyperparam_mutations": {"optimizer.lr": [0.03, 0.02]},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _sweep(store: str, rates: str, more: str) -> tuple[pd.DataFrame, list[tuple[TrialPaths, Record]]]:
    """Return the table of trials, and their folders and records."""
    Path("study.py").write_text(SPACE.format(rates=rates, more=more))
    assert main(["sweep", "study.py", "--store", store]) == 0
    trials = pd.read_parquet(f"{store}/tables/study/trials.parquet")
    metrics = pd.read_parquet(f"{store}/tables/study/metrics.parquet")
    assert not metrics.duplicated(["trial", "epoch"]).any()
    paths = [StorePaths(path_of(store)).trial(signature) for signature in trials["trial"]]
    return trials, [(one, Record.read(one.record)) for one in paths]  # type: ignore[misc]


def _logs(trials: list[tuple[TrialPaths, Record]]) -> str:
    return "".join(paths.log.read_text() for paths, _ in trials if paths.log.exists())


def test_a_population_shares_its_states(folder: Path, bucket: str, ray_session: str) -> None:
    table, trials = _sweep(bucket, "0.03, 0.00001", f"scheduler={PBT}")
    assert table["status"].tolist() == ["completed"] * 2
    assert [record.former_attempts for _, record in trials] == [["interrupted"]] * 2
    (change,) = trials[1][1].history
    assert (change["epoch"], change["from"]) == (2, trials[0][0].signature)
    assert table["val_acc"].min() > 0.5  # the second has taken the first one's weights over
    assert not _logs(trials)
    names = {path.name for paths, _ in trials for path in paths.folder.iterdir()}
    assert not names & {"exploit.json", "exploit.ckpt", "snapshot.ckpt", "resume.ckpt"}


def test_bad_trials_are_stopped(folder: Path, bucket: str, ray_session: str) -> None:
    scheduler: dict[str, Any] = {"name": "asha", "reduction_factor": 2}
    table, trials = _sweep(bucket, "0.03, 0.00001, 0.02, 0.0001", f"scheduler={scheduler}")
    assert set(table["status"]) == {"completed", "stopped"}
    assert [record.attempts for _, record in trials] == [1] * 4
    for paths, record in trials:
        assert paths.resume.exists() == (record.status == "stopped")


def test_two_workers_train_a_trial(folder: Path, bucket: str, ray_session: str) -> None:
    table, trials = _sweep(bucket, "0.03", 'resources={"cpu": 1, "workers": 2}')
    assert table["status"].tolist() == ["completed"]
    assert [record.former_attempts for _, record in trials] == [[]]
