"""The benchmark of many checkpoints runs for real on a few; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_actor_that_is_killed_changes_nothing(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "analysis_networks.py"), "--json", str(path)]
    command += ["--networks", "4,20", "--images", "64", "--side", "8", "--memory", "1"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report.keys() == {"machine", "versions", "load_average", "memory", "speed", "killed"}
    assert [row["networks"] for row in report["memory"]] == [4, 20]
    assert all(row["peak_bytes"] > 0 for row in report["memory"])
    assert report["killed"] == {"killed": True, "same_table": True, "errors": 0}
