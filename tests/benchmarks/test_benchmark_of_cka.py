"""The benchmark of CKA runs for real on two networks; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_measures_all_sides_and_they_agree(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "analysis_cka.py"), "--json", str(path)]
    command += ["--networks", "1,2", "--images", "128", "--side", "8", "--rounds", "1"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report.keys() == {"machine", "versions", "load_average", "images", "side", "figures"}
    assert [figures["networks"] for figures in report["figures"]] == [1, 2]
    for figures in report["figures"]:
        assert figures["seconds"].keys() == {"nnray", "forward", "last", "pairs"}
        assert all(ratio["lowest"] > 0 for ratio in figures["ratios"].values())
