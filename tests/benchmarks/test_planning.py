"""The benchmark of planning runs for real on a few trials; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_measures_all_sides(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "planning.py"), "--json", str(path), "--trials", "100"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report.keys() == {"machine", "versions", "load_average", "plans"}
    assert [(plan["space"], plan["trials"]) for plan in report["plans"]] == [("grid", 100), ("samples", 100)]
    for plan in report["plans"]:
        assert plan["ratios"].keys() == plan["others_ms_per_trial"].keys() == {"parse", "tune", "hash"}
        assert all(ratio > 0 for ratio in plan["ratios"].values())
        assert f"{plan['space']:8}" in done.stdout
