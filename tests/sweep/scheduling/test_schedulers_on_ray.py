"""Schedulers rule real sweeps on Ray: stopped trials are results, paused ones go on, populations share weights."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import start, wait_until

from nnray.cli.main import main
from nnray.store.claim import is_claimed
from nnray.trial import StorePaths

pytestmark = pytest.mark.filterwarnings("default")  # Ray's and Tune's own, in this very process

EPOCHS = 6
SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={{
        "model": "user_code.Tiny",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "trainer": {{"max_epochs": {epochs}}},
        "checkpoint": {{"every_n_epochs": 2}},
    }},
    space={{"optimizer.lr": grid(0.03, 0.0001, 0.02, 0.001, 0.01, 0.0003)}},
    metric={metric!r},
    scheduler={scheduler!r},
)
"""
MUTATIONS = {"optimizer.lr": [0.03, 0.02, 0.01, 0.001], "data.batch_size": [64, 128, 256]}
PBT = {"name": "pbt", "perturbation_interval": 2, "hyperparam_mutations": MUTATIONS}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha", "reduction_factor": 2},
    "median": {"name": "median", "min_samples_required": 2},
    "hyperband": {"name": "hyperband"},
    "hb_bohb": {"name": "hb_bohb"},
    "pbt": {**PBT, "synch": True},
    "pb2": {
        "name": "pb2",
        "perturbation_interval": 2,
        "synch": True,
        "hyperparam_bounds": {"optimizer.lr": [0.001, 0.05]},
    },
}
DONE = ("completed", "stopped")
ALONE = ("asha", "median", "hyperband", "hb_bohb")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


def _write(folder: Path, scheduler: Any, metric: str = "val_acc") -> None:
    text = SPACE.format(epochs=EPOCHS, metric=metric, scheduler=scheduler)
    (folder / "study.py").write_text(text)


def _trials(store: Path) -> pd.DataFrame:
    return pd.read_parquet(store / "tables/study/trials.parquet").set_index("name")


def _metrics(store: Path) -> pd.DataFrame:
    return pd.read_parquet(store / "tables/study/metrics.parquet")


