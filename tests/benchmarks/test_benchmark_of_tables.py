"""The benchmark of tables runs for real on a few trials; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_it_measures_every_part(tmp_path):
    pytest.importorskip("duckdb")
    pytest.importorskip("polars")
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--json", str(path)]
    command += ["--trials", "20", "--epochs", "3", "--seconds", "0.5"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report["write"]["epochs"] >= 20
    assert report["write"]["writings"] >= 1
    assert report["read"]["rows"] == 20 * 3 - 16 + report["write"]["epochs"]
    for part in ("write", "start", "read", "rebuild"):
        assert all(value > 0 for value in report[part].values())
        assert f"{part:8}" in done.stdout
