"""The benchmark of stores in buckets runs for real on a few trials; what it counts is looked at, what it times not."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_counts_the_requests_of_every_command(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "bucket.py"), "--json", str(path), "--trials", "6"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())["figures"]
    assert figures["one by one"]["requests"] == 1 + 6
    for name in ("keep up", "status", "results", "plan", "rebuild", "gc"):
        assert f"{name:12}" in done.stdout
        assert 0 < figures[name]["requests"] < 120
