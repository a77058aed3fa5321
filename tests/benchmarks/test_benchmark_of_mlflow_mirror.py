"""The benchmark of the MLflow mirror runs for real on a few runs; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_measures_all_sides(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "mlflow_mirror.py"), "--json", str(path)]
    done = subprocess.run(
        [*command, "--runs", "2", "--epochs", "2", "--rounds", "1", "--places", "sqlite"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())["places"]["sqlite"]
    assert figures["ms_per_run"].keys() == {"nnray", "log_batch", "per epoch"}
    assert figures["times_nnray"].keys() == {"log_batch", "per epoch"}
    assert all(value > 0 for value in figures["ms_per_run"].values())
    assert "ms a run" in done.stdout
