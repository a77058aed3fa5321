"""The benchmark of pair measures runs for real on two networks; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_measures_all_sides_and_they_agree(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "analysis_compare.py"), "--json", str(path)]
    command += ["--networks", "1,2", "--layers", "1,2", "--images", "32", "--side", "8", "--rounds", "1"]
    command += ["--measures", "procrustes,mutual_knn", "--pairs", "2"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report.keys() == {"machine", "versions", "load_average", "side", "figures"}
    cases = [(row["measure"], row["networks"], row["layers"], row["pairs"]) for row in report["figures"]]
    sizes = ((1, 1, 1), (2, 1, 3), (1, 2, 3))
    assert cases == [(measure, *size) for size in sizes for measure in ("procrustes", "mutual_knn")]
    for figures in report["figures"]:
        assert figures["seconds"].keys() == {"nnray", "function", "forward"}
        assert all(ratio["lowest"] > 0 for ratio in figures["ratios"].values())
