"""The benchmark of extraction runs for real on few images; what it times is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_measures_all_sides_and_they_agree(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "analysis_extraction.py"), "--json", str(path)]
    command += ["--networks", "1,2", "--images", "8", "--requests", "early", "--families", "SimpleCNN", "--rounds", "1"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report.keys() == {"machine", "versions", "load_average", "side", "figures"}
    sides = {"last", "stream", "means", "extract", "half", "hooks", "clones", "extractor", "stored hooks"}
    for count, figures in enumerate(report["figures"], start=1):
        assert (figures["networks"], figures["images"], figures["layers"]) == (count, 8, 1)
        assert figures["bytes"] == count * 8 * 16 * 32 * 32 * 4
        assert figures["rates"].keys() == sides
        assert all(rate["lowest"] > 0 for rate in figures["rates"].values())