def _weights(store: Path) -> dict[str, bytes]:
    return {f"{path.parents[1].name} {path.name}": path.read_bytes() for path in store.glob("trials/*/checkpoints/*")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The weights of the same trials, each trained alone to its end."""
    folder = tmp_path_factory.mktemp("plain")
    _write(folder, None)
    (folder / "study.py").write_text((folder / "study.py").read_text().replace('"every_n_epochs": 2', '"keep": "all"'))
    assert main(["sweep", str(folder / "study.py"), "--store", str(folder / "store"), "--in-process"]) == 0
    return _weights(folder / "store")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_killed_half_way_and_started_again(
    name: str, folder: Path, ray_session: str, plain: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folder, SCHEDULERS[name])
    store = StorePaths(folder / "nnray-store")
    # HyperBand forms its brackets anew from those that are left, which must be enough for it to stop some.
    _kill_half_way(folder, store, ray_session, rows=4 if name.startswith("h") else 10)
    ended = {signature: record for signature, record in _records(store).items() if record["status"] in DONE}
    files = {path: path.read_text().splitlines() for path in store.trials.glob("*/metrics.jsonl")}
    kept = {path: lines for path, lines in files.items() if lines}
    assert main(["sweep", "study.py"]) == 0

    trials, metrics, records = _trials(store.root), _metrics(store.root), _records(store)
    assert set(trials["status"]) <= set(DONE)
    assert trials["duration_s"].notna().all()
    assert not metrics.duplicated(["trial", "epoch"]).any()
    for signature, record in ended.items():
        assert records[signature] == record  # not touched again
    for paths in map(store.trial, trials["trial"]):
        assert not is_claimed(paths.claim)
        last = metrics.loc[metrics["trial"] == paths.signature, "epoch"].max()
        assert paths.checkpoint(last).exists()
        assert paths.resume.exists() == (last + 1 < EPOCHS)
        assert not [path for path in paths.folder.iterdir() if path.name.startswith((".", "exploit", "snapshot"))]
    if name in ALONE:
        assert "stopped" in set(trials["status"])
        for path, lines in kept.items():  # at most the epoch that was running is trained again
            assert path.read_text().splitlines()[: len(lines) - 1] == lines[:-1]
        assert _weights(store.root).items() <= plain.items()  # those of the trial alone, stopped, paused or killed
    else:
        assert not {key.split()[0] for key in _weights(store.root)} & {key.split()[0] for key in plain}
        assert trials["hyper/optimizer.init_args.lr"].notna().all()
        assert "best/hyper/optimizer.init_args.lr" not in trials
        assert _check_history(records, metrics) > 0

    capsys.readouterr()
    assert main(["sweep", "study.py", "--dry-run"]) == 0
    assert "0 to resume, 0 to run" in capsys.readouterr().out


def _kill_half_way(folder: Path, store: StorePaths, address: str, rows: int) -> None:
    process = start(folder, "sweep", "study.py", "--address", address, RAY_AUTH_MODE="token")

    def trained() -> int:
        return sum(len(path.read_text().splitlines()) for path in store.trials.glob("*/metrics.jsonl"))

    wait_until(lambda: trained() >= rows or process.poll() is not None)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not any(is_claimed(path) for path in store.trials.glob("*/claim.lock")), 30)


def _check_history(records: dict[str, dict[str, Any]], metrics: pd.DataFrame) -> int:
    """Check that the values of the tables are those of the records, and return how many changes there were."""
    entries = 0
    for signature, record in records.items():
        rates = metrics[metrics["trial"] == signature].set_index("epoch")["hyper/optimizer.init_args.lr"]
        for entry in record["history"]:
            entries += 1
            _, new = entry["values"]["optimizer.init_args.lr"]
            assert entry["from"] in records.keys() - {signature}
            if entry is record["history"][-1]:
                assert rates[entry["epoch"] :].eq(new).all()
    return entries


def _records(store: StorePaths) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in store.trials.glob("*/record.json")}


def test_a_population_does_not_wait_for_a_trial_that_failed(
    folder: Path, ray_session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folder, {**PBT, "synch": True})
    file = folder / "study.py"
    file.write_text(file.read_text().replace("grid(0.03, 0.0001, 0.02, 0.001, 0.01, 0.0003)", "grid(0.03, 0.01, 1e30)"))
    assert main(["sweep", "study.py", "--resources", "cpu=2"]) == 1  # one after another: the last one fails
    trials = _trials(folder / "nnray-store")
    assert list(trials["status"]) == ["completed", "completed", "failed"]
    assert trials["cause"].iloc[-1] == "diverged"


def test_a_metric_that_is_never_reported_ends_the_sweep(
    folder: Path, ray_session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folder, "asha", metric="val_accuracy")
    assert main(["sweep", "study.py"]) == 2
    error = capsys.readouterr().err
    assert "scheduler: the trials of study report no metric 'val_accuracy'; did you mean 'val_acc'" in error
    assert "Traceback" not in error
    statuses = [json.loads(path.read_text())["status"] for path in folder.glob("nnray-store/trials/*/record.json")]
    assert not {"completed", "failed", "stopped"} & set(statuses)


@pytest.mark.parametrize(
    ("scheduler", "words", "message"),
    [
        ("ahsa", (), "scheduler: there is no 'ahsa'; did you mean 'asha'?"),
        ({"name": "asha", "max_tt": 3}, ("--dry-run",), "there is no argument 'max_tt'; did you mean 'max_t'?"),
        (PBT, ("--in-process",), "scheduler: it weighs trials that Ray trains side by side"),
        ("hyperband", ("--max-concurrent", "1"), "--max-concurrent: this scheduler sets trials aside"),
    ],
    ids=["name", "argument", "in process", "at a time"],
)
def test_mistakes_are_told_before_anything_is_written(
    scheduler: Any,
    words: tuple[str, ...],
    message: str,
    folder: Path,
    ray_session: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _write(folder, scheduler)
    assert main(["sweep", "study.py", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "nnray-store").exists()
