"""The benchmark of sweep throughput runs for real on a tiny grid; what it times is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnray import Sweep
from nnray.store.metrics_log import read_rows
from nnray.store.record import now
from nnray.store.weights import load_weights
from nnray.sweep.planning.plan import make_plan
from nnray.training.code import Code
from nnray.training.runner import Run, run_trial
from nnray.trial import StorePaths

ROOT = Path(__file__).parents[2]
TRIALS = 4


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "sweep_throughput.py"), "--json", str(path)]
    sizes = ["--sides", "a,b,c,d", "--trials", str(TRIALS), "--tune-trials", "1"]
    done = subprocess.run(
        [*command, *sizes], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "trials/s" in done.stdout
    return json.loads(path.read_text())


def test_names_machine_versions_and_load(report: dict[str, Any]) -> None:
    assert report["machine"].keys() == {"processor", "cores", "memory_GiB", "system"}
    assert {"python", "torch", "lightning", "ray", "mlflow"} <= report["versions"].keys()
    assert report["load_average"].keys() == {"before", "highest"}


@pytest.mark.parametrize("side", ["a", "b", "c", "d"])
def test_every_side_trained_and_was_timed(report: dict[str, Any], side: str) -> None:
    figures = report["throughput"][side]
    (only_round,) = figures["rounds"]
    assert 1 <= only_round["trials"] <= TRIALS
    assert len(only_round["val_acc"]) == (1 if side == "b" else TRIALS) + report["machine"]["cores"]
    # Three epochs are enough to be far above the 0.1 of guessing, for every one of the trials.
    assert min(only_round["val_acc"]) > 0.5
    assert figures["s_per_trial_and_core"] == pytest.approx(report["machine"]["cores"] / figures["trials_per_s"])
    assert only_round["startup_s"] > 0 < only_round["seconds"]


def test_no_overhead_is_measured_unless_asked_for(report: dict[str, Any]) -> None:
    assert report["overhead"] == []


def test_ratios_are_of_trials_per_second(report: dict[str, Any]) -> None:
    rates = {side: figures["trials_per_s"] for side, figures in report["throughput"].items()}
    assert report["ratios"] == {f"a/{side}": pytest.approx(rates["a"] / rates[side]) for side in "bcd"}


def test_the_trial_for_the_overhead_trains_nothing_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from throughput.nnray_sweep import NOTHING

    plan = make_plan(Sweep("nothing", NOTHING, metric="done"), StorePaths(tmp_path), tmp_path)
    plan.apply()
    (trial,) = plan.todo
    assert run_trial(trial.paths, trial.configuration, Run(Code(), now())) == "completed"
    (row,) = read_rows(trial.paths.metrics)
    assert row["done"] == 1.0
    assert load_weights(trial.paths.checkpoint(0))["weight"].tolist() == [0.0]
